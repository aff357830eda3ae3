//! Opening a model in a process of its own: what a plugin does to that process, this one survives.
//!
//! Plugins of GPUs and NPUs abort, hang or take all memory at the first compilation. So that comes
//! first in a child, `lapwing trial`, which opens the model and infers twice. It says which stage it
//! has come to; this side watches time and memory, and keeps the last lines of what plugins print.
//! What the child compiled is in the cache of compiled models, so the work is not done twice.

mod watch;

use std::fmt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use lapwing_backend::{DeviceRequest, NpuCompiler, NpuGenerate, Precision};
use serde::{Deserialize, Serialize};

use crate::interrupt::Interrupted;
use crate::settings::Settings;
use crate::trial_limits::TrialLimits;

/// Marks the child's lines among whatever libraries print.
pub const MARK: &str = "lapwing-trial";

/// How far a child has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Starting the process.
    Start,
    /// Loading the library and its plugins.
    Library,
    /// Reading and compiling the model.
    Compile,
    /// The first inferences.
    Inference,
}

/// What a child says, each on a line behind [`MARK`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Report {
    /// A stage begins.
    Stage(Stage),
    /// All went well.
    Passed(Passed),
    /// The library or Lapwing refused, in the ordinary way.
    Refused {
        /// Why, with causes.
        message: String,
    },
}

/// What a trial that went well found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passed {
    /// The device as the library reports it.
    pub device_used: String,
    /// Opening the model.
    pub open_ms: f64,
    /// The first inference.
    pub first_inference_ms: f64,
    /// The largest difference of a logit from the CPU's, as a share of the range of the CPU's;
    /// `None` when they were not compared.
    pub difference: Option<f64>,
}

/// How a trial went wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What was going on.
    pub stage: Stage,
    /// What happened.
    pub how: How,
    /// The last lines that the child printed, oldest first.
    pub last_lines: Vec<String>,
}

/// What happened to a child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// An ordinary error.
    Refused {
        /// What it said.
        message: String,
    },
    /// The process ended by itself.
    Ended {
        /// As the system says it: an exit code or a signal.
        status: String,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// It took too long and was stopped.
    TimedOut {
        /// The limit.
        limit_s: u64,
    },
    /// It took too much memory and was stopped.
    TooMuchMemory {
        /// The limit.
        limit_bytes: u64,
    },
}

impl Failure {
    /// Whether the device must not be used in this process: the other one came to harm, or what
    /// the device computed is of no use.
    pub fn is_harm(&self) -> bool {
        !matches!(self.how, How::Refused { .. }) || self.stage == Stage::Inference
    }

