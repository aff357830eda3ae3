//! Which device runs a model: the one that was asked for, or for `auto` one rung after the other.
//!
//! The rungs are the device that was measured to be best, then NPU, GPU, CPU. Each refusal is told;
//! a device that was asked for is never replaced. A GPU or an NPU is first tried in a process of
//! its own ([`crate::trial`]), and the outcome is remembered ([`crate::ledger`]).

use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::Context as _;
use lapwing_backend::{Backend, Device, DeviceKind, DeviceRequest, Model, OpenOptions};
use lapwing_model::ModelFolder;
use serde::Serialize;

use crate::correction;
use crate::engine;
use crate::hardware::Machine;
use crate::hint::note;
use crate::interrupt::Interrupted;
use crate::ledger::{Configuration, Ledger, Tried};
use crate::model_files::ModelFiles;
use crate::natives::Runtime;
use crate::printer::Printer;
use crate::recommendation::{self, Auto, is_there};
use crate::settings::{Settings, Trials};
use crate::trial::{self, Failure, Subject, TrialError};

/// The order in which `auto` tries kinds of devices.
const KINDS: [DeviceKind; 3] = [DeviceKind::Npu, DeviceKind::Gpu, DeviceKind::Cpu];

/// The last rung: it is always there, and nothing follows it.
const LAST: DeviceRequest = DeviceRequest::One(DeviceKind::Cpu, None);
/// What an error says first.
const CANNOT_OPEN: &str = "cannot open the model";

/// A model and how its device was found.
pub struct Opened {
    /// The model.
    pub model: Box<dyn Model>,
    /// The rungs before it, in order.
    pub refused: Vec<RefusedRung>,
}

/// A device that `auto` passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedRung {
    /// What `--device` calls it.
    pub device: String,
    /// Why.
    pub reason: String,
}

/// A device that came to harm when it was tried.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {device}{}: {failure}", since(at.as_deref()))]
pub struct HarmfulDevice {
    /// What `--device` calls it.
    pub device: String,
    /// When that was, if not now.
    pub at: Option<String>,
    /// What happened.
    pub failure: Failure,
    /// What the child printed.
    #[source]
    pub printed: Option<Printed>,
}

/// The last lines of a child.
#[derive(Debug, thiserror::Error)]
#[error("the last it printed: {}", lines.join(" | "))]
pub struct Printed {
    lines: Vec<String>,
}

/// What is to be opened.
pub struct Attempt<'a> {
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
    /// All else.
    pub settings: &'a Settings,
}

/// Open a model on the device that the settings mean.
///
/// # Errors
///
/// When the device that was asked for, or the last rung, does not open it.
pub fn open(attempt: &Attempt<'_>) -> anyhow::Result<Opened> {
    let printer = Printer::new(attempt.settings.quiet);
    let requested = attempt.settings.device;
    if requested != DeviceRequest::Auto {
        let model = attempt.open_on(requested, &printer)?;
        return Ok(Opened { model, refused: Vec::new() });
    }
    let devices = attempt.backend.devices().unwrap_or_default();
    let mut refused = Vec::new();
    for rung in rungs(attempt, &devices, &printer) {
        let device = match rung {
            Rung::Try(device) => device,
            Rung::Absent(kind, reason) => {
                refused.push(RefusedRung { device: kind.to_string(), reason });
                continue;
            }
        };
        match attempt.open_on(device, &printer) {
            Ok(model) => {
                tell(&refused, &device.to_string(), &printer);
                return Ok(Opened { model, refused });
            }
            Err(error) if error.chain().any(|cause| cause.is::<Interrupted>()) => {
                return Err(error);
            }
            Err(error) => {
                if device == LAST {
                    tell(&refused, &device.to_string(), &printer);
                    return Err(error);
                }
                let reason = without_place(&error);
                refused.push(RefusedRung { device: device.to_string(), reason });
            }
        }
    }
    unreachable!("the CPU is always a rung, and the last one")
}

/// Say what was passed over on the way to `device`.
fn tell(refused: &[RefusedRung], device: &str, printer: &Printer) {
    if !refused.is_empty() {
        printer.note(note::ladder(refused, device));
    }
}

/// The error without the command's own words, and with its causes.
fn without_place(error: &anyhow::Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    let from = usize::from(causes.len() > 1 && causes[0] == CANNOT_OPEN);
    causes[from..].join(": ")
}

/// A device to try, or one that is not there.
enum Rung {
    Try(DeviceRequest),
    Absent(DeviceKind, String),
}

fn rungs(attempt: &Attempt<'_>, devices: &[Device], printer: &Printer) -> Vec<Rung> {
    let mut rungs = Vec::new();
    let recommended = recommended(attempt, devices, printer);
    rungs.extend(recommended.map(Rung::Try));
    for kind in KINDS {
        let device = DeviceRequest::One(kind, None);
        if recommended == Some(device) && device != LAST {
            continue;
        }
        rungs.push(match is_there(device, devices) || device == LAST {
            true => Rung::Try(device),
            false => Rung::Absent(kind, why_absent(attempt, kind)),
        });
    }
    rungs
}

