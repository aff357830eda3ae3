//! The kinds of folders that exports are.

use serde::{Deserialize, Serialize};

/// Which kind of model folder to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// A stateful OpenVINO IR folder, as optimum-intel writes.
    OpenVino,
    /// An onnxruntime-genai folder.
    Onnx,
}

impl Target {
    /// As recipes name it.
    pub fn name(self) -> &'static str {
        match self {
            Target::OpenVino => "openvino",
            Target::Onnx => "onnx",
        }
    }
}
