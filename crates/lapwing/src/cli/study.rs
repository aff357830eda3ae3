//! Arguments of `lapwing lab`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::calibration::{CalibrateArgs, MIN_GAIN_NATS, ReferenceArgs, no_correction, window};
use super::choice::{count, seed, share};
use super::runtime::RuntimeArgs;

/// Arguments of `lapwing lab`.
#[derive(Debug, Clone, Args)]
pub struct LabArgs {
    /// What to study.
    #[command(subcommand)]
    pub study: LabCommand,
}

/// What to study.
#[derive(Debug, Clone, Subcommand)]
pub enum LabCommand {
    /// Put the paper's claims for Kalman-Logit Smoothing to the test, with a record and a page
    Falsify(Box<FalsifyArgs>),
}

impl LabCommand {
    /// The options about backend and device.
    pub fn runtime(&self) -> &RuntimeArgs {
        match self {
            Self::Falsify(args) => &args.runtime,
        }
    }
}

/// Arguments of `lapwing lab falsify`.
#[derive(Debug, Clone, Args)]
#[command(mut_arg("correction", |arg| arg.hide(true).value_parser(no_correction)))]
pub struct FalsifyArgs {
    /// A quantised model to study; repeatable
    #[arg(short, long, required = true)]
    pub model: Vec<String>,
    /// The f32, f16 or int8 export of the same checkpoint, as full precision
    #[arg(long, value_name = "MODEL")]
    pub reference: String,
    /// More about the reference.
    #[command(flatten)]
    pub more: ReferenceArgs,
    /// A text to fit and judge on, each on windows of its own; repeatable
    #[arg(long, value_name = "FILE", required = true)]
    pub text: Vec<PathBuf>,
    /// A text of another domain, to judge on
    #[arg(long, value_name = "FILE")]
    pub other_text: PathBuf,
    /// The checkpoint that the models were exported from: also fit maps of the output head
    #[arg(long, value_name = "SRC")]
    pub checkpoint: Option<String>,
    /// Passages of LAMBADA (JSON lines with text): accuracy for the second hypothesis
    #[arg(long, value_name = "FILE")]
    pub lambada: Option<PathBuf>,
    /// With --lambada: only so many passages
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    #[arg(default_value = "200", requires = "lambada")]
    pub passages: NonZeroUsize,
    /// The folder for study.json and study.html; one that is not there is made
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// Only so many windows of the texts, and of the other text as many as are judged
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub windows: Option<NonZeroUsize>,
    /// Tokens in a window, at least 8; 512, or the models' context where that is less
    #[arg(long, value_name = "N", value_parser = window, allow_negative_numbers = true)]
    pub window: Option<NonZeroUsize>,
    /// Share of the windows that is kept for judging
    #[arg(long, value_name = "SHARE", value_parser = share, default_value_t = 0.3)]
    #[arg(allow_negative_numbers = true)]
    pub held_out: f64,
    /// Of everything that is drawn
    #[arg(long, value_name = "N", value_parser = seed, default_value_t = 0)]
    #[arg(allow_negative_numbers = true)]
    pub seed: u64,
    /// Print the record instead of the verdicts
    #[arg(long)]
    pub json: bool,
    /// Start over even if the same command was broken off before
    #[arg(long)]
    pub fresh: bool,
    /// Backend and device.
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}

impl FalsifyArgs {
    /// What `lapwing calibrate` would be asked for one of the models.
    pub fn calibration_of(&self, model: &str) -> CalibrateArgs {
        CalibrateArgs {
            model: model.to_owned(),
            reference: Some(self.reference.clone()),
            more: self.more.clone(),
            text: self.text.clone(),
            other_text: Some(self.other_text.clone()),
            checkpoint: self.checkpoint.clone(),
            out: None,
            force: false,
            gain: Vec::new(),
            min_gain: MIN_GAIN_NATS,
            windows: self.windows,
            window: self.window,
            held_out: self.held_out,
            seed: self.seed,
            json: false,
            runtime: self.runtime.clone(),
        }
    }
}
