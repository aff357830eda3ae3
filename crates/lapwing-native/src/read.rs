//! Exports and checkpoints as a [`Network`](crate::Network).
//!
//! A graph is followed from its logits back to the token ids, and every node on that way must be
//! one of a pattern that is understood with all of its inputs and attributes: an export that only
//! looks like a llama is refused by the name of what is different.

mod checkpoint;
mod onnx;

use std::path::PathBuf;

use lapwing_weights::ReadTensorError;

pub use checkpoint::of_checkpoint;
pub use onnx::of_onnx;

/// Why a model is not run by this engine.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ReadError {
    /// Something of it is not understood.
    #[error("{}: {problem}", path.display())]
    Refused { path: PathBuf, problem: String },
    /// A tensor is missing, or its type is not understood.
    #[error(transparent)]
    Tensor(#[from] ReadTensorError),
}
