//! Which device runs a model: the one that was asked for, or for `auto` one rung after the other.
//!
//! The rungs are the device that was measured to be best, then NPU, GPU, CPU. Each refusal is told;
//! a device that was asked for is never replaced. A GPU or an NPU is first tried in a process of
//! its own ([`crate::trial`]), and the outcome is remembered ([`crate::ledger`]).

use std::path::Path;
use std::time::{Duration, Instant};

use lapwing_backend::{Backend, Device, DeviceKind, DeviceRequest, Model, OpenOptions};
use lapwing_model::ModelFolder;
use lapwing_store::natives::Runtime;

use crate::hardware::{COMPILER_PROPERTY, Machine};
use crate::host::{Host, Trials};
use crate::ledger::{Configuration, Tried};
use crate::model_files::{self, ModelFiles};
use crate::notice::{Caller, Notice, RefusedRung};
use crate::open_error::{OpenModelError, cannot_open, with_causes};
use crate::ort_plugin;
use crate::pieces;
use crate::recommendation::{self, Auto, is_there};
use crate::setup::Setup;
use crate::trial::{self, Failure, HarmfulDevice, Stage, TrialLimits};
use crate::worker::{LastWords, WorkerCommand, WorkerError};

/// The order in which `auto` tries kinds of devices.
const KINDS: [DeviceKind; 3] = [DeviceKind::Npu, DeviceKind::Gpu, DeviceKind::Cpu];

/// The last rung: it is always there, and nothing follows it.
const LAST: DeviceRequest = DeviceRequest::One(DeviceKind::Cpu, None);

/// A model and how its device was found.
pub(crate) struct Opened {
    /// The model.
    pub model: Box<dyn Model>,
    /// The rungs before it, in order.
    pub refused: Vec<RefusedRung>,
    /// What opening it took in this process, without trials and rungs before.
    pub open: Duration,
}

/// What is to be opened.
pub(crate) struct Attempt<'a> {
    /// The library.
    pub runtime: Runtime,
    /// The same, loaded.
    pub backend: &'a dyn Backend,
    /// Where the model is.
    pub path: &'a Path,
    /// What its folder says.
    pub folder: &'a ModelFolder,
    /// How; the device is chosen here.
    pub options: OpenOptions,
}

/// One climb.
struct Climb<'a> {
    attempt: &'a Attempt<'a>,
    host: &'a Host,
    caller: Caller<'a>,
}

/// Open a model on the device that its options mean.
///
/// # Errors
///
/// When the device that was asked for, or the last rung, does not open it.
pub(crate) fn open(
    host: &Host,
    attempt: &Attempt<'_>,
    caller: Caller<'_>,
) -> Result<Opened, OpenModelError> {
    let climb = Climb { attempt, host, caller };
    let requested = attempt.options.device;
    if requested != DeviceRequest::Auto {
        let (model, open) = climb.open_on(requested, Ask::ByName)?;
        return Ok(Opened { model, refused: Vec::new(), open });
    }
    let mut refused = Vec::new();
    for rung in climb.rungs() {
        let device = match rung {
            Rung::Try(device) => device,
            Rung::Absent(kind, reason) => {
                refused.push(RefusedRung { device: kind.to_string(), reason });
                continue;
            }
        };
        let opened = climb.open_on(device, Ask::Auto);
        match opened {
            Err(error) if device != LAST && !error.is_stop() => {
                refused.push(RefusedRung { device: device.to_string(), reason: error.reason() });
            }
            Err(error) if error.is_stop() => return Err(error),
            opened => {
                if !refused.is_empty() {
                    caller.tell(Notice::PassedOver { refused: refused.clone(), device });
                }
                return opened.map(|(model, open)| Opened { model, refused, open });
            }
        }
    }
    unreachable!("the CPU is always a rung, and the last one")
}

/// A device to try, or one that is not there.
enum Rung {
    Try(DeviceRequest),
    Absent(DeviceKind, String),
}

/// How a device was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    ByName,
    Auto,
}

