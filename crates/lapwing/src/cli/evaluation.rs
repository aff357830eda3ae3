//! Arguments of the commands that measure models and their corrections.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::calibration::ReferenceArgs;
use super::choice::count;
use super::runtime::RuntimeArgs;
#[cfg(feature = "lab")]
use super::study::FalsifyArgs;

/// Arguments of `lapwing eval`.
#[derive(Debug, Clone, Args)]
pub struct EvalArgs {
    #[command(subcommand)]
    pub measure: EvalCommand,
}

/// What to measure.
#[derive(Debug, Clone, Subcommand)]
pub enum EvalCommand {
    /// How surprised a model is by a text
    Ppl(PplArgs),
    /// How far a model is from a reference, token by token
    Kl(KlArgs),
    /// How many items of a benchmark a model gets right
    Task(TaskArgs),
    /// The former name of `lapwing lab falsify`, for one version.
    #[cfg(feature = "lab")]
    #[command(hide = true)]
    Falsify(Box<FalsifyArgs>),
}

impl EvalCommand {
    /// The options about backend and device.
    pub fn runtime(&self) -> &RuntimeArgs {
        match self {
            Self::Ppl(args) => &args.measure.runtime,
            Self::Kl(args) => &args.measure.runtime,
            Self::Task(args) => &args.measure.runtime,
            #[cfg(feature = "lab")]
            Self::Falsify(args) => &args.runtime,
        }
    }
}

/// What every measurement takes.
#[derive(Debug, Clone, Args)]
pub struct MeasureArgs {
    /// A model folder, or a name from `lapwing list`
    #[arg(short, long)]
    pub model: String,
    /// Print one JSON object with everything that matters to compare
    #[arg(long)]
    pub json: bool,
    /// Start over even if the same command was broken off before
    #[arg(long)]
    pub fresh: bool,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}

/// How a text is cut.
#[derive(Debug, Clone, Args)]
pub struct WindowArgs {
    /// How windows are cut and which of their tokens count
    #[arg(long, value_enum, default_value_t = ConventionName::LlamaCpp)]
    pub convention: ConventionName,
    /// Tokens in a window; 512, or the model's context where that is less
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub window: Option<NonZeroUsize>,
    /// With hugging-face: tokens from one window's start to the next; half a window without it
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub stride: Option<NonZeroUsize>,
    /// Only so many windows from the start
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub limit: Option<NonZeroUsize>,
}

/// What `--convention` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ConventionName {
    /// Disjoint windows; the second half of each counts.
    #[value(name = "llama.cpp")]
    LlamaCpp,
    /// Sliding windows; only new tokens count.
    #[value(name = "hugging-face")]
    HuggingFace,
}

/// Arguments of `lapwing eval ppl`.
#[derive(Debug, Clone, Args)]
pub struct PplArgs {
    /// The text
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
    #[command(flatten)]
    pub windows: WindowArgs,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

/// Arguments of `lapwing eval kl`.
#[derive(Debug, Clone, Args)]
pub struct KlArgs {
    /// The model that is taken as right, such as an f32 export of the same checkpoint; it runs on
    /// the CPU with exact precision, on the backend of its folder
    #[arg(long, value_name = "MODEL")]
    pub reference: String,
    #[command(flatten)]
    pub more: ReferenceArgs,
    /// The text
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
    #[command(flatten)]
    pub windows: WindowArgs,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

/// Arguments of `lapwing eval task`.
#[derive(Debug, Clone, Args)]
pub struct TaskArgs {
    /// The benchmark
    #[arg(value_name = "NAME", value_enum)]
    pub task: TaskName,
    /// The items, in the form that the benchmark is published in
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// With piqa: the answers, one a line
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// With gsm8k: questions with worked answers that are shown before each item
    #[arg(long, value_name = "FILE")]
    pub examples: Option<PathBuf>,
    /// Only so many items from the start
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub limit: Option<NonZeroUsize>,
    #[command(flatten)]
    pub measure: MeasureArgs,
}

/// What `eval task` takes: the names of lm-evaluation-harness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TaskName {
    /// School science, multiple choice; JSON lines with question, options and answer.
    #[value(name = "arc_challenge", alias = "arc-challenge")]
    ArcChallenge,
    /// Which ending makes sense; six lines an item.
    #[value(name = "hellaswag")]
    HellaSwag,
    /// Which of two ways works; JSON lines with goal, sol1 and sol2, and --labels.
    #[value(name = "piqa")]
    Piqa,
    /// The last word of a passage; JSON lines with text.
    #[value(name = "lambada_openai", alias = "lambada")]
    Lambada,
    /// Grade-school mathematics, eight examples, exact match; JSON lines with question and answer.
    #[value(name = "gsm8k")]
    Gsm8k,
}
