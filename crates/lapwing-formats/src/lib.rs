//! Readers and writers of model files: GGUF, safetensors, ONNX protobuf, OpenVINO IR, and small
//! graph edits on the last two. Weights stay in memory maps.
//!
//! Every byte is untrusted: lengths are checked before use, nothing panics, nothing allocates more
//! than a few times the size of its file. This crate knows no runtime and no model folder.
//!
//! To add a format: one module with a reader whose `open` takes a path and whose tensors borrow
//! from a [`Map`], an error type beside it, and tests beside `tests/it/hostile_gguf.rs`.

mod length_switch;
mod map;

pub mod gguf;
pub mod ir;
pub mod mx;
pub mod onnx;
pub mod safetensors;

pub use map::{FileChanged, Map, MapError, Watch, require_unchanged};
