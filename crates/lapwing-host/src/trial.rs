//! Opening a model in a process of its own: what a plugin does to that process, this one survives.
//!
//! Plugins of GPUs and NPUs abort, hang or take all memory at the first compilation. So that comes
//! first in a [worker], which opens the model and infers twice ([`crate::attempt`]),
//! and says which stage it has come to. What it compiled is in the cache of compiled models, so the
//! work is not done twice.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use lapwing_files::Allowance;
use lapwing_files::disk::human_bytes;
use serde::{Deserialize, Serialize};
use sysinfo::System;

use crate::setup::Setup;
use crate::worker::{self, LastWords, Loss, Worker, WorkerError};

/// What a trial may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrialLimits {
    /// From the child's start to its end.
    pub time: Duration,
    /// Resident bytes of the child.
    pub n_bytes: u64,
}

impl TrialLimits {
    /// Twenty minutes, since a first compilation takes some, and four fifths of the machine's
    /// memory, or of what a container may take of it: beyond that the system itself suffers.
    pub fn usual(allowance: &Allowance) -> TrialLimits {
        let mut system = System::new().ok();
        system.as_mut().map(System::refresh_memory);
        let n_bytes = system.map(|system| system.total_memory()).filter(|&n_bytes| n_bytes != 0);
        let n_bytes = n_bytes.into_iter().chain(allowance.memory_bytes).min();
        let n_bytes = n_bytes.map_or(u64::MAX, |n_bytes| n_bytes / 5 * 4);
        TrialLimits { time: Duration::from_secs(20 * 60), n_bytes }
    }
}

/// A device that came to harm when it was tried.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {device}{}: {failure}", since(at.as_deref()))]
pub struct HarmfulDevice {
    /// What requests call it.
    pub device: String,
    /// When that was, if not now.
    pub at: Option<String>,
    /// What happened.
    pub failure: Failure,
    /// What its process printed.
    #[source]
    pub printed: Option<LastWords>,
}

fn since(at: Option<&str>) -> String {
    at.map(|at| format!(", it came to harm at {at}")).unwrap_or_default()
}

/// How far a process has come that opens a model and runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Starting the process.
    Start,
    /// Reading the model's files, without any library.
    Files,
    /// Loading the library and its plugins.
    Library,
    /// Reading and compiling the model.
    Compile,
    /// The first inferences.
    Inference,
    /// Whatever it was opened for.
    Run,
    /// Ending the process: the work is done.
    End,
}

/// What a worker says: stages, and then its outcome.
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
    /// The last lines that its process printed, oldest first.
    pub last_lines: Vec<String>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// An ordinary error.
    Refused {
        /// What it said.
        message: String,
    },
    /// The process ended, or was stopped.
    #[serde(untagged)]
    Lost(Loss),
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
            How::Lost(Loss::Ended { signal, .. }) => !matches!(signal, Some(1 | 2 | 9 | 15)),
            How::Lost(Loss::TimedOut { limit_s }) => limits.time.as_secs() <= limit_s,
            How::Lost(Loss::TooMuchMemory { limit_bytes }) => limits.n_bytes <= limit_bytes,
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
            How::Lost(Loss::Ended { status, .. }) => {
                write!(f, "the process ended while {}: {status}", self.stage)
            }
            How::Lost(Loss::TimedOut { limit_s }) => {
                write!(f, "not done after {limit_s} s while {}", self.stage)
            }
            How::Lost(Loss::TooMuchMemory { limit_bytes }) => write!(
                f,
                "more than {} of memory taken while {}",
                human_bytes(*limit_bytes),
                self.stage
            ),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Start => "starting",
            Stage::Files => "reading the files",
            Stage::Library => "loading the library",
            Stage::Compile => "compiling",
            Stage::Inference => "inferring for the first time",
            Stage::Run => "running the model",
            Stage::End => "ending",
        })
    }
}

/// What a trial is to open.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// The model, and how; not on `auto`.
    pub setup: Setup,
    /// Whether to compare the logits with the CPU's.
    pub compare: bool,
}

