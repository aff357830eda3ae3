//! The weights of language models as named tensors, whatever file they are in, and checkpoints
//! with all that belongs to their weights.
//!
//! - [`Source`]: a file or folder of them: GGUF, safetensors, OpenVINO IR, ONNX.
//! - [`Tensor`]: shape, encoding and bytes of one tensor, which stay in their memory map; `f32` rows
//!   and [`Codes`] on demand.
//! - [`Checkpoint`]: the weights of a llama-family model by their Hugging Face names, with its
//!   architecture, token ids, tokenizer and chat template, from a GGUF file or a Hugging Face folder.
//!
//! Every byte is untrusted: lengths are checked before use, nothing panics, nothing allocates more
//! than a few times the size of its file.
//!
//! Must not know: runtimes, quantisers, how an export is laid out.
//!
//! To add a kind of source: a variant of `source::Files` and a module below `source` that gives names
//! and tensors. To add a kind of checkpoint: a module below `checkpoint` that answers to the Hugging
//! Face tensor names, and its recognition in [`Checkpoint::open`].

mod grid;
mod tensor;

mod source;

mod checkpoint;

pub use checkpoint::{Checkpoint, OpenCheckpointError, TextAssets};
pub use grid::{Floats, Grid, ZeroPoints};
pub use source::{OpenSourceError, ReadTensorError, Source};
pub use tensor::{Codes, Encoding, Mx, MxCodes, Tensor};

#[cfg(test)]
#[path = "../tests/support/gguf_file.rs"]
mod gguf_file;
#[cfg(test)]
#[path = "../tests/support/shared.rs"]
mod shared;
