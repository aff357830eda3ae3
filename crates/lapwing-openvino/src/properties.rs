//! What OpenVINO is told at compilation.

use lapwing_backend::{DeviceKind, OpenOptions, Precision};

/// Weights in groups of this size have their activations quantised in the same groups.
const MATCHED_GROUP_SIZE: i64 = 64;

/// The properties for a model on the CPU or a GPU, whose weights share scales in groups of
/// `weight_group_size` columns.
///
/// The plugins' own defaults are bf16 or f16 inference, an 8-bit KV cache and dynamic
/// quantisation of activations: fast, and different from machine to machine. `Exact` turns all
/// three off. A GPU was never at hand: what it is told follows OpenVINO's documentation.
///
/// The plugin quantises activations in groups of 32 by default. With weights in groups of 64 it
/// then splits every group of weights in two; `Fast` asks for 64, which shortens the prefill. How
/// much, and what it costs in divergence, is recorded in
/// `benches/records/openvino-activation-groups.jsonl`.
pub(crate) fn properties(
    options: &OpenOptions,
    device: DeviceKind,
    weight_group_size: Option<i64>,
) -> Vec<(&'static str, String)> {
    let mut properties = vec![("PERFORMANCE_HINT", "LATENCY".to_owned())];
    // A GPU has no such property, and an unknown one is an error.
    if let (Some(n_threads), DeviceKind::Cpu) = (options.n_threads, device) {
        properties.push(("INFERENCE_NUM_THREADS", n_threads.to_string()));
    }
    if options.precision == Precision::Fast && device == DeviceKind::Gpu {
        properties.push(("INFERENCE_PRECISION_HINT", "f16".to_owned()));
    }
    if options.precision == Precision::Fast && weight_group_size == Some(MATCHED_GROUP_SIZE) {
        let group_size = MATCHED_GROUP_SIZE.to_string();
        properties.push(("DYNAMIC_QUANTIZATION_GROUP_SIZE", group_size));
    }
    if options.precision == Precision::Exact {
        properties.push(("INFERENCE_PRECISION_HINT", "f32".to_owned()));
        // The GPU plugin keeps no f32 cache.
        let kv_cache = if device == DeviceKind::Gpu { "f16" } else { "f32" };
        properties.push(("KV_CACHE_PRECISION", kv_cache.to_owned()));
        properties.push(("DYNAMIC_QUANTIZATION_GROUP_SIZE", "0".to_owned()));
    }
    properties
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lapwing_backend::{DeviceKind, DeviceRequest, OpenOptions, Precision};

    use super::properties;

    fn check(precision: Precision, weight_group_size: Option<i64>, expected: Option<&str>) {
        let options = OpenOptions {
            device: DeviceRequest::Auto,
            n_threads: None,
            precision,
            n_positions_max: None,
            n_chunk_tokens: None,
            hidden_states: false,
            cache_folder: None,
            n_prompt_tokens_max: None,
            whole_prompts: false,
            properties: BTreeMap::new(),
        };
        let found = properties(&options, DeviceKind::Cpu, weight_group_size);
        let found = found.iter().find(|(key, _)| *key == "DYNAMIC_QUANTIZATION_GROUP_SIZE");
        assert_eq!(found.map(|(_, value)| value.as_str()), expected);
    }

    #[test]
    fn activations_are_grouped_as_the_weights_and_never_in_exact_runs() {
        check(Precision::Fast, Some(64), Some("64"));
        check(Precision::Fast, Some(32), None);
        check(Precision::Fast, Some(-1), None);
        check(Precision::Fast, None, None);
        check(Precision::Exact, Some(64), Some("0"));
    }
}
