//! The settings file, `lapwing.toml`, as it is written.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::recommendation::Recommendations;

/// The keys of `lapwing.toml`; all are optional, others are refused.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingsFile {
    /// Same as `--backend`.
    pub backend: Option<String>,
    /// Same as `--device`.
    pub device: Option<String>,
    threads: Option<i64>,
    /// Same as `--precision`.
    pub precision: Option<String>,
    context: Option<i64>,
    trial_seconds: Option<i64>,
    trial_mb: Option<i64>,
    npu_prompt: Option<i64>,
    npu_chunk: Option<i64>,
    /// Same as `--npu-generate`.
    pub npu_generate: Option<String>,
    /// Same as `--npu-compiler`.
    pub npu_compiler: Option<String>,
    /// Same as `--variant`.
    pub variant: Option<String>,
    /// Same as `--correction`.
    pub correction: Option<String>,
    /// An installed ONNX Runtime: the library or its folder.
    pub onnxruntime: Option<PathBuf>,
    /// The folder of an installed OpenVINO.
    pub openvino: Option<PathBuf>,
    /// How to call pip: `"pip3"` or `["python3", "-m", "pip"]`.
    pub pip: Option<Words>,
    /// Address of the Hugging Face hub or a mirror.
    pub hub: Option<String>,
    /// Devices that `bench --recommend` found best, by model.
    #[serde(default)]
    pub recommendations: Recommendations,
}

/// A command: one word, or a list of words.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Words {
    /// Just the program.
    One(String),
    /// The program and its arguments.
    Many(Vec<String>),
}

impl Words {
    /// The words, program first.
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(word) => vec![word],
            Self::Many(words) => words,
        }
    }
}

impl SettingsFile {
    /// Read `path`. A missing file is an empty one, unless the user named it.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is not TOML, or has a key that does not exist.
    pub fn read(path: &Path, named_by_user: bool) -> Result<Self, ReadSettingsError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !named_by_user => {
                return Ok(Self::default());
            }
            Err(source) => {
                return Err(ReadSettingsError::Read { path: path.to_path_buf(), source });
            }
        };
        toml::from_str(&text).map_err(|source| ReadSettingsError::Parse {
            path: path.to_path_buf(),
            source: Box::new(source),
        })
    }

    pub(super) fn threads(&self) -> Option<String> {
        self.threads.map(|n| n.to_string())
    }

    pub(super) fn context(&self) -> Option<String> {
        self.context.map(|n| n.to_string())
    }

    pub(super) fn trial_seconds(&self) -> Option<String> {
        self.trial_seconds.map(|n| n.to_string())
    }

    pub(super) fn trial_mb(&self) -> Option<String> {
        self.trial_mb.map(|n| n.to_string())
    }

    pub(super) fn npu_prompt(&self) -> Option<String> {
        self.npu_prompt.map(|n| n.to_string())
    }

    pub(super) fn npu_chunk(&self) -> Option<String> {
        self.npu_chunk.map(|n| n.to_string())
    }
}

/// Why the settings file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReadSettingsError {
    /// It cannot be read.
    #[error("cannot read the settings file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not TOML, or has a key or a type that does not fit.
    #[error("the settings file {} is wrong", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
}
