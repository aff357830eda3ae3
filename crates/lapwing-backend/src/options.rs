//! What a caller asks of a backend, and the devices it offers.

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
    /// What only an NPU is told.
    pub npu: NpuOptions,
}

/// How to compile for an NPU, whose shapes are fixed then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NpuOptions {
    /// Most tokens of a prompt that starts a sequence; `None` takes the backend's own choice.
    pub n_prompt_tokens_max: Option<usize>,
    /// Tokens of a prompt that go in at once, a power of two; `None` takes the library's own
    /// choice.
    pub n_prefill_chunk_tokens: Option<usize>,
    /// Quick to compile or quick to run; `None` takes the library's own choice.
    pub generate: Option<NpuGenerate>,
    /// Who translates the graph for the device; `None` takes the library's own choice.
    pub compiler: Option<NpuCompiler>,
}

/// What the graph for single tokens is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NpuGenerate {
    /// A short compilation.
    FastCompile,
    /// Fast answers.
    BestPerformance,
}

/// Who translates a graph for an NPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NpuCompiler {
    /// The installed driver.
    Driver,
    /// A library beside OpenVINO.
    Plugin,
}

/// Arithmetic of a model's activations and KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// What the library thinks best for the device.
    Fast,
    /// f32 arithmetic and an f32 KV cache where the backend can: comparable across machines.
    Exact,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::Fast => "fast",
            Precision::Exact => "exact",
        })
    }
}

/// The device a user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceRequest {
    /// The best one; the choice is reported.
    Auto,
    /// One device, numbered when there are several of its kind.
    One(DeviceKind, Option<u32>),
}

/// A kind of processor.
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

impl TryFrom<String> for DeviceRequest {
    type Error = ParseDeviceError;

    fn try_from(text: String) -> Result<DeviceRequest, ParseDeviceError> {
        text.parse()
    }
}

impl From<DeviceRequest> for String {
    fn from(request: DeviceRequest) -> String {
        request.to_string()
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

#[cfg(test)]
mod tests {
    use super::{DeviceKind, DeviceRequest};

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
