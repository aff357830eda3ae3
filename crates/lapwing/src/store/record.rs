//! What a pull or an export writes down about a model, beside its files.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// The record inside a model's folder.
pub(super) const RECORD_FILE: &str = ".lapwing.json";

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

/// What a pull wrote down about a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The name in the store.
    pub name: String,
    /// Where the model came from, with the exact revision.
    pub source: String,
    /// The source as it was asked for, which may name a branch or no revision at all.
    #[serde(default)]
    pub requested: Option<String>,
    /// Which of several files of the source this is.
    #[serde(default)]
    pub variant: Option<String>,
    /// What it is.
    pub kind: ModelKind,
    /// Licence, if known.
    pub licence: Option<String>,
    /// Its files.
    pub files: Vec<FileRecord>,
}

/// One file of a pulled model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Path inside the model's folder.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its hash, lower-case hexadecimal.
    pub sha256: String,
}

/// The record in `folder`, when there is one that can be read.
pub(super) fn read_record(folder: &Path) -> Option<Record> {
    serde_json::from_str(&std::fs::read_to_string(folder.join(RECORD_FILE)).ok()?).ok()
}
