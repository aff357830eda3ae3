//! Intel GPUs for ONNX exports, by the OpenVINO plugin of ONNX Runtime.
//!
//! The plugin (`onnxruntime-ep-openvino` on PyPI) makes a graph stateful: keys and values stay
//! inside it. Must not know where the plugin is; loading it costs 20 ms and happens when a device
//! other than the CPU is asked for. *Not verified on hardware*: no GPU was at hand. The plugin's
//! own CPU device goes the same way, and is what the tests run.
//!
//! Found with plugin 1.8.1 and ONNX Runtime 1.31.1:
//! * The pasts must be given and are not read, the presents do not come, and logits are those of
//!   the last position.
//! * Once it is loaded, ONNX Runtime gives it every session that names no device, where it offers
//!   a CPU: it computes in bf16 there. So sessions for the CPU name ONNX Runtime's own.
//! * A session has one state. What resets it (`kvcache_rewind`) has no binding that is safe to
//!   call, so every sequence has a session of its own.
//! * On a GPU several tokens behind others make it run the whole sequence again; tokens behind
//!   others therefore go in alone.
//! * GroupQueryAttention is taken only with `hint_enable_gqa`, and fails in the first run where the
//!   graph leaves the size of heads open.
//! * On an NPU, tried as a virtual device with the CPU in its place (`NPUW_DEVICES`): graphs of
//!   standard operators compile and give logits that are off by 1 to 15 where the largest is 14 to
//!   20, without an error; graphs with GroupQueryAttention do not compile. So an NPU is refused:
//!   OpenVINO IR runs there.

mod inference;
mod model;
mod options;
mod shared;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use lapwing_backend::{Device, DeviceKind};
use ort::device::Device as EpDevice;
use ort::environment::Environment;
use ort::memory::DeviceType;
use tracing::{debug, warn};

pub(crate) use model::PluginModel;

/// The plugin's name for what runs models on one device; what chooses among devices has a suffix.
const PROVIDER: &str = "OpenVINOExecutionProvider";

/// Our name for the library in the environment.
const REGISTRATION: &str = "lapwing-openvino";

/// The one plugin of this process: a library can be registered once.
static REGISTERED: Mutex<Option<Plugin>> = Mutex::new(None);

/// What came of the plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// None was given.
    Absent,
    /// It is loaded.
    Loaded {
        /// Its file.
        library: PathBuf,
        /// Its version, where the file's name tells.
        version: Option<String>,
        /// Whether it offers an NPU, which no ONNX export is run on.
        offers_npu: bool,
    },
    /// ONNX Runtime cannot load it; its own CPU is not affected.
    Refused {
        /// Its file.
        library: PathBuf,
        /// What ONNX Runtime said.
        reason: String,
    },
}

/// A device of the plugin, by what finds it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PluginDevice {
    pub(crate) device: Device,
    /// Its place among the plugin's devices of its kind.
    number: usize,
}

impl Plugin {
    /// Load `library` into the environment, unless this process has loaded one.
    pub(crate) fn load(environment: &Environment, library: &Path) -> Plugin {
        let mut registered = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plugin) = &*registered {
            return plugin.clone();
        }
        let plugin = register(environment, library);
        *registered = Some(plugin.clone());
        plugin
    }
}

fn register(environment: &Environment, library: &Path) -> Plugin {
    let refused = |reason: String| {
        warn!(library = %library.display(), %reason, "the OpenVINO plugin cannot be used");
        Plugin::Refused { library: library.to_owned(), reason }
    };
    if !library.is_file() {
        return refused("there is no such file".to_owned());
    }
    if let Err(error) = environment.register_ep_library(REGISTRATION, library) {
        return refused(error.to_string().trim().to_owned());
    }
    debug!(library = %library.display(), "the OpenVINO plugin is loaded");
    let offers_npu = of_type(environment, DeviceType::NPU).next().is_some();
    Plugin::Loaded { library: library.to_owned(), version: version(library), offers_npu }
}

/// The version behind `.so.` in the real file's name.
fn version(library: &Path) -> Option<String> {
    let real = library.canonicalize().ok()?;
    let name = real.file_name()?.to_str()?;
    name.split_once(".so.").map(|(_, version)| version.to_owned())
}

/// The GPUs that the plugin offers.
pub(crate) fn gpus(environment: &Environment) -> Vec<PluginDevice> {
    devices(environment, DeviceKind::Gpu)
}

/// The plugin's devices of one kind. ONNX Runtime does not tell OpenVINO's names of them, so they
/// are numbered as they come.
fn devices(environment: &Environment, kind: DeviceKind) -> Vec<PluginDevice> {
    let found: Vec<String> = of_type(environment, ep_type(kind)).map(|ep| name(&ep)).collect();
    let id = kind.to_string().to_ascii_uppercase();
    let is_one_of_several = 1 < found.len();
    let numbered = found.into_iter().enumerate().map(|(number, name)| {
        let id = if is_one_of_several { format!("{id}.{number}") } else { id.clone() };
        PluginDevice { device: Device { kind, id, name }, number }
    });
    numbered.collect()
}

/// The plugin's device as the environment knows it.
fn find<'e>(environment: &'e Environment, device: &PluginDevice) -> Option<EpDevice<'e>> {
    of_type(environment, ep_type(device.device.kind)).nth(device.number)
}

fn of_type(environment: &Environment, wanted: DeviceType) -> impl Iterator<Item = EpDevice<'_>> {
    environment.devices().filter(move |ep| {
        ep.ep().is_ok_and(|provider| provider == PROVIDER) && ep.hardware_device().ty() == wanted
    })
}

fn ep_type(kind: DeviceKind) -> DeviceType {
    match kind {
        DeviceKind::Cpu => DeviceType::CPU,
        DeviceKind::Gpu => DeviceType::GPU,
        DeviceKind::Npu | DeviceKind::NpuOnCpu => DeviceType::NPU,
    }
}

/// What the system tells of the device: its maker and number.
fn name(ep: &EpDevice<'_>) -> String {
    let hardware = ep.hardware_device();
    let maker = hardware.vendor().unwrap_or_default().trim();
    format!("{maker} device {:#06x}", hardware.id()).trim_start().to_owned()
}

#[cfg(test)]
mod tests;
