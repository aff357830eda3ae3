//! What `lapwing pull` gets that is no model.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::options::StoreOptions;

/// A native library that runs models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// ONNX Runtime.
    OnnxRuntime,
    /// OpenVINO.
    OpenVino,
}

impl Runtime {
    /// Both.
    pub const ALL: [Self; 2] = [Self::OnnxRuntime, Self::OpenVino];

    /// The name in commands, settings and on PyPI.
    pub fn name(self) -> &'static str {
        Native::from(self).name()
    }

    /// What the backend that runs on it is called.
    pub fn backend(self) -> &'static str {
        match self {
            Self::OnnxRuntime => "ort",
            Self::OpenVino => "openvino",
        }
    }

    /// The version that is fetched and that Lapwing is tested with.
    pub fn version(self) -> &'static str {
        Native::from(self).version()
    }

    /// Where [`super::pull`] puts this runtime.
    pub fn folder(self, options: &StoreOptions) -> PathBuf {
        Native::from(self).folder(options)
    }
}

/// A native library that can be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Native {
    /// One that runs models.
    Runtime(Runtime),
    /// The plugin by which ONNX Runtime uses Intel GPUs. Nothing but that needs it.
    OrtPlugin,
}

impl From<Runtime> for Native {
    fn from(runtime: Runtime) -> Native {
        Native::Runtime(runtime)
    }
}

impl Native {
    /// All of them.
    pub const ALL: [Self; 3] =
        [Self::Runtime(Runtime::OnnxRuntime), Self::Runtime(Runtime::OpenVino), Self::OrtPlugin];

    /// The name in commands and on PyPI.
    pub fn name(self) -> &'static str {
        match self {
            Self::Runtime(Runtime::OnnxRuntime) => "onnxruntime",
            Self::Runtime(Runtime::OpenVino) => "openvino",
            Self::OrtPlugin => "onnxruntime-ep-openvino",
        }
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|native| native.name() == name)
    }

    /// The version that is fetched and that Lapwing is tested with.
    pub fn version(self) -> &'static str {
        match self {
            Self::Runtime(Runtime::OnnxRuntime) => "1.31.1",
            Self::Runtime(Runtime::OpenVino) => "2026.4.1",
            Self::OrtPlugin => "1.8.1",
        }
    }

    /// The file name that loaders look for, without a version.
    pub fn library(self) -> &'static str {
        match self {
            Self::Runtime(Runtime::OnnxRuntime) => "libonnxruntime.so",
            Self::Runtime(Runtime::OpenVino) => "libopenvino_c.so",
            Self::OrtPlugin => "libonnxruntime_providers_openvino_plugin.so",
        }
    }

    /// Where [`super::pull`] puts it.
    pub fn folder(self, options: &StoreOptions) -> PathBuf {
        options.natives.join(format!("{}-{}", self.name(), self.version()))
    }
}

impl fmt::Display for Native {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.name(), self.version())
    }
}
