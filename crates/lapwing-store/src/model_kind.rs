//! What a file or folder is, as far as names tell.

use serde::{Deserialize, Serialize};

/// What a file or folder is, as far as names tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// A GGUF checkpoint.
    Gguf,
    /// A Hugging Face safetensors checkpoint.
    Safetensors,
    /// An OpenVINO model folder.
    OpenVino,
    /// An ONNX model folder.
    Onnx,
    /// None of these.
    Unknown,
}

impl ModelKind {
    /// The word in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gguf => "gguf",
            Self::Safetensors => "safetensors",
            Self::OpenVino => "openvino",
            Self::Onnx => "onnx",
            Self::Unknown => "unknown",
        }
    }

    /// The kind of model that consists of files with these names.
    pub fn of_files<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut best = Self::Unknown;
        for name in names {
            let file = name.rsplit('/').next().unwrap_or(name);
            let lower = file.to_ascii_lowercase();
            let kind = match lower.rsplit_once('.').map(|(_, extension)| extension) {
                // Tokenizers and other helpers are IR files too.
                Some("xml") if lower.starts_with("openvino_") && !lower.contains("tokenizer") => {
                    return Self::OpenVino;
                }
                Some("onnx") => Self::Onnx,
                Some("gguf") => Self::Gguf,
                Some("safetensors") => Self::Safetensors,
                _ => continue,
            };
            // Exports beside a checkpoint are what can run.
            if best == Self::Unknown || kind == Self::Onnx {
                best = kind;
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_file_names() {
        let check = |names: &[&str], expected: ModelKind| {
            assert_eq!(ModelKind::of_files(names.iter().copied()), expected, "{names:?}");
        };
        check(&["a.gguf", "README.md"], ModelKind::Gguf);
        check(&["config.json", "model-00001-of-2.safetensors"], ModelKind::Safetensors);
        check(&["openvino_tokenizer.xml", "openvino_model.xml"], ModelKind::OpenVino);
        check(&["openvino_tokenizer.xml", "model.safetensors"], ModelKind::Safetensors);
        check(&["model.safetensors", "onnx/model_q4.onnx"], ModelKind::Onnx);
        check(&[], ModelKind::Unknown);
    }
}
