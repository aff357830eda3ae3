//! Why a backend refused or failed.

use std::path::PathBuf;

use crate::{DeviceKind, DeviceRequest};

/// What a library said, whatever its error type.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a library could not name its devices.
#[derive(Debug, thiserror::Error)]
#[error("{backend} cannot list its devices")]
pub struct DeviceError {
    /// The backend's name.
    pub backend: &'static str,
    /// What the library said.
    #[source]
    pub source: Source,
}

/// Why a model could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder is of a kind this backend does not run.
    #[error("{backend} does not run {kind} folders: {}", folder.display())]
    WrongKind {
        /// The backend's name.
        backend: &'static str,
        /// The folder's kind.
        kind: &'static str,
        /// The folder.
        folder: PathBuf,
    },
    /// The model needs something this backend does not do.
    #[error("{backend} cannot run {}: {reason}", folder.display())]
    Unsupported {
        /// The backend's name.
        backend: &'static str,
        /// The folder.
        folder: PathBuf,
        /// What is missing, with what was found.
        reason: String,
    },
    /// The device is not on this machine, or its library or driver is missing.
    #[error("{backend} has no device `{requested}` here: it offers {offered}")]
    NoDevice {
        /// The backend's name.
        backend: &'static str,
        /// What was asked for.
        requested: DeviceRequest,
        /// The devices that are there, by id.
        offered: String,
    },
    /// The device cannot take weights as they were quantised.
    #[error(
        "{backend} cannot run {} on {device}: its weights are {found}, expected {expected}",
        folder.display()
    )]
    UnfitWeights {
        /// The backend's name.
        backend: &'static str,
        /// The folder.
        folder: PathBuf,
        /// The kind of the device that was asked.
        device: DeviceKind,
        /// How the weights are quantised.
        found: String,
        /// What the device takes.
        expected: &'static str,
    },
    /// The model's files cannot be read.
    #[error("the model's files cannot be used")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Source,
    },
    /// The library refused the model.
    #[error("{backend} {version} refuses {} on {device}", model.display())]
    Refused {
        /// The backend's name.
        backend: &'static str,
        /// The library's version.
        version: String,
        /// The graph file.
        model: PathBuf,
        /// The device that was asked.
        device: String,
        /// What the library said.
        #[source]
        source: Source,
    },
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// There is no room for the new tokens.
    #[error("context is full: {n_positions} positions seen, {n_new} new, {n_max} allowed")]
    ContextFull {
        /// Positions already seen.
        n_positions: usize,
        /// Tokens that were to be added.
        n_new: usize,
        /// The model's limit on this device.
        n_max: usize,
    },
    /// A first step has more tokens than the device was compiled for.
    #[error("prompt of {n_tokens} tokens is too long: {n_prompt_tokens_max} were compiled for")]
    PromptTooLong {
        /// Tokens of the step.
        n_tokens: usize,
        /// The limit of this compilation.
        n_prompt_tokens_max: usize,
    },
    /// A token is not in the vocabulary.
    #[error("token {token} is not in the vocabulary of {n_vocab}")]
    NoSuchToken {
        /// The token.
        token: u32,
        /// Tokens the model has.
        n_vocab: usize,
    },
    /// The device gives the last position's logits only.
    #[error("{backend} gives the logits of the last position only on this device")]
    LastPositionOnly {
        /// The backend's name.
        backend: &'static str,
    },
    /// The library failed.
    #[error("{backend} failed after {n_positions} positions")]
    Library {
        /// The backend's name.
        backend: &'static str,
        /// Positions seen before the step.
        n_positions: usize,
        /// What the library said.
        #[source]
        source: Source,
    },
}

/// Why a decoder could not forget positions.
#[derive(Debug, thiserror::Error)]
pub enum RewindError {
    /// The positions asked for were never seen.
    #[error("cannot rewind to {n_asked} positions: only {n_positions} were seen")]
    Ahead {
        /// Positions asked for.
        n_asked: usize,
        /// Positions seen.
        n_positions: usize,
    },
    /// This device or model cannot forget.
    #[error("{backend} cannot rewind here: {reason}")]
    Unsupported {
        /// The backend's name.
        backend: &'static str,
        /// Why.
        reason: &'static str,
    },
}