    /// Whether it is worth remembering under these limits. A signal from outside, as of somebody
    /// who ends programs or of a system without memory, says nothing about a device, and where
    /// more is allowed now, more may be enough.
    pub fn holds(&self, limits: TrialLimits) -> bool {
        match self.how {
            How::Refused { .. } => true,
            How::Ended { signal, .. } => !matches!(signal, Some(1 | 2 | 9 | 15)),
            How::TimedOut { limit_s } => limits.time.as_secs() <= limit_s,
            How::TooMuchMemory { limit_bytes } => limits.n_bytes <= limit_bytes,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.how {
            How::Refused { message } if self.stage == Stage::Inference => {
                write!(f, "it does not infer: {message}")
            }
            How::Refused { message } => f.write_str(message),
            How::Ended { status, .. } => {
                write!(f, "the process ended while {}: {status}", self.stage)
            }
            How::TimedOut { limit_s } => {
                write!(f, "not done after {limit_s} s while {}", self.stage)
            }
            How::TooMuchMemory { limit_bytes } => write!(
                f,
                "more than {} of memory taken while {}",
                crate::printer::human_bytes(*limit_bytes),
                self.stage
            ),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Start => "starting",
            Stage::Library => "loading the library",
            Stage::Compile => "compiling",
            Stage::Inference => "inferring for the first time",
        })
    }
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The process was not to be had.
    #[error("cannot start a process to try a device in")]
    Start(#[source] std::io::Error),
    /// Ctrl-C.
    #[error("the trial of a device was broken off")]
    Interrupted(#[from] Interrupted),
}

/// What a trial is to open.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// The model's folder.
    pub model: &'a Path,
    /// The backend's name, as `--backend` takes it.
    pub backend: &'static str,
    /// The device.
    pub device: DeviceRequest,
    /// Whether to compare the logits with the CPU's.
    pub compare: bool,
    /// Whether the graph shows its hidden states.
    pub hidden_states: bool,
    /// Where compiled models are kept, if not in the usual place.
    pub cache: Option<&'a Path>,
}

/// Try `subject` in a child.
///
/// # Errors
///
/// When no child can be started, or after Ctrl-C. What becomes of the child is the outcome.
pub fn run(
    subject: &Subject<'_>,
    settings: &Settings,
    limits: TrialLimits,
) -> Result<Result<Passed, Failure>, TrialError> {
    let program = std::env::current_exe().map_err(TrialError::Start)?;
    let mut command = Command::new(program);
    command.args(arguments(subject, settings));
    // Ctrl-C is for this process, which then ends the child: else it would look like a crash.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    watch::watch(command, limits)
}

/// The child's command line. Environment and settings file are the same on both sides.
fn arguments(subject: &Subject<'_>, settings: &Settings) -> Vec<std::ffi::OsString> {
    let mut arguments: Vec<std::ffi::OsString> = vec!["trial".into(), "--model".into()];
    arguments.push(subject.model.into());
    let mut option = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            arguments.extend([name.into(), value.into()]);
        }
    };
    option("--backend", Some(subject.backend.to_owned()));
    option("--device", Some(subject.device.to_string()));
    option("--threads", settings.threads.map(|n| n.to_string()));
    option("--context", settings.context.map(|n| n.to_string()));
    let precision = match settings.precision.into() {
        Precision::Fast => "fast",
        Precision::Exact => "exact",
    };
    option("--precision", Some(precision.to_owned()));
    // One that was said for all models comes from the same place in the child.
    let variant = settings.variant.as_ref().filter(|variant| !variant.is_default);
    option("--variant", variant.map(|variant| variant.name.clone()));
    let npu = &settings.npu;
    option("--npu-prompt", npu.n_prompt_tokens_max.map(|n| n.to_string()));
    option("--npu-chunk", npu.n_prefill_chunk_tokens.map(|n| n.to_string()));
    let generate = npu.generate.map(|generate| match generate {
        NpuGenerate::FastCompile => "fast-compile",
        NpuGenerate::BestPerformance => "best-performance",
    });
    option("--npu-generate", generate.map(str::to_owned));
    let compiler = npu.compiler.map(|compiler| match compiler {
        NpuCompiler::Driver => "driver",
        NpuCompiler::Plugin => "plugin",
    });
    option("--npu-compiler", compiler.map(str::to_owned));
    option("--config", settings.file.as_ref().map(|path| path.display().to_string()));
    if let Some(cache) = subject.cache {
        arguments.extend(["--cache".into(), cache.into()]);
    }
    if subject.hidden_states {
        arguments.push("--hidden-states".into());
    }
    if subject.compare {
        arguments.push("--compare".into());
    }
    arguments
}

/// What the system says of a process that has ended.
fn ended(status: ExitStatus) -> How {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt as _;
        if let Some(signal) = status.signal() {
            let name = match signal {
                4 => "illegal instruction",
                6 => "aborted",
                7 => "bus error",
                8 => "arithmetic error",
                9 => "killed, perhaps by the system for want of memory",
                11 => "segmentation fault",
                15 => "terminated",
                _ => "a signal",
            };
            let status = format!("{name} (signal {signal})");
            return How::Ended { status, signal: Some(signal) };
        }
    }
    let status = match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    };
    How::Ended { status, signal: None }
}
