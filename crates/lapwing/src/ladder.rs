//! Which device runs a model: the one that was asked for, or for `auto` one rung after the other.
//!
//! The rungs are the device that was measured to be best, then NPU, GPU, CPU. Each refusal is told;
//! a device that was asked for is never replaced. A GPU or an NPU is first tried in a process of
//! its own ([`crate::trial`]), and the outcome is remembered ([`crate::ledger`]).

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lapwing_backend::{Backend, Device, DeviceKind, DeviceRequest, Model, OpenOptions};
use lapwing_model::ModelFolder;
use lapwing_store::natives::Runtime;
use serde::Serialize;

use crate::hardware::{COMPILER_PROPERTY, Machine};
use crate::hint::note;
use crate::interrupt;
use crate::ledger::{Configuration, Ledger, Tried};
use crate::model_files::{self, ModelFiles};
use crate::ort_plugin;
use crate::printer::Printer;
use crate::recommendation::{self, Auto, is_there};
use crate::settings::{Settings, Trials};
use crate::setup::Setup;
use crate::this_program;
use crate::trial::{self, Failure};
use crate::worker::LastWords;

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
    /// What opening it took in this process, without trials and rungs before.
    pub open: Duration,
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
    /// What its process printed.
    #[source]
    pub printed: Option<LastWords>,
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
    let requested = attempt.options.device;
    if requested != DeviceRequest::Auto {
        let (model, open) = attempt.open_on(requested, Ask::ByName, &printer)?;
        return Ok(Opened { model, refused: Vec::new(), open });
    }
    let mut refused = Vec::new();
    for rung in rungs(attempt, &printer) {
        let device = match rung {
            Rung::Try(device) => device,
            Rung::Absent(kind, reason) => {
                refused.push(RefusedRung { device: kind.to_string(), reason });
                continue;
            }
        };
        match attempt.open_on(device, Ask::Auto, &printer) {
            Ok((model, open)) => {
                tell(&refused, &device.to_string(), &printer);
                return Ok(Opened { model, refused, open });
            }
            Err(error) if interrupt::is_cause_of(&error) => return Err(error),
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
        printer.note(told(refused, device));
    }
}

/// The rungs that `--device auto` passed over, and where it ended.
pub fn told(refused: &[RefusedRung], device: &str) -> String {
    let mut rungs: Vec<String> =
        refused.iter().map(|rung| format!("{}: {}", rung.device, rung.reason)).collect();
    rungs.push(device.to_owned());
    format!("device auto: {}", rungs.join(" → "))
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

/// How a device was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    ByName,
    Auto,
}

