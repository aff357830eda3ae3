//! The values that options, environment variables and the settings file share.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Which library runs the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// The one that fits the folder and the device.
    Auto,
    /// Lapwing's own CPU kernels (not in this version).
    Native,
    /// ONNX Runtime.
    Ort,
    /// OpenVINO.
    #[value(name = "openvino")]
    OpenVino,
}

/// How exactly to calculate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// What the library finds fastest.
    Fast,
    /// f32 arithmetic and an f32 KV cache where the backend can.
    Exact,
}

/// What an NPU's graph for single tokens is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NpuGenerate {
    /// A short compilation.
    FastCompile,
    /// Fast answers.
    BestPerformance,
}

/// Who translates a graph for an NPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NpuCompiler {
    /// The installed driver.
    Driver,
    /// A library beside OpenVINO.
    Plugin,
}

/// Which logit correction to apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Correction {
    /// None.
    Off,
    /// The profile that fits model and device, when there is one.
    Auto,
    /// This profile: a name or a file.
    Profile(String),
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

impl ParseChoiceError {
    fn new(expected: &'static str, found: &str) -> Self {
        Self { expected, found: found.to_owned() }
    }
}

impl FromStr for Correction {
    type Err = ParseChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err(ParseChoiceError::new("off, auto or a profile", text)),
            "off" => Ok(Self::Off),
            "auto" => Ok(Self::Auto),
            profile => Ok(Self::Profile(profile.to_owned())),
        }
    }
}

impl fmt::Display for Correction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::Profile(name) => name,
        })
    }
}

impl FromStr for BackendChoice {
    type Err = ParseChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        <Self as ValueEnum>::from_str(text, true)
            .map_err(|_| ParseChoiceError::new("auto, native, ort or openvino", text))
    }
}

impl FromStr for NpuGenerate {
    type Err = ParseChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        <Self as ValueEnum>::from_str(text, true)
            .map_err(|_| ParseChoiceError::new("fast-compile or best-performance", text))
    }
}

impl FromStr for NpuCompiler {
    type Err = ParseChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        <Self as ValueEnum>::from_str(text, true)
            .map_err(|_| ParseChoiceError::new("driver or plugin", text))
    }
}

impl FromStr for Precision {
    type Err = ParseChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        <Self as ValueEnum>::from_str(text, true)
            .map_err(|_| ParseChoiceError::new("fast or exact", text))
    }
}

/// A whole number of at least 1, for options that count something.
///
/// # Errors
///
/// What was expected, as the command line says it.
pub fn count(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "expected a whole number of at least 1".to_owned())
}

/// A power of two.
///
/// # Errors
///
/// As [`count`].
pub fn power_of_two(text: &str) -> Result<NonZeroUsize, String> {
    let value = text.parse().ok().filter(|n: &NonZeroUsize| n.is_power_of_two());
    value.ok_or_else(|| "expected a power of two".to_owned())
}

/// A whole number of at least 0.
///
/// # Errors
///
/// As [`count`].
pub fn count_or_zero(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "expected a whole number of at least 0".to_owned())
}

/// A seed: all 64 bits.
///
/// # Errors
///
/// As [`count`].
pub fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("expected a whole number from 0 to {}", u64::MAX))
}

/// A share between 0 and 1, without both.
///
/// # Errors
///
/// As [`count`].
pub fn share(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|&value: &f64| 0.0 < value && value < 1.0);
    value.ok_or_else(|| "expected a number between 0 and 1".to_owned())
}

impl From<Precision> for lapwing_backend::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::Fast => Self::Fast,
            Precision::Exact => Self::Exact,
        }
    }
}

impl From<NpuGenerate> for lapwing_backend::NpuGenerate {
    fn from(generate: NpuGenerate) -> Self {
        match generate {
            NpuGenerate::FastCompile => Self::FastCompile,
            NpuGenerate::BestPerformance => Self::BestPerformance,
        }
    }
}

impl From<NpuCompiler> for lapwing_backend::NpuCompiler {
    fn from(compiler: NpuCompiler) -> Self {
        match compiler {
            NpuCompiler::Driver => Self::Driver,
            NpuCompiler::Plugin => Self::Plugin,
        }
    }
}
