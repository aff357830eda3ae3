//! The command line, as clap definitions; nothing here does anything.
//!
//! Every option that also comes from the environment or the settings file is an `Option` here and
//! gets its value in [`crate::settings`]. To add a command: a variant of [`Command`], its
//! arguments beside the others, a file and a line in `commands`, a line in
//! `crate::dispatch`; where it opens a model, a line in [`Command::runtime`].

mod bench;
mod cache;
mod calibration;
pub mod choice;
mod embedding;
mod evaluation;
mod export;
mod generation;
mod models;
mod profiles;
mod prompting;
mod runtime;
mod service;
mod serving;
#[cfg(feature = "lab")]
mod study;
mod tokenizing;

use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use lapwing_measure::reading::SystemFiles;

pub use bench::{BenchArgs, ProtocolArgs};
pub use cache::{CacheArgs, CacheClearArgs, CacheCommand, CacheListArgs, CacheWarmArgs};
pub use calibration::{CalibrateArgs, ReferenceArgs};
pub use embedding::EmbedArgs;
pub use evaluation::{
    ConventionName, EvalArgs, EvalCommand, KlArgs, MeasureArgs, PplArgs, TaskArgs, TaskName,
    WindowArgs,
};
pub use export::{ExportArgs, ExportDevice, ExportTarget};
pub use generation::{ChatArgs, RunArgs, SamplingArgs};
pub use models::{
    CompletionsArgs, DevicesArgs, DoctorArgs, InspectArgs, ListArgs, ManArgs, PullArgs, RmArgs,
};
pub use profiles::{CompareArgs, ReportArgs, ReportFormat};
pub use prompting::{PromptArgs, TemplateArgs, TemplateVar, Thinking};
pub use runtime::{DEVICE, RuntimeArgs, TrialLimitArgs};
pub use service::{InstallArgs, LogsArgs, ManagerName, ServiceArgs, ServiceCommand};
pub use serving::{ADDRESS, KEEP_ALIVE, N_PARALLEL, N_QUEUED};
pub use serving::{PsArgs, ServeArgs, ServingArgs, StopArgs};
#[cfg(feature = "lab")]
pub use study::{FalsifyArgs, LabArgs, LabCommand};
pub use tokenizing::TokenizeArgs;

/// What the program ends with, for the help and the manual page.
pub const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed or ended by a crash, 2 wrong usage, 130 \
    when Ctrl-C ended an answer of `run`, a `chat` on a pipe, `pull`, `export`, `eval`, `calibrate` \
    or `bench`, 143 and 129 when SIGTERM or SIGHUP did.";

