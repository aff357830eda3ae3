//! What a caller asks of a backend, and the devices it offers.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How to open a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenOptions {
    /// Where to run it.
    pub device: DeviceRequest,
    /// Threads for one inference; `None` lets the library choose.
    pub n_threads: Option<usize>,
    /// Speed or reproducibility.
    pub precision: Precision,
    /// Limit on positions below the model's own; `None` takes the model's.
    pub n_positions_max: Option<usize>,
    /// Most tokens to hand to the library at once; `None` takes the backend's own choice.
    pub n_chunk_tokens: Option<usize>,
    /// Give the input of the output head with every scored row; a model where it cannot be found
    /// is refused then.
    pub hidden_states: bool,
    /// Where compiled models may be kept between runs; `None` keeps nothing.
    pub cache_folder: Option<PathBuf>,
    /// Most tokens of a prompt that starts a sequence, where the device fixes its sizes when a model
    /// is compiled; `None` takes the backend's own choice.
    pub n_prompt_tokens_max: Option<usize>,
    /// Put a prompt in at once, and everything behind it token by token: for a model that answers a
    /// prompt in pieces otherwise.
    pub whole_prompts: bool,
    /// What the library is told beside all this, in its own words. One that it does not know is
    /// refused by it, one that decides what is asked for above by the backend.
    pub properties: BTreeMap<String, String>,
}

impl OpenOptions {
    /// What a backend tells its library, and behind it the [`properties`](Self::properties) that
    /// were asked for.
    ///
    /// # Errors
    ///
    /// With the reason when one of those is the backend's to tell, or one of `reserved`.
    pub fn with_properties<'a>(
        &'a self,
        ours: &[(&'a str, String)],
        reserved: &[&str],
    ) -> Result<Vec<(&'a str, String)>, String> {
        let is_ours = |asked: &&String| {
            reserved.contains(&asked.as_str()) || ours.iter().any(|(name, _)| name == asked)
        };
        if let Some(name) = self.properties.keys().find(is_ours) {
            return Err(format!("property {name} is not free: it follows from other options"));
        }
        let asked = self.properties.iter().map(|(name, value)| (name.as_str(), value.clone()));
        Ok(ours.iter().cloned().chain(asked).collect())
    }
}

/// Arithmetic of a model's activations and KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Precision {
    /// What the library thinks best for the device.
    Fast,
    /// f32 arithmetic and an f32 KV cache where the backend can: comparable across machines.
    Exact,
}

/// The device a user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum DeviceRequest {
    /// Whichever does: a backend takes its CPU, and whoever opens models (the host's ladder) has
    /// asked for others by name before.
    Auto,
    /// One device, numbered when there are several of its kind.
    One(DeviceKind, Option<u32>),
}

/// A kind of processor.
///
/// One more: a variant here, its name below, how each backend lists it (`device.rs`) and what it
/// tells its library (`properties.rs`, `npu.rs`), a rung of the host's ladder, and what a machine needs
/// for it in the host's `hardware.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceKind {
    /// Central processor.
    Cpu,
    /// Graphics processor, integrated or not.
    Gpu,
    /// Neural processor.
    Npu,
    /// The way of a neural processor with the CPU in its place: for tests, on any machine.
    NpuOnCpu,
}

/// A device that a library offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// What it is.
    pub kind: DeviceKind,
    /// The library's own name for it, such as `GPU.1`.
    pub id: String,
    /// The product's name as the library reports it; empty when it does not.
    pub name: String,
}

/// A device name that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error(
    "unknown device `{found}`: expected auto, cpu, gpu, npu, npu:cpu, or one of several as in gpu.1"
)]
pub struct ParseDeviceError {
    /// What was given.
    pub found: String,
}

/// A precision that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("unknown precision `{found}`: expected fast or exact")]
pub struct ParsePrecisionError {
    /// What was given.
    pub found: String,
}

impl FromStr for Precision {
    type Err = ParsePrecisionError;

    fn from_str(text: &str) -> Result<Precision, ParsePrecisionError> {
        let all = [Precision::Fast, Precision::Exact];
        let found = all.into_iter().find(|one| one.to_string().eq_ignore_ascii_case(text));
        found.ok_or_else(|| ParsePrecisionError { found: text.to_owned() })
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::Fast => "fast",
            Precision::Exact => "exact",
        })
    }
}

impl FromStr for DeviceRequest {
    type Err = ParseDeviceError;

    fn from_str(text: &str) -> Result<DeviceRequest, ParseDeviceError> {
        let unknown = || ParseDeviceError { found: text.to_owned() };
        let lower = text.to_ascii_lowercase();
        let (kind, number) = match lower.split_once('.') {
            Some((kind, number)) => (kind, Some(number.parse().map_err(|_| unknown())?)),
            None => (lower.as_str(), None),
        };
        match (kind, number) {
            ("auto", None) => Ok(DeviceRequest::Auto),
            ("cpu", number) => Ok(DeviceRequest::One(DeviceKind::Cpu, number)),
            ("gpu", number) => Ok(DeviceRequest::One(DeviceKind::Gpu, number)),
            ("npu", number) => Ok(DeviceRequest::One(DeviceKind::Npu, number)),
            ("npu:cpu", None) => Ok(DeviceRequest::One(DeviceKind::NpuOnCpu, None)),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for DeviceRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceRequest::Auto => f.write_str("auto"),
            DeviceRequest::One(kind, None) => write!(f, "{kind}"),
            DeviceRequest::One(kind, Some(number)) => write!(f, "{kind}.{number}"),
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceKind::Cpu => "cpu",
            DeviceKind::Gpu => "gpu",
            DeviceKind::Npu => "npu",
            DeviceKind::NpuOnCpu => "npu:cpu",
        })
    }
}

/// Between processes values are spelled as people spell them.
macro_rules! spelled {
    ($name:ty, $error:ty) => {
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<$name, $error> {
                text.parse()
            }
        }
    };
}

spelled!(Precision, ParsePrecisionError);
spelled!(DeviceRequest, ParseDeviceError);

#[cfg(test)]
mod tests {
    use super::{DeviceKind, DeviceRequest, Precision};

    #[test]
    fn precisions_are_read_as_they_are_written() {
        for precision in [Precision::Fast, Precision::Exact] {
            assert_eq!(
                precision.to_string().to_uppercase().parse::<Precision>().unwrap(),
                precision
            );
        }
        let error = "precise".parse::<Precision>().unwrap_err().to_string();
        assert_eq!(error, "unknown precision `precise`: expected fast or exact");
    }

    fn check(input: &str, expected: Option<DeviceRequest>) {
        assert_eq!(input.parse().ok(), expected, "{input}");
    }

    #[test]
    fn devices_parse_by_kind_and_number() {
        check("auto", Some(DeviceRequest::Auto));
        check("CPU", Some(DeviceRequest::One(DeviceKind::Cpu, None)));
        check("gpu.1", Some(DeviceRequest::One(DeviceKind::Gpu, Some(1))));
        check("npu", Some(DeviceRequest::One(DeviceKind::Npu, None)));
        check("NPU:CPU", Some(DeviceRequest::One(DeviceKind::NpuOnCpu, None)));
        check("npu:cpu.1", None);
        check("npu:gpu", None);
        check("auto.1", None);
        check("gpu.", None);
        check("tpu", None);
        check("", None);
    }
}
