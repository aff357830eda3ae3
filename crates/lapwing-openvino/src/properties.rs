//! What OpenVINO is told at compilation.

use lapwing_backend::{OpenOptions, Precision};

/// The properties for a model on the CPU or a GPU.
///
/// The plugins' own defaults are bf16 or f16 inference, an 8-bit KV cache and dynamic
/// quantisation of activations: fast, and different from machine to machine. `Exact` turns all
/// three off.
pub(crate) fn properties(options: &OpenOptions) -> Vec<(&'static str, String)> {
    let mut properties = vec![("PERFORMANCE_HINT", "LATENCY".to_owned())];
    if let Some(n_threads) = options.n_threads {
        properties.push(("INFERENCE_NUM_THREADS", n_threads.to_string()));
    }
    if options.precision == Precision::Exact {
        properties.push(("INFERENCE_PRECISION_HINT", "f32".to_owned()));
        properties.push(("KV_CACHE_PRECISION", "f32".to_owned()));
        properties.push(("DYNAMIC_QUANTIZATION_GROUP_SIZE", "0".to_owned()));
    }
    if let Some(folder) = &options.cache_folder {
        properties.push(("CACHE_DIR", folder.display().to_string()));
    }
    properties
}
