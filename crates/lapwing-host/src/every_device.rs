//! A model on every device that a library offers, each in a process of its own.

use std::path::Path;

use lapwing_backend::{DeviceKind, DeviceRequest, OpenOptions};
use lapwing_store::Variant;
use lapwing_store::natives::Runtime;

use crate::backends::load;
use crate::host::Host;
use crate::ladder;
use crate::open_error::{OpenModelError, cannot_open};
use crate::setup::{Setup, open_folder, options_for};
use crate::trial::{self, Failure, Passed};
use crate::worker::WorkerCommand;

/// Logits further from the CPU's than this share of their range are wrong: f16 and bf16 are far
/// nearer, and a broken driver far further.
const DIFFERENCE_MAX: f64 = 0.1;

/// One device and what became of it.
#[derive(Debug)]
pub struct Tried {
    /// What requests call it.
    pub device: String,
    /// The backend that was to run it; `-` where none offers it.
    pub backend: &'static str,
    /// What it did.
    pub outcome: Outcome,
}

/// What became of a device.
#[derive(Debug)]
pub enum Outcome {
    /// It runs, and computes what the CPU does.
    Passed(Passed),
    /// It runs, and computes something else than the CPU.
    Wrong(Passed),
    /// It came to harm, or refused.
    Failed(Failure),
    /// It is not there.
    Absent(String),
}

impl Tried {
    /// Whether a device that is there does not work.
    pub fn is_broken(&self) -> bool {
        matches!(self.outcome, Outcome::Wrong(_) | Outcome::Failed(_))
    }
}
/// How devices are tried.
pub struct EveryDevice<'a> {
    /// Where libraries are, and what a trial may take.
    pub host: &'a Host,
    /// What tries them, by [`attempt::serve`](crate::attempt::serve).
    pub worker: &'a WorkerCommand,
    /// What the libraries are asked for.
    pub options: &'a OpenOptions,
    /// Which of several files of the model.
    pub variant: Option<&'a Variant>,
    /// A folder for what is compiled: what was compiled before would hide what a compilation does.
    pub scratch: &'a Path,
    /// Whether nobody wants more.
    pub is_stopped: &'a dyn Fn() -> bool,
}

impl EveryDevice<'_> {
    /// Try the model in the folder `model` on the devices of one library; `trying` hears of each.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read, no process can be started, or nobody wants more. What a
    /// device does is an outcome.
    pub fn of(
        &self,
        runtime: Runtime,
        model: &Path,
        trying: &mut dyn FnMut(DeviceRequest),
    ) -> Result<Vec<Tried>, OpenModelError> {
        let mut all = Vec::new();
        for device in devices(runtime, self.host) {
            trying(device);
            let request = trial::Request {
                setup: self.setup(runtime, model, device)?,
                compare: device != DeviceRequest::One(DeviceKind::Cpu, None),
            };
            let (command, limits) = (self.worker.command()?, self.host.trials.limits);
            let outcome = match trial::run(&request, command, limits, self.is_stopped)? {
                // A difference that is no number is none that is small.
                Ok(passed) if passed.difference.is_none_or(|found| found <= DIFFERENCE_MAX) => {
                    Outcome::Passed(passed)
                }
                Ok(passed) => Outcome::Wrong(passed),
                Err(failure) => Outcome::Failed(failure),
            };
            all.push(Tried { device: device.to_string(), backend: runtime.backend(), outcome });
        }
        Ok(all)
    }

    /// The GPU and the NPU where none was tried.
    pub fn absent(&self, tried: &[Tried]) -> Vec<Tried> {
        let machine = self.host.machine();
        let mut absent = Vec::new();
        for facts in [machine.gpu(), machine.npu()] {
            let kind = facts.kind.to_string();
            if !tried.iter().any(|tried| tried.device.split('.').next() == Some(&*kind)) {
                let reason = facts.reason.unwrap_or_else(|| "no library offers it".to_owned());
                let outcome = Outcome::Absent(reason);
                absent.push(Tried { device: kind, backend: "-", outcome });
            }
        }
        absent
    }

    fn setup(
        &self,
        runtime: Runtime,
        model: &Path,
        device: DeviceRequest,
    ) -> Result<Setup, OpenModelError> {
        let folder = open_folder(model, self.variant).map_err(cannot_open)?;
        let cache_folder = Some(self.scratch.to_owned());
        let options = options_for(runtime, &OpenOptions { cache_folder, ..self.options.clone() });
        let options = ladder::on_device(&options, device, &|| self.host.machine());
        Ok(Setup { path: model.to_owned(), variant: folder.variant, runtime, options })
    }
}

/// What a library offers; the CPU always, so that a library that cannot even tell is tried.
fn devices(runtime: Runtime, host: &Host) -> Vec<DeviceRequest> {
    let offered = load(runtime, host).ok().and_then(|backend| backend.devices().ok());
    let offered = offered.unwrap_or_default().into_iter();
    let mut devices: Vec<DeviceRequest> =
        offered.filter_map(|device| device.id.parse().ok()).collect();
    let cpu = DeviceRequest::One(DeviceKind::Cpu, None);
    if !devices.contains(&cpu) {
        devices.insert(0, cpu);
    }
    if runtime == Runtime::OpenVino {
        devices.push(DeviceRequest::One(DeviceKind::NpuOnCpu, None));
    }
    devices
}