/// The device that was measured to be best, where one was and it is there.
fn recommended(
    attempt: &Attempt<'_>,
    devices: &[Device],
    printer: &Printer,
) -> Option<DeviceRequest> {
    let all = &attempt.settings.recommendations;
    let name = correction::folder_name(attempt.path, attempt.folder);
    let runtime = attempt.runtime.name();
    match recommendation::of_auto(all, &name, attempt.folder, runtime, devices) {
        Auto::Unmeasured => None,
        Auto::Measured(device, why) => {
            printer.note(note::auto_device(&why));
            Some(device)
        }
        Auto::Skipped(why) => {
            printer.note(note::auto_device_skipped(&why));
            None
        }
    }
}

fn why_absent(attempt: &Attempt<'_>, kind: DeviceKind) -> String {
    if attempt.runtime == Runtime::OnnxRuntime {
        return "ONNX Runtime offers none".to_owned();
    }
    let facts = Machine::here(Some(attempt.settings)).facts(kind);
    let reason = facts.and_then(|facts| facts.reason);
    reason.unwrap_or_else(|| "OpenVINO does not offer it".to_owned())
}

impl Attempt<'_> {
    /// Open the model on one device, after a trial where that is needed.
    fn open_on(&self, device: DeviceRequest, printer: &Printer) -> anyhow::Result<Box<dyn Model>> {
        // A CPU is what this process runs on: it needs no trial.
        if !matches!(device, DeviceRequest::One(DeviceKind::Cpu, _)) {
            self.require_harmless(device, printer)?;
        }
        let options = engine::on_device(&self.options, device, self.settings);
        self.backend.open(self.folder, &options).context(CANNOT_OPEN)
    }

    /// The device of the backend that a request means.
    fn device(&self, requested: DeviceRequest) -> Option<Device> {
        let DeviceRequest::One(kind, _) = requested else { return None };
        let devices = self.backend.devices().unwrap_or_default();
        let is_meant = |device: &Device| is_there(requested, std::slice::from_ref(device));
        match kind {
            DeviceKind::NpuOnCpu => {
                Some(Device { kind, id: "NPU:CPU".to_owned(), name: String::new() })
            }
            _ => devices.into_iter().find(is_meant),
        }
    }

    /// Try the device in a process of its own unless that was done, and refuse it if it came to
    /// harm. An ordinary refusal comes again from this process, with its type.
    fn require_harmless(&self, request: DeviceRequest, printer: &Printer) -> anyhow::Result<()> {
        let Some(device) = self.device(request) else { return Ok(()) };
        let ledger = Ledger::new(self.settings.home.cache());
        let configuration = self.configuration(&device);
        let tried = ledger.find(&configuration);
        let at = tried.as_ref().map(|tried| tried.at.clone());
        let failure = match tried {
            Some(tried) => tried.failure,
            None if self.settings.trials == Trials::Never => return Ok(()),
            None => {
                printer.note(note::trying(&request));
                let failure = self.try_on(request)?.err();
                let tried = Tried::now(configuration, failure.clone());
                if let Err(error) = ledger.record(tried) {
                    let error = anyhow::Error::new(error);
                    printer.warning(format!("the trial will be repeated: {error:#}"));
                }
                failure
            }
        };
        match failure.filter(Failure::is_crash) {
            None => Ok(()),
            Some(failure) => {
                let lines = failure.last_lines.clone();
                let printed = (!lines.is_empty()).then_some(Printed { lines });
                Err(HarmfulDevice { device: request.to_string(), at, failure, printed }.into())
            }
        }
    }

    fn try_on(&self, device: DeviceRequest) -> Result<Result<trial::Passed, Failure>, TrialError> {
        let backend = self.backend.name();
        let subject = Subject { model: self.path, backend, device, compare: false, cache: None };
        trial::run(&subject, self.settings, self.settings.trial_limits)
    }

    fn configuration(&self, device: &Device) -> Configuration {
        let modified = std::fs::metadata(&self.folder.graph).and_then(|file| file.modified());
        let modified = modified.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let OpenOptions { n_threads, precision, n_positions_max, npu, .. } = &self.options;
        Configuration {
            model: std::path::absolute(&self.folder.graph).unwrap_or_default(),
            model_bytes: ModelFiles::of(self.folder).map_or(0, |files| files.n_bytes()),
            model_modified_s: modified.map_or(0, |since| since.as_secs()),
            backend: self.backend.name().to_owned(),
            version: self.backend.version(),
            device: format!("{} {}", device.id, device.name).trim().to_owned(),
            driver: self.backend.driver(device),
            options: format!("{n_threads:?} {precision:?} {n_positions_max:?} {npu:?}"),
        }
    }
}

fn since(at: Option<&str>) -> String {
    at.map(|at| format!(", it came to harm at {at}")).unwrap_or_default()
}
