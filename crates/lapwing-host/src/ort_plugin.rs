//! The OpenVINO plugin of ONNX Runtime, by which ONNX exports run on Intel GPUs.
//!
//! It is optional: without it, and with one that cannot be used, ONNX Runtime runs on the CPU.

use std::fmt;

use lapwing_backend::{Backend, Device, DeviceKind, DeviceRequest};
use lapwing_ort::OrtBackend;
pub use lapwing_ort::Plugin;
use lapwing_store::natives::{LocateError, Native, Runtime, locate};

use crate::host::Host;

/// ONNX Runtime lacks a device that was asked for.
#[derive(Debug, thiserror::Error)]
#[error("ONNX Runtime has no device `{device}` here: {lack}")]
pub struct NoOnnxDevice {
    /// What was asked for.
    pub device: DeviceRequest,
    /// What is missing.
    pub lack: Lack,
}

/// What ONNX Runtime lacks for a kind of device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// The kind.
    pub kind: DeviceKind,
    /// What the plugin is missing for.
    pub of_plugin: LackOfPlugin,
    /// What the machine is missing, in few words; `None` when nothing is.
    pub of_machine: Option<String>,
}

/// Why the plugin offers no device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LackOfPlugin {
    /// It is not made for this kind: see [`lapwing_ort`] for what was found.
    WrongKind,
    /// It was never fetched.
    NotInstalled,
    /// It cannot be loaded.
    Unusable {
        /// Why.
        reason: String,
    },
    /// It is loaded and does not see one.
    NoOffer,
}

impl fmt::Display for Lack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of_plugin {
            LackOfPlugin::WrongKind => {
                write!(
                    formatter,
                    "ONNX exports are not run on {}s",
                    self.kind.to_string().to_ascii_uppercase()
                )?;
            }
            LackOfPlugin::NotInstalled => {
                write!(formatter, "{} is not installed", Native::OrtPlugin.name())?;
            }
            LackOfPlugin::Unusable { reason } => {
                write!(formatter, "{} cannot be used: {reason}", Native::OrtPlugin.name())?;
            }
            LackOfPlugin::NoOffer => {
                write!(formatter, "{} offers none", Native::OrtPlugin.name())?;
            }
        }
        match &self.of_machine {
            Some(reason) => write!(formatter, ", and {reason}"),
            None => Ok(()),
        }
    }
}

/// ONNX Runtime with its plugin, where that is installed.
pub fn with_plugin(backend: OrtBackend, host: &Host) -> OrtBackend {
    match locate(Native::OrtPlugin, &host.store) {
        Ok(plugin) => backend.with_plugin(&plugin.path),
        Err(LocateError::Missing { .. }) => backend,
        Err(error) => {
            tracing::warn!(%error, "the OpenVINO plugin of ONNX Runtime is left out");
            backend
        }
    }
}

/// What comes of the plugin: loads ONNX Runtime and it. `None` when ONNX Runtime cannot be used.
///
/// # Errors
///
/// When the plugin's file is not there or is cut off.
pub fn load(host: &Host) -> Result<Option<Plugin>, LocateError> {
    let plugin = locate(Native::OrtPlugin, &host.store)?;
    let runtime = locate(Runtime::OnnxRuntime, &host.store).ok();
    let backend = runtime.and_then(|runtime| OrtBackend::load(&runtime.path).ok());
    Ok(backend.map(|backend| backend.with_plugin(&plugin.path).plugin()))
}

/// Why the plugin cannot be used; `None` where it can, and where there is none.
pub fn refusal(host: &Host) -> Option<String> {
    let reason = match load(host) {
        Err(LocateError::Missing { .. }) => return None,
        Err(error) => error.to_string(),
        Ok(Some(Plugin::Refused { reason, .. })) => reason,
        Ok(_) => return None,
    };
    Some(format!("{} cannot be used: {reason}", Native::OrtPlugin.name()))
}

/// Refuse a GPU or an NPU that ONNX Runtime does not offer, with all that is missing for it.
///
/// # Errors
///
/// When it is not offered.
pub fn require_device(
    runtime: Runtime,
    backend: &dyn Backend,
    requested: DeviceRequest,
    host: &Host,
) -> Result<(), NoOnnxDevice> {
    let DeviceRequest::One(kind @ (DeviceKind::Gpu | DeviceKind::Npu), _) = requested else {
        return Ok(());
    };
    let is_of_kind = |device: &Device| device.kind == kind;
    let is_offered = || backend.devices().unwrap_or_default().iter().any(is_of_kind);
    match runtime == Runtime::OnnxRuntime && !is_offered() {
        true => Err(NoOnnxDevice { device: requested, lack: lack(kind, host) }),
        false => Ok(()),
    }
}

/// What is missing for a kind of device that ONNX Runtime does not offer.
pub fn lack(kind: DeviceKind, host: &Host) -> Lack {
    let facts = host.machine().facts(kind);
    let of_plugin = match (kind, load(host)) {
        (DeviceKind::Npu | DeviceKind::NpuOnCpu, _) => LackOfPlugin::WrongKind,
        (_, Err(LocateError::Missing { .. })) => LackOfPlugin::NotInstalled,
        (_, Err(error)) => LackOfPlugin::Unusable { reason: error.to_string() },
        (_, Ok(Some(Plugin::Refused { reason, .. }))) => LackOfPlugin::Unusable { reason },
        (_, Ok(_)) => LackOfPlugin::NoOffer,
    };
    Lack { kind, of_plugin, of_machine: facts.and_then(|facts| facts.reason) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_told_in_one_line() {
        let check = |kind, of_plugin, of_machine: Option<&str>, expected: &str| {
            let of_machine = of_machine.map(str::to_owned);
            assert_eq!(Lack { kind, of_plugin, of_machine }.to_string(), expected);
        };
        let (gpu, npu) = (DeviceKind::Gpu, DeviceKind::Npu);
        let missing = LackOfPlugin::NotInstalled;
        check(gpu, missing.clone(), None, "onnxruntime-ep-openvino is not installed");
        let both = "onnxruntime-ep-openvino is not installed, and no device";
        check(gpu, missing, Some("no device"), both);
        let expected = "onnxruntime-ep-openvino offers none, and libOpenCL.so.1 is missing";
        check(gpu, LackOfPlugin::NoOffer, Some("libOpenCL.so.1 is missing"), expected);
        let unusable = LackOfPlugin::Unusable { reason: "too old".to_owned() };
        check(gpu, unusable, None, "onnxruntime-ep-openvino cannot be used: too old");
        let expected = "ONNX exports are not run on NPUs, and no device";
        check(npu, LackOfPlugin::WrongKind, Some("no device"), expected);
    }
}
