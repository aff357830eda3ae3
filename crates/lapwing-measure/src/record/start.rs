//! What it takes to get a model going.

use serde::{Deserialize, Serialize};

/// The stages before the first token, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Reading the model's files into a graph.
    pub read_ms: Option<f64>,
    /// Compiling for the device with an emptied cache.
    pub compile_cold_ms: Option<f64>,
    /// Compiling once more, with what the first time left in the cache.
    pub compile_warm_ms: Option<f64>,
    /// Whether the warm compilation found something there.
    pub cache: Cache,
    /// What the library stored in the cache, in bytes.
    pub cache_blob_bytes: Option<u64>,
    /// The first step after compiling.
    pub first_inference_ms: Option<f64>,
    /// From the start of the process to the first token, with a warm cache.
    pub process_start_to_first_token_ms: Option<f64>,
}

/// What a compile cache did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cache {
    /// It gave the compiled model.
    Hit,
    /// It had nothing.
    Miss,
    /// The library has none for this device.
    None,
}
