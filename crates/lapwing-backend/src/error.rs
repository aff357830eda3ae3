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
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum OpenError {
    /// The folder is of a kind this backend does not run.
    #[error("{backend} does not run {kind} folders: {}", folder.display())]
    WrongKind { backend: &'static str, kind: &'static str, folder: PathBuf },
    /// The model needs something this backend does not do.
    #[error("{backend} cannot run {}: {reason}", folder.display())]
    Unsupported { backend: &'static str, folder: PathBuf, reason: String },
    /// It gives no logits, but rows for a text: [`Backend::open_encoder`](crate::Backend) takes it.
    #[error(
        "{} makes embeddings and no answers: its graph gives `{output}`, expected `logits`",
        folder.display()
    )]
    Encoder { folder: PathBuf, output: String },
    /// It gives logits, or what else no embedding is made of.
    #[error(
        "{} makes no embeddings: its graph gives {found}, expected `last_hidden_state`, \
         `token_embeddings` or `sentence_embedding`",
        folder.display()
    )]
    NoEncoder { folder: PathBuf, found: String },
    /// The device takes the model with a shorter context only.
    #[error("{backend} cannot run {}: {reason}, found {found}", folder.display())]
    LongContext {
        backend: &'static str,
        folder: PathBuf,
        reason: String,
        /// The longest that it takes.
        n_positions_max: usize,
        found: usize,
    },
    /// The device is not on this machine, or its library or driver is missing.
    #[error("{backend} has no device `{requested}` here: it offers {offered}")]
    NoDevice { backend: &'static str, requested: DeviceRequest, offered: String },
    /// The device cannot take weights as they were quantised.
    #[error(
        "{backend} cannot run {} on {device}: its weights are {found}, expected {expected}",
        folder.display()
    )]
    UnfitWeights {
        backend: &'static str,
        folder: PathBuf,
        device: DeviceKind,
        found: String,
        expected: &'static str,
    },
    /// The model's files cannot be read.
    #[error("the model's files cannot be used")]
    Read {
        path: PathBuf,
        #[source]
        source: Source,
    },
    /// The library refused the model.
    #[error("{backend} {version} refuses {} on {device}", model.display())]
    Refused {
        backend: &'static str,
        version: String,
        model: PathBuf,
        device: String,
        #[source]
        source: Source,
    },
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum StepError {
    /// There is no room for the new tokens.
    #[error("context is full: {n_positions} positions seen, {n_new} new, {n_max} allowed")]
    ContextFull { n_positions: usize, n_new: usize, n_max: usize },
    /// A first step has more tokens than the device was compiled for.
    #[error("prompt of {n_tokens} tokens is too long: {n_prompt_tokens_max} were compiled for")]
    PromptTooLong { n_tokens: usize, n_prompt_tokens_max: usize },
    /// A text without tokens was to be encoded.
    #[error("there are no tokens to encode")]
    NoTokens,
    /// A token is not in the vocabulary.
    #[error("token {token} is not in the vocabulary of {n_vocab}")]
    NoSuchToken { token: u32, n_vocab: usize },
    /// The device gives the last position's logits only.
    #[error("{backend} gives the logits of the last position only on this device")]
    LastPositionOnly { backend: &'static str },
    /// Rows are wanted on both sides of [`Limits::n_positions_switch`](crate::Limits).
    #[error(
        "cannot score {n_new} tokens behind {n_positions} positions: the model computes all of a \
         sequence otherwise when it has more than {n_switch}"
    )]
    ScoreOverSwitch { n_positions: usize, n_new: usize, n_switch: usize },
    /// The caller wanted no more.
    #[error("stopped before the step's end")]
    Stopped {
        /// Positions that the decoder holds, and can go on behind; `None` where it cannot.
        n_positions: Option<usize>,
    },
    /// An earlier step of this decoder failed in the library, or was stopped where the library does
    /// not outlive that: what it holds is not known.
    #[error(
        "{backend} cannot go on: a step behind {n_positions} positions failed or was broken off"
    )]
    Lost { backend: &'static str, n_positions: usize },
    /// The library failed.
    #[error("{backend} failed after {n_positions} positions")]
    Library {
        backend: &'static str,
        n_positions: usize,
        #[source]
        source: Source,
    },
}

/// Why a decoder could not forget positions.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum RewindError {
    /// The positions asked for were never seen.
    #[error("cannot rewind to {n_asked} positions: only {n_positions} were seen")]
    Ahead { n_asked: usize, n_positions: usize },
    /// As [`StepError::Lost`].
    #[error(
        "{backend} cannot rewind: a step behind {n_positions} positions failed or was broken off"
    )]
    Lost { backend: &'static str, n_positions: usize },
    /// This device or model cannot forget.
    #[error("{backend} cannot rewind here: {reason}")]
    Unsupported { backend: &'static str, reason: &'static str },
}