/// Try what `request` says in the worker that `command` starts.
///
/// # Errors
///
/// When there is no such process, or `is_stopped` says so. What becomes of it is the outcome.
pub fn run(
    request: &Request,
    command: Command,
    limits: TrialLimits,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Result<Passed, Failure>, WorkerError> {
    let mut worker: Worker<'_, Request, Report> = Worker::start(command, is_stopped)?;
    let TrialLimits { time, n_bytes } = limits;
    let mut stage = Stage::Start;
    let mut hear = |report| {
        if let Report::Stage(next) = report {
            stage = next;
        }
    };
    let limits = worker::Limits { time, n_bytes: Some(n_bytes) };
    let answer = worker.ask(request, limits, &mut hear);
    let how = match answer {
        Ok(Report::Passed(passed)) => return Ok(Ok(passed)),
        Ok(Report::Refused { message }) => How::Refused { message },
        Ok(Report::Stage(stage)) => {
            return Err(WorkerError::Version { found: format!("{stage:?} is no outcome") });
        }
        Err(WorkerError::Lost(loss)) => How::Lost(loss),
        Err(error) => return Err(error),
    };
    Ok(Err(Failure { stage, how, last_lines: worker.last_lines() }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: TrialLimits = TrialLimits { time: Duration::from_secs(60), n_bytes: 1 << 40 };

    #[test]
    fn a_trial_may_take_a_part_of_what_its_container_may() {
        let limits = |memory_bytes| TrialLimits::usual(&Allowance { n_cpus: None, memory_bytes });
        assert_eq!(limits(Some(1000)).n_bytes, 800);
        assert!(1000 < limits(None).n_bytes);
        assert_eq!(limits(Some(u64::MAX)), limits(None));
    }

    fn failure(how: How) -> Failure {
        Failure { stage: Stage::Compile, how, last_lines: vec![] }
    }

    #[test]
    fn what_says_nothing_about_a_device_is_not_remembered() {
        let check = |how: How, expected: bool| {
            assert_eq!(failure(how.clone()).holds(LIMITS), expected, "{how:?}");
        };
        let by = |signal| How::Lost(Loss::Ended { status: String::new(), signal });
        check(by(Some(6)), true);
        check(by(None), true);
        for signal in [1, 2, 9, 15] {
            check(by(Some(signal)), false);
        }
        check(How::Lost(Loss::TimedOut { limit_s: 60 }), true);
        check(How::Lost(Loss::TimedOut { limit_s: 59 }), false);
        check(How::Lost(Loss::TooMuchMemory { limit_bytes: LIMITS.n_bytes }), true);
        check(How::Lost(Loss::TooMuchMemory { limit_bytes: LIMITS.n_bytes - 1 }), false);
        check(How::Refused { message: String::new() }, true);
    }

    #[test]
    fn a_failure_is_written_as_it_always_was() {
        let check = |how: How, expected: &str| {
            let text = serde_json::to_string(&how).unwrap();
            assert_eq!(text, expected);
            assert_eq!(serde_json::from_str::<How>(&text).unwrap(), how);
        };
        check(How::Refused { message: "no".into() }, r#"{"refused":{"message":"no"}}"#);
        let ended = Loss::Ended { status: "aborted (signal 6)".into(), signal: Some(6) };
        let text = r#"{"ended":{"status":"aborted (signal 6)","signal":6}}"#;
        check(How::Lost(ended), text);
        check(How::Lost(Loss::TimedOut { limit_s: 1 }), r#"{"timed_out":{"limit_s":1}}"#);
    }

    #[cfg(unix)]
    #[test]
    fn the_stage_of_a_crash_is_told() {
        use lapwing_backend::{DeviceRequest, OpenOptions, Precision};

        use lapwing_store::natives::Runtime;

        let options = OpenOptions {
            device: DeviceRequest::Auto,
            n_threads: None,
            precision: Precision::Fast,
            n_positions_max: None,
            n_chunk_tokens: None,
            hidden_states: false,
            cache_folder: None,
            n_prompt_tokens_max: None,
            whole_prompts: false,
            properties: std::collections::BTreeMap::new(),
        };
        let runtime = Runtime::OpenVino;
        let setup = Setup { path: "model".into(), variant: None, runtime, options };
        let request = Request { setup, compare: false };
        let run = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            run(&request, command, LIMITS, &|| false).unwrap()
        };
        let stage = r#"echo 'lapwing-worker more 1 {"stage":"compile"}'; echo boom >&2; "#;
        let failure = run(&format!("{stage}kill -ABRT $$")).unwrap_err();
        assert!(failure.is_harm());
        let expected = "the process ended while compiling: aborted (signal 6)";
        assert_eq!(
            (failure.to_string().as_str(), failure.last_lines),
            (expected, vec!["boom".into()])
        );
        let refused = r#"echo 'lapwing-worker last 1 {"refused":{"message":"no"}}'; exit 1"#;
        let failure = run(&format!("{stage}{refused}")).unwrap_err();
        assert_eq!(failure.how, How::Refused { message: "no".into() });
        assert!(!failure.is_harm());
        let passed =
            r#"{"device_used":"NPU","open_ms":1.5,"first_inference_ms":2.0,"difference":null}"#;
        let passed =
            format!(r#"echo 'lapwing-worker last 1 {{"passed":{passed}}}'; kill -SEGV $$"#);
        assert_eq!(run(&passed).unwrap().device_used, "NPU");
    }
}