fn rungs(attempt: &Attempt<'_>, printer: &Printer) -> Vec<Rung> {
    let mut rungs = Vec::new();
    let listed = attempt.backend.devices();
    let devices: &[Device] = listed.as_deref().unwrap_or_default();
    let unlisted = listed.as_ref().err().map(|error| format!("{error}: {}", error.source));
    let recommended = recommended(attempt, devices, printer);
    rungs.extend(recommended.map(Rung::Try));
    for kind in KINDS {
        let device = DeviceRequest::One(kind, None);
        if recommended == Some(device) && device != LAST {
            continue;
        }
        rungs.push(match is_there(device, devices) || device == LAST {
            true => Rung::Try(device),
            false => {
                let why = unlisted.clone().unwrap_or_else(|| why_absent(attempt, kind));
                Rung::Absent(kind, why)
            }
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
    let name = model_files::folder_name(attempt.path, attempt.folder);
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
        return ort_plugin::lack(kind, attempt.settings).to_string();
    }
    let facts = Machine::here(Some(attempt.settings)).facts(kind);
    let reason = facts.and_then(|facts| facts.reason);
    reason.unwrap_or_else(|| "OpenVINO does not offer it".to_owned())
}

impl Attempt<'_> {
    /// Open the model on one device, after a trial where that is needed; the time is of the
    /// former.
    fn open_on(
        &self,
        device: DeviceRequest,
        ask: Ask,
        printer: &Printer,
    ) -> anyhow::Result<(Box<dyn Model>, Duration)> {
        // A CPU is what this process runs on: it needs no trial.
        if !matches!(device, DeviceRequest::One(DeviceKind::Cpu, _)) {
            self.require_harmless(device, ask, printer)?;
        }
        ort_plugin::require_device(self.runtime, self.backend, device, self.settings)
            .context(CANNOT_OPEN)?;
        let options = on_device(&self.options, device, self.settings);
        let started = Instant::now();
        let model = self.backend.open(self.folder, &options).context(CANNOT_OPEN)?;
        Ok((model, started.elapsed()))
    }

    /// The device of the backend that a request means.
    fn device(&self, requested: DeviceRequest) -> Option<Device> {
        let DeviceRequest::One(kind, _) = requested else { return None };
        let devices = self.backend.devices().unwrap_or_default();
        let is_meant = |device: &Device| is_there(requested, std::slice::from_ref(device));
        match kind {
            DeviceKind::NpuOnCpu if self.runtime != Runtime::OpenVino => None,
            DeviceKind::NpuOnCpu => {
                Some(Device { kind, id: "NPU:CPU".to_owned(), name: String::new() })
            }
            _ => devices.into_iter().find(is_meant),
        }
    }

    /// Try the device in a process of its own unless that went well before, and refuse it if it
    /// came to harm. An ordinary refusal of a device that was asked for by name comes again from
    /// this process, with its type.
    fn require_harmless(
        &self,
        request: DeviceRequest,
        ask: Ask,
        printer: &Printer,
    ) -> anyhow::Result<()> {
        let Some(device) = self.device(request) else { return Ok(()) };
        let ledger = Ledger::new(self.settings.home.cache());
        let configuration = self.configuration(request, &device);
        let (failure, at) = match ledger.find(&configuration) {
            Some(Tried { failure: None, .. }) => return Ok(()),
            Some(Tried { failure: Some(failure), at, .. }) if self.still_holds(&failure, ask) => {
                (failure, Some(at))
            }
            _ if self.settings.trials == Trials::Never => return Ok(()),
            _ => {
                printer.note(note::trying(&request));
                match self.try_on(request, ask, ledger, configuration, printer)? {
                    None => return Ok(()),
                    Some(failure) => (failure, None),
                }
            }
        };
        if !failure.is_harm() {
            return match ask {
                Ask::ByName => Ok(()),
                Ask::Auto => Err(anyhow::anyhow!("{failure}{}", before(at.as_deref()))),
            };
        }
        let printed = LastWords::of(failure.last_lines.clone());
        Err(HarmfulDevice { device: request.to_string(), at, failure, printed }.into())
    }

    /// Whether an earlier failure still counts. Who asks for a device by name may have mended what
    /// it was refused for.
    fn still_holds(&self, failure: &Failure, ask: Ask) -> bool {
        failure.holds(self.settings.trial_limits) && (failure.is_harm() || ask == Ask::Auto)
    }

    /// Try the device and remember what came of it; returns what went wrong. What was refused for a
    /// reason, such as a file that is cut off, is only remembered to spare `auto` the question.
    fn try_on(
        &self,
        device: DeviceRequest,
        ask: Ask,
        ledger: Ledger,
        configuration: Configuration,
        printer: &Printer,
    ) -> anyhow::Result<Option<Failure>> {
        let setup = Setup {
            path: self.path.to_owned(),
            variant: self.folder.variant.clone(),
            runtime: self.runtime,
            options: on_device(&self.options, device, self.settings),
        };
        let request = trial::Request { setup, compare: false };
        let command = this_program::for_trials(self.settings)?;
        let limits = self.settings.trial_limits;
        let failure = trial::run(&request, command, limits, &interrupt::requested)?.err();
        let is_kept =
            |failure: &Failure| failure.holds(limits) && (failure.is_harm() || ask == Ask::Auto);
        if failure.as_ref().is_none_or(is_kept) {
            let tried = Tried::now(configuration, failure.clone());
            if let Err(error) = ledger.record(tried) {
                let error = anyhow::Error::new(error);
                printer.warning(format!("the trial will be repeated: {error:#}"));
            }
        }
        Ok(failure)
    }

    fn configuration(&self, request: DeviceRequest, device: &Device) -> Configuration {
        let files = ModelFiles::of(self.folder).ok();
        let options = on_device(&self.options, request, self.settings);
        let OpenOptions { n_threads, precision, n_positions_max, hidden_states, .. } = options;
        let OpenOptions { n_prompt_tokens_max, properties, .. } = options;
        Configuration {
            model: std::path::absolute(&self.folder.graph).unwrap_or_default(),
            model_bytes: files.as_ref().map_or(0, ModelFiles::n_bytes),
            model_stamp: files.map_or_else(String::new, |files| files.stamp().to_string()),
            backend: self.backend.name().to_owned(),
            version: self.backend.version(),
            device: format!("{} {}", device.id, device.name).trim().to_owned(),
            driver: self.backend.driver(device),
            options: format!(
                "{n_threads:?} {precision:?} {n_positions_max:?} {hidden_states} \
                 {n_prompt_tokens_max:?} {properties:?}"
            ),
        }
    }
}

/// Options for one device. OpenVINO's own choice of a compiler for NPUs is a library that its
/// packages leave out, so what is there is looked for.
pub fn on_device(options: &OpenOptions, device: DeviceRequest, settings: &Settings) -> OpenOptions {
    let mut options = OpenOptions { device, ..options.clone() };
    let is_said = options.properties.contains_key(COMPILER_PROPERTY);
    if matches!(device, DeviceRequest::One(DeviceKind::Npu, _)) && !is_said {
        let found = Machine::here(Some(settings)).npu_compiler();
        let told = found.map(|compiler| (COMPILER_PROPERTY.to_owned(), compiler.name().to_owned()));
        options.properties.extend(told);
    }
    options
}

fn since(at: Option<&str>) -> String {
    at.map(|at| format!(", it came to harm at {at}")).unwrap_or_default()
}

fn before(at: Option<&str>) -> String {
    at.map(|at| format!(" (at {at})")).unwrap_or_default()
}
