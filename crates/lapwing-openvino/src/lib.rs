//! The seam over OpenVINO: stateful exports of optimum-intel, weights mapped, one request a
//! sequence; and its encoders, on the CPU.
//!
//! Must not know: other backends, text, sampling. The library is loaded at run time with
//! [`OpenVinoBackend::load`]; nothing links to it. To add a device, see
//! [`DeviceKind`](lapwing_backend::DeviceKind); where its rules of state differ, it has an inference of
//! its own, as `npu_inference.rs` is.

pub mod cache;
mod compilation;
mod device;
mod embedder;
mod encoder;
mod first_row;
mod graph;
mod inference;
mod input;
mod load;
mod model;
mod native;
mod npu;
mod npu_inference;
mod properties;
mod shared;
mod states;

pub use load::{LoadError, OpenVinoBackend, VERSION_MIN};
pub use native::NativeError;

/// The name of this backend in settings, records and errors.
const NAME: &str = "openvino";
