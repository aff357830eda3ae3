//! The seam over OpenVINO: stateful exports of optimum-intel, weights mapped, one request a
//! sequence.
//!
//! Must not know: other backends, text, sampling. The library is loaded at run time with
//! [`OpenVinoBackend::load`]; nothing links to it. To add a device: its branch in `properties.rs`
//! and, where its rules of state differ, in `decoder.rs`.

mod decoder;
mod graph;
mod load;
mod model;
mod native;
mod properties;

pub use load::{LoadError, OpenVinoBackend, VERSION_MIN};
pub use native::NativeError;