impl Climb<'_> {
    fn rungs(&self) -> Vec<Rung> {
        let mut rungs = Vec::new();
        let listed = self.attempt.backend.devices();
        let devices: &[Device] = listed.as_deref().unwrap_or_default();
        let unlisted = listed.as_ref().err().map(|error| with_causes(error));
        let recommended = self.recommended(devices);
        rungs.extend(recommended.map(Rung::Try));
        for kind in KINDS {
            let device = DeviceRequest::One(kind, None);
            if recommended == Some(device) && device != LAST {
                continue;
            }
            rungs.push(match is_there(device, devices) || device == LAST {
                true => Rung::Try(device),
                false => {
                    let why = unlisted.clone().unwrap_or_else(|| self.why_absent(kind));
                    Rung::Absent(kind, why)
                }
            });
        }
        rungs
    }

    /// The device that was measured to be best, where one was and it is there.
    fn recommended(&self, devices: &[Device]) -> Option<DeviceRequest> {
        let Attempt { runtime, path, folder, .. } = self.attempt;
        let name = model_files::folder_name(path, folder);
        let file = self.host.recommendations.as_deref();
        let n_bytes = || ModelFiles::of(folder).ok().map(|files| files.n_bytes());
        match recommendation::of_auto(file, &name, n_bytes, runtime.name(), devices) {
            Auto::Unmeasured => None,
            Auto::Measured(device, why) => {
                self.caller.tell(Notice::Recommended { why });
                Some(device)
            }
            Auto::Unreadable(why) => {
                self.caller.tell(Notice::RecommendationsUnreadable { why });
                None
            }
            Auto::Skipped(why) => {
                self.caller.tell(Notice::RecommendationSkipped { why });
                None
            }
        }
    }

    fn why_absent(&self, kind: DeviceKind) -> String {
        if self.attempt.runtime == Runtime::OnnxRuntime {
            return ort_plugin::lack(kind, self.host).to_string();
        }
        let facts = self.host.machine().facts(kind);
        let reason = facts.and_then(|facts| facts.reason);
        reason.unwrap_or_else(|| "OpenVINO does not offer it".to_owned())
    }

    /// Open the model on one device, after a trial where that is needed; the time is of the
    /// former.
    fn open_on(
        &self,
        device: DeviceRequest,
        ask: Ask,
    ) -> Result<(Box<dyn Model>, Duration), OpenModelError> {
        let is_cpu = matches!(device, DeviceRequest::One(DeviceKind::Cpu, _));
        if !is_cpu || self.host.trials.cpu_too {
            self.require_harmless(device, ask)?;
        }
        self.check_stop()?;
        let Attempt { runtime, backend, folder, .. } = *self.attempt;
        ort_plugin::require_device(runtime, backend, device, self.host).map_err(cannot_open)?;
        let with = format!("{} {} on {device}", runtime.name(), backend.version());
        let open = |whole_prompts| {
            (self.caller.begins)(Stage::Compile, &with);
            let options = OpenOptions { whole_prompts, ..self.options_on(device) };
            let mut on_inference = || (self.caller.begins)(Stage::Inference, &with);
            let model = backend.open_telling(folder, &options, &mut on_inference);
            let model = model.map_err(cannot_open);
            // The library cannot be stopped; what it made or refused meanwhile is not wanted any more.
            self.check_stop()?;
            model
        };
        let question = self
            .device(device)
            .map(|found| pieces::configuration(self.configuration(device, &found)));
        let answer = question.as_ref().and_then(|question| self.host.ledger().find(question));
        let differs = |answer: &Option<Tried>| answer.as_ref().is_some_and(|a| a.failure.is_some());
        let started = Instant::now();
        let mut model = open(differs(&answer))?;
        let mut elapsed = started.elapsed();
        if let (Some(question), None) = (question, &answer) {
            (self.caller.begins)(Stage::Inference, &with);
            let answer = self.ask_in_pieces(&*model, question)?;
            if differs(&answer) {
                let started = Instant::now();
                drop(model);
                model = open(true)?;
                elapsed += started.elapsed();
            }
        }
        Ok((model, elapsed))
    }

    /// Ask a model that was never asked, and remember what it answers.
    fn ask_in_pieces(
        &self,
        model: &dyn Model,
        question: Configuration,
    ) -> Result<Option<Tried>, OpenModelError> {
        let Some(answer) = pieces::compare(model) else { return Ok(None) };
        self.check_stop()?;
        let tried = Tried::now(question, answer.err());
        if let Some(failure) = &tried.failure {
            self.caller.tell(Notice::WholePrompts { why: failure.to_string() });
        }
        if let Err(error) = self.host.ledger().record(tried.clone(), self.caller.is_stopped) {
            tracing::debug!(why = with_causes(&error), "the model will be asked again");
        }
        Ok(Some(tried))
    }

    fn check_stop(&self) -> Result<(), OpenModelError> {
        match (self.caller.is_stopped)() {
            true => Err(OpenModelError::Worker(WorkerError::Stopped)),
            false => Ok(()),
        }
    }

    fn options_on(&self, device: DeviceRequest) -> OpenOptions {
        on_device(&self.attempt.options, device, &|| self.host.machine())
    }

    /// The device of the backend that a request means.
    fn device(&self, requested: DeviceRequest) -> Option<Device> {
        let DeviceRequest::One(kind, _) = requested else { return None };
        let devices = self.attempt.backend.devices().unwrap_or_default();
        let is_meant = |device: &Device| is_there(requested, std::slice::from_ref(device));
        match kind {
            DeviceKind::NpuOnCpu if self.attempt.runtime != Runtime::OpenVino => None,
            DeviceKind::NpuOnCpu => {
                Some(Device { kind, id: "NPU:CPU".to_owned(), name: String::new() })
            }
            _ => devices.into_iter().find(is_meant),
        }
    }

    /// Try the device in a process of its own unless that went well before, and refuse it if it
    /// came to harm. An ordinary refusal of a device that was asked for by name comes again from
    /// this process, with its type.
    fn require_harmless(&self, request: DeviceRequest, ask: Ask) -> Result<(), OpenModelError> {
        let Some(device) = self.device(request) else { return Ok(()) };
        let configuration = self.configuration(request, &device);
        let Trials { worker, limits, .. } = &self.host.trials;
        let (failure, at) = match (self.host.ledger().find(&configuration), worker) {
            (Some(Tried { failure: None, .. }), _) => return Ok(()),
            (Some(Tried { failure: Some(failure), at, .. }), _)
                if still_holds(&failure, *limits, ask) =>
            {
                (failure, Some(at))
            }
            (_, None) => return Ok(()),
            (_, Some(worker)) => {
                self.caller.tell(Notice::Trying { device: request });
                match self.try_on(request, ask, configuration, worker)? {
                    None => return Ok(()),
                    Some(failure) => (failure, None),
                }
            }
        };
        if !failure.is_harm() {
            return match ask {
                Ask::ByName => Ok(()),
                Ask::Auto => Err(OpenModelError::Tried { failure, at }),
            };
        }
        let printed = LastWords::of(failure.last_lines.clone());
        let harm = HarmfulDevice { device: request.to_string(), at, failure, printed };
        Err(OpenModelError::Harm(Box::new(harm)))
    }

    /// Try the device and remember what came of it; returns what went wrong. What was refused for a
    /// reason, such as a file that is cut off, is only remembered to spare `auto` the question.
    fn try_on(
        &self,
        device: DeviceRequest,
        ask: Ask,
        configuration: Configuration,
        worker: &WorkerCommand,
    ) -> Result<Option<Failure>, OpenModelError> {
        let setup = Setup {
            path: self.attempt.path.to_owned(),
            variant: self.attempt.folder.variant.clone(),
            runtime: self.attempt.runtime,
            options: self.options_on(device),
        };
        let request = trial::Request { setup, compare: false };
        let (limits, is_stopped) = (self.host.trials.limits, self.caller.is_stopped);
        let failure = trial::run(&request, worker.command()?, limits, is_stopped)?.err();
        let is_kept =
            |failure: &Failure| failure.holds(limits) && (failure.is_harm() || ask == Ask::Auto);
        if failure.as_ref().is_none_or(is_kept) {
            let tried = Tried::now(configuration, failure.clone());
            let recorded = self.host.ledger().record(tried, is_stopped);
            self.check_stop()?;
            if let Err(error) = recorded {
                self.caller.tell(Notice::TrialForgotten { why: with_causes(&error) });
            }
        }
        Ok(failure)
    }

    fn configuration(&self, request: DeviceRequest, device: &Device) -> Configuration {
        let Attempt { backend, folder, .. } = self.attempt;
        let files = ModelFiles::of(folder).ok();
        let options = self.options_on(request);
        let OpenOptions {
            n_threads,
            precision,
            n_positions_max,
            hidden_states,
            n_prompt_tokens_max,
            properties,
            // The first is what is tried, the others decide nothing of the compilation.
            device: _,
            n_chunk_tokens: _,
            whole_prompts: _,
            cache_folder: _,
        } = options;
        Configuration {
            model: std::path::absolute(&folder.graph).unwrap_or_default(),
            model_bytes: files.as_ref().map_or(0, ModelFiles::n_bytes),
            model_stamp: files.map_or_else(String::new, |files| files.stamp().to_string()),
            backend: backend.name().to_owned(),
            version: backend.version(),
            device: format!("{} {}", device.id, device.name).trim().to_owned(),
            driver: backend.driver(device),
            options: format!(
                "{n_threads:?} {precision:?} {n_positions_max:?} {hidden_states} \
                 {n_prompt_tokens_max:?} {properties:?}"
            ),
        }
    }
}

/// Whether an earlier failure still counts. Who asks for a device by name may have mended what it
/// was refused for.
fn still_holds(failure: &Failure, limits: TrialLimits, ask: Ask) -> bool {
    failure.holds(limits) && (failure.is_harm() || ask == Ask::Auto)
}

/// Options for one device. OpenVINO's own choice of a compiler for NPUs is a library that its
/// packages leave out, so what is there is looked for.
pub(crate) fn on_device(
    options: &OpenOptions,
    device: DeviceRequest,
    machine: &dyn Fn() -> Machine,
) -> OpenOptions {
    let mut options = OpenOptions { device, ..options.clone() };
    let is_said = options.properties.contains_key(COMPILER_PROPERTY);
    if matches!(device, DeviceRequest::One(DeviceKind::Npu, _)) && !is_said {
        let found = machine().npu_compiler();
        let told = found.map(|compiler| (COMPILER_PROPERTY.to_owned(), compiler.name().to_owned()));
        options.properties.extend(told);
    }
    options
}