/// Run language models on this laptop's CPU, GPU and NPU.
#[derive(Debug, Parser)]
#[command(name = "lapwing", version, propagate_version = true, max_term_width = 100)]
// So that an alias with options can be overridden: the last one counts.
#[command(args_override_self = true)]
#[command(after_help = format!("Models come from `lapwing pull`; start with `lapwing pull \
    smollm2-135m-instruct`. `lapwing man` lists the environment variables. {EXIT_CODES}"))]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct GlobalArgs {
    /// Say more: -v for what happens, -vv for details
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Only data, warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Read settings from this file [env: LAPWING_CONFIG]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub trust: TrustArgs,
}

/// Whether the program is guarded; also in the environment and the settings file.
#[derive(Debug, Clone, Default, Args)]
pub struct TrustArgs {
    /// Trust files and libraries: no second process looks after this one, to say what ended it when
    /// it crashes [env: LAPWING_TRUST]
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, value_name = "BOOL")]
    #[arg(default_missing_value = "true", hide_possible_values = true)]
    pub trust: Option<bool>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer one prompt
    Run(Box<RunArgs>),
    /// Have a conversation on the terminal
    Chat(Box<ChatArgs>),
    /// Turn texts into vectors, with a model for embeddings
    Embed(Box<EmbedArgs>),
    /// Show a prompt as the model gets it: its tokens, or tokens as text
    Tokenize(Box<TokenizeArgs>),
    /// Show what this machine has and which backend can use it
    Devices(DevicesArgs),
    /// Say what is wrong with the installation and how to mend it
    Doctor(DoctorArgs),
    /// Describe a model folder, a checkpoint or a file
    Inspect(InspectArgs),
    /// Get models, or the native libraries `onnxruntime`, `openvino` and `onnxruntime-ep-openvino`
    Pull(PullArgs),
    /// List the models in the store
    List(ListArgs),
    /// Remove models or runtimes from the store
    Rm(RmArgs),
    /// Compiled models, kept so that models open faster: list, remove or make them
    Cache(CacheArgs),
    /// Turn a checkpoint into a model folder for OpenVINO or ONNX Runtime
    Export(ExportArgs),
    /// Fit a correction of a quantised model's logits, and judge whether it helps
    Calibrate(Box<CalibrateArgs>),
    /// Measure a model: perplexity, divergence from a reference, tasks
    Eval(Box<EvalArgs>),
    /// Put claims to the test: studies with a record and a page
    #[cfg(feature = "lab")]
    Lab(Box<LabArgs>),
    /// Measure what models cost on devices: time, memory, energy
    Bench(Box<BenchArgs>),
    /// Show records of measurements: a page, Markdown or CSV
    Report(ReportArgs),
    /// Compare records of measurements: faster, slower, or no difference shown
    Compare(CompareArgs),
    /// Serve models to other programs, in the ways that OpenAI's and others' clients speak
    Serve(Box<ServeArgs>),
    /// Let the daemon begin by itself: as a service of this user
    Service(ServiceArgs),
    /// List the models that the daemon holds
    Ps(PsArgs),
    /// Unload models of the daemon
    Stop(StopArgs),
    /// Answer another process: requests on stdin, answers on stdout
    #[command(hide = true)]
    Worker(WorkerArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man(ManArgs),
}

/// Arguments of `lapwing worker`.
#[derive(Debug, Clone, Args)]
pub struct WorkerArgs {
    /// What it is for
    #[arg(value_enum)]
    pub kind: WorkerKind,
}

/// What a worker is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WorkerKind {
    /// Opens models on devices for the first time.
    Trial,
    /// Measures.
    Bench,
    /// Serves a model.
    Serve,
    /// Pulls a model for the daemon.
    Pull,
}

impl Command {
    /// Whether it only shows what is there, so that a mistake elsewhere does no harm.
    pub fn only_looks(&self) -> bool {
        use Command::{Compare, Devices, Doctor, Inspect, List, Ps, Report, Tokenize};
        let looks = matches!(self, List(_) | Doctor(_) | Devices(_) | Inspect(_) | Tokenize(_));
        looks || matches!(self, Report(_) | Compare(_) | Ps(_))
    }

    /// Whether it loads libraries that run models, or maps files that may be damaged: what then ends
    /// the process tells nothing.
    pub fn may_come_to_harm(&self) -> bool {
        match self {
            Self::Run(_) | Self::Chat(_) | Self::Embed(_) => true,
            Self::Calibrate(_) | Self::Eval(_) => true,
            #[cfg(feature = "lab")]
            Self::Lab(_) => true,
            // The measuring itself is in workers; what is measured is looked at before.
            Self::Bench(_) => true,
            Self::Devices(_) | Self::Doctor(_) | Self::Inspect(_) | Self::Export(_) => true,
            // What it brings is checked.
            Self::Pull(_) => true,
            Self::Cache(args) => args.command.runtime().is_some(),
            // A GGUF is mapped.
            Self::Tokenize(_) => true,
            Self::List(_) | Self::Rm(_) | Self::Report(_) | Self::Compare(_) => false,
            // Models are in workers.
            Self::Serve(_) | Self::Service(_) | Self::Ps(_) | Self::Stop(_) => false,
            // Whoever asks a worker looks after it.
            Self::Worker(_) | Self::Completions(_) | Self::Man(_) => false,
        }
    }

    /// The options about backend and device, where the command has them.
    pub fn runtime(&self) -> Option<&RuntimeArgs> {
        match self {
            Self::Run(args) => Some(&args.runtime),
            Self::Chat(args) => Some(&args.runtime),
            Self::Embed(args) => Some(&args.runtime),
            Self::Cache(args) => args.command.runtime(),
            Self::Serve(args) => Some(&args.runtime),
            Self::Calibrate(args) => Some(&args.runtime),
            Self::Eval(args) => Some(args.measure.runtime()),
            #[cfg(feature = "lab")]
            Self::Lab(args) => Some(args.study.runtime()),
            Self::Devices(_) | Self::Doctor(_) | Self::Inspect(_) | Self::Pull(_) => None,
            Self::Tokenize(_) | Self::Service(_) | Self::Ps(_) | Self::Stop(_) => None,
            Self::List(_) | Self::Rm(_) | Self::Export(_) | Self::Report(_) => None,
            // It has lists of its own.
            Self::Bench(_) => None,
            Self::Compare(_) | Self::Worker(_) | Self::Completions(_) | Self::Man(_) => None,
        }
    }

    /// What the daemon is told, where the command is it.
    pub fn serving(&self) -> Option<&ServingArgs> {
        match self {
            Self::Serve(args) => Some(&args.serving),
            _ => None,
        }
    }

    /// Where the system tells of itself: a test may say where.
    pub fn system_files(&self) -> SystemFiles {
        let root = match self {
            Self::Serve(args) => args.system_files.as_ref(),
            _ => None,
        };
        root.map_or_else(SystemFiles::of_this_system, SystemFiles::at)
    }
}

/// Say what a word too many most often is where a command takes a prompt.
pub fn advise_quotes(error: &mut clap::Error) {
    let takes_text = |usage: &ContextValue| match usage {
        ContextValue::StyledStr(usage) => usage.to_string().contains("[TEXT]"),
        _ => false,
    };
    let is_word = |argument: &ContextValue| match argument {
        ContextValue::String(argument) => !argument.starts_with('-'),
        _ => false,
    };
    if error.kind() == ErrorKind::UnknownArgument
        && error.get(ContextKind::InvalidArg).is_some_and(is_word)
        && error.get(ContextKind::Usage).is_some_and(takes_text)
    {
        let tip = "a prompt of several words stands in quotes".into();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
}

/// Leave hidden commands out of what an error takes a misspelling for.
pub fn suggest_only_what_is_shown(error: &mut clap::Error) {
    let kind = ContextKind::SuggestedSubcommand;
    let Some(ContextValue::Strings(mut names)) = error.remove(kind) else { return };
    let command = Cli::command();
    // clap adds `help` itself, and only when it parses.
    names.retain(|name| name == HELP || is_shown(&command, name));
    if let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand)
        && names.iter().any(|name| name.starts_with(typed))
    {
        names.retain(|name| name.starts_with(typed));
    }
    if !names.is_empty() {
        error.insert(kind, ContextValue::Strings(names));
    }
}

const HELP: &str = "help";

fn is_shown(command: &clap::Command, name: &str) -> bool {
    let mut shown = command.get_subcommands().filter(|each| !each.is_hide_set());
    shown.any(|each| each.get_name() == name || is_shown(each, name))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn accepts_what_the_contract_says() {
        let check = |line: &str, accepted: bool| {
            let result = Cli::try_parse_from(line.split_whitespace());
            assert_eq!(result.is_ok(), accepted, "{line}: {:?}", result.err());
        };
        check("lapwing run --model m --prompt hi", true);
        check("lapwing run --model m", true);
        check("lapwing run m hi", true);
        check("lapwing run m", true);
        check("lapwing run", false);
        check("lapwing run m hi --prompt hi", false);
        check("lapwing run m hi --prompt-ids 1", false);
        check("lapwing run m what is it", false);
        check("lapwing chat m", true);
        check("lapwing chat", false);
        check("lapwing chat m --model n", false);
        check(
            "lapwing run --model m -n 5 --model n --max-tokens 7 --device cpu --device npu",
            true,
        );
        check("lapwing run --prompt hi", false);
        check("lapwing run --model m --prompt-ids 1,2,3 --json --top-logits 5 --warmup", true);
        check("lapwing run --model m --prompt hi --prompt-ids 1", false);
        check("lapwing run --model m --prompt-ids 1,x", false);
        check("lapwing run --model m --messages f --tools g --thinking off --show-prompt", true);
        check("lapwing run --model m --messages f --prompt hi", false);
        check("lapwing run --model m --messages f --system s", false);
        check("lapwing run --model m --prompt hi --raw --thinking on", false);
        check("lapwing run --model m --prompt-ids 1 --template-var a=1", false);
        check("lapwing run --model m --prompt-ids 1 --system s", false);
        check("lapwing run --model m --thinking maybe", false);
        check("lapwing chat --model m --reasoning-effort low --template-var a=1", true);
        check("lapwing tokenize m hi --json", true);
        check("lapwing tokenize", false);
        check("lapwing run --model m --device gpu.1 --backend openvino --precision exact", true);
        check("lapwing run --model m --device tpu", false);
        check("lapwing run --model m --device npu:cpu --npu-prompt 9", true);
        check("lapwing run --model m --property A=B --property NPU_X=", true);
        check("lapwing run --model m --property A", false);
        check("lapwing run --model m --logit-bias 5=-1.5 --logit-bias 7=2 --stop a --stop b", true);
        check("lapwing run --model m --logit-bias 5", false);
        check("lapwing run --model m --temperature -1", false);
        check("lapwing run --model m --temperature 0 --top-p 0.9 --min-p 0.05 --seed 7", true);
        check("lapwing run --model m --top-p 1.5", false);
        check("lapwing run --model m --threads 0", false);
        check("lapwing export a.gguf --to onnx --weights int4 --out d", true);
        check("lapwing export a.gguf --to tflite --weights int4 --out d", false);
        check("lapwing export a.gguf --to onnx --name n", true);
        check("lapwing export a.gguf --to onnx --name n --out d", false);
        check("lapwing export a.gguf --to onnx", false);
        check("lapwing eval", false);
        check("lapwing eval ppl --model m --text t", true);
        check("lapwing eval ppl --model m --text t --convention hugging-face --stride 8", true);
        check("lapwing eval ppl --model m --text t --convention gguf", false);
        check("lapwing eval ppl --model m --text t --correction auto --device cpu --fresh", true);
        check("lapwing eval ppl --model m", false);
        check("lapwing eval kl --model m --reference r --text t --limit 4 --json", true);
        check("lapwing eval kl --model m --reference r --reference-variant q4 --text t", true);
        check("lapwing eval kl --model m --text t", false);
        check("lapwing eval task piqa --model m --data d --labels l", true);
        check("lapwing eval task arc-challenge --model m --data d", true);
        check("lapwing eval task mmlu --model m --data d", false);
        let study = "falsify --model m --model n --reference r --text t --other-text o --out d";
        check(&format!("lapwing lab {study} --json"), cfg!(feature = "lab"));
        check(&format!("lapwing eval {study}"), cfg!(feature = "lab"));
        check("lapwing calibrate --model m --text a --text b --other-text c --windows 9", true);
        check("lapwing calibrate --model m", false);
        check("lapwing calibrate --model m --text a --held-out 0", false);
        check("lapwing calibrate --model m --text a --checkpoint c", false);
        check("lapwing calibrate --model m --text a --reference r --checkpoint c -o p", true);
        check("lapwing calibrate --model m --text a --reference-variant fp32", false);
        check("lapwing report", true);
        check("lapwing report a b --out page.html --format markdown --run latest", true);
        check("lapwing report --format pdf", false);
        check("lapwing compare a b --fail-over 5% --force --json", true);
        check("lapwing compare a", false);
        check("lapwing compare a b --fail-over much", false);
        check("lapwing pull", false);
        check("lapwing rm", false);
        check("lapwing rm --cache", true);
        check("lapwing cache", false);
        check("lapwing cache list --json", true);
        check("lapwing cache clear --model m --json", true);
        check("lapwing cache warm", false);
        check("lapwing cache warm a b --device npu:cpu --precision exact --threads 2", true);
        check("lapwing pull openvino onnxruntime", true);
        check("lapwing list --all --json", true);
        check("lapwing -v -q list", false);
        check("lapwing bench --model m", true);
        check("lapwing bench -m a -m b -p 128,512 -n 0 -d 0,1024 --threads 1,2", true);
        check(
            "lapwing bench -m m --device cpu,gpu.1 --precision fast,exact --correction off",
            true,
        );
        check("lapwing bench -m m --all-devices --recommend throughput --time 2m", true);
        check("lapwing bench -m m --all-devices --device cpu", false);
        check("lapwing bench -m m --device tpu", false);
        check("lapwing bench -m m --time 0", false);
        check("lapwing bench -m m --warmup 0", false);
        check("lapwing bench -m m --resume 1 --fresh", false);
        check("lapwing bench", false);
        check("lapwing completions zsh", true);
        check("lapwing serve --listen 127.0.0.1:1,[::1]:2 --no-port --any-name --queue 0", true);
        check("lapwing serve --no-port=false --alias a=b,c=d --origin app://x", true);
        check("lapwing service", false);
        check("lapwing service install --dry-run --for launchd --force", true);
        check("lapwing service install --no-namespaces --memory-high 50% --memory-max 8G", true);
        check("lapwing service install --memory-max 8GB", false);
        check("lapwing service install --memory-max 0", false);
        check("lapwing service logs -f --lines 5", true);
        check("lapwing serve --parallel 0", false);
        check("lapwing serve --alias a", false);
        check("lapwing serve --keep-alive soon", false);
    }
}
