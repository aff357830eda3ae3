//! The seam over ONNX Runtime: onnxruntime-genai and transformers.js folders on the CPU, and on
//! Intel GPUs by its OpenVINO `plugin`; encoders on the CPU.
//!
//! Must not know: other backends, text, sampling. The library is loaded at run time with
//! [`OrtBackend::load`]; nothing links to it. To support another convention of graphs: teach
//! `contract` its names, or `state` those of its states; everything that they do not recognise
//! is refused, never guessed.

mod contract;
mod embedder;
mod encoder;
mod fixed_states;
mod inference;
mod input;
mod kv_cache;
mod load;
mod model;
mod plugin;
mod shared;
mod state;

pub use contract::ContractError;
pub use load::{LoadError, OrtBackend, VERSION_MIN};
pub use plugin::Plugin;

/// The name of this backend in settings, profiles and errors; records name the library.
const NAME: &str = "ort";
