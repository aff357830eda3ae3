//! What a user asks for when a model is opened, as plain values.

use std::fmt;
use std::str::FromStr;

use lapwing_model::FolderKind;
use lapwing_store::natives::Runtime;
use serde::{Deserialize, Serialize};

/// Which library runs the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// The one that fits the folder and the device.
    Auto,
    /// Lapwing's own CPU kernels (not in this version).
    Native,
    /// ONNX Runtime.
    Ort,
    /// OpenVINO.
    OpenVino,
}

/// Which logit correction to apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CorrectionChoice {
    /// None.
    Off,
    /// The profile that fits model and device, when there is one.
    Auto,
    /// This profile: a name or a file.
    Profile(String),
}

/// Nothing of this version is behind [`BackendChoice::Native`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the native backend is not part of this version: expected auto, ort or openvino")]
pub struct NoNativeBackend;

impl BackendChoice {
    /// The library that was asked for, or the one made for this kind of folder. One that does not
    /// fit the folder is taken all the same: its refusal names both.
    ///
    /// # Errors
    ///
    /// When the backend is not part of this version.
    pub fn runtime_for(self, kind: FolderKind) -> Result<Runtime, NoNativeBackend> {
        match self {
            Self::Native => Err(NoNativeBackend),
            Self::Ort => Ok(Runtime::OnnxRuntime),
            Self::OpenVino => Ok(Runtime::OpenVino),
            Self::Auto => Ok(match kind {
                FolderKind::OpenVinoIr => Runtime::OpenVino,
                FolderKind::OnnxGenai | FolderKind::TransformersJs => Runtime::OnnxRuntime,
            }),
        }
    }
}

/// A value that is none of those allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found \"{found}\"")]
pub struct ParseChoiceError {
    /// What would have been right.
    pub expected: &'static str,
    /// What was given.
    pub found: String,
}

impl fmt::Display for BackendChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Ort => "ort",
            Self::OpenVino => "openvino",
        })
    }
}

impl FromStr for BackendChoice {
    type Err = ParseChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Auto, Self::Native, Self::Ort, Self::OpenVino];
        let found = all.into_iter().find(|one| one.to_string().eq_ignore_ascii_case(text));
        found.ok_or_else(|| ParseChoiceError {
            expected: "auto, native, ort or openvino",
            found: text.to_owned(),
        })
    }
}

impl fmt::Display for CorrectionChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::Profile(name) => name,
        })
    }
}

impl FromStr for CorrectionChoice {
    type Err = ParseChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => {
                Err(ParseChoiceError { expected: "off, auto or a profile", found: text.to_owned() })
            }
            "off" => Ok(Self::Off),
            "auto" => Ok(Self::Auto),
            profile => Ok(Self::Profile(profile.to_owned())),
        }
    }
}
