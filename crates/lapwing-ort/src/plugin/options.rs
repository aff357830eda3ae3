//! What the plugin is told.

use std::collections::BTreeMap;

use lapwing_backend::{Device, DeviceKind, OpenOptions, Precision};

use super::PROVIDER;

/// The options of a session on `device`, under the provider's name.
///
/// Source: the plugin's own reader of options, and OpenVINO's property names in its `load_config`.
/// A GPU was never at hand: what it is told is what the OpenVINO backend tells it.
///
/// # Errors
///
/// As [`OpenOptions::with_properties`].
pub(super) fn provider_options(
    device: &Device,
    options: &OpenOptions,
) -> Result<Vec<(String, String)>, String> {
    let ours: Vec<_> = properties(device.kind, options).into_iter().collect();
    let properties = options.with_properties(&ours, &["CACHE_DIR"])?;
    let properties: BTreeMap<&str, String> = properties.into_iter().collect();
    // OpenVINO's name of the device may have a number, and the plugin leaves other names unread.
    let kind = device.id.split('.').next().unwrap_or(&device.id);
    let per_device = BTreeMap::from([(&*device.id, &properties), (kind, &properties)]);
    let load_config = serde_json::json!(per_device).to_string();
    let named = |key: &str, value: &str| (format!("{PROVIDER}.{key}"), value.to_owned());
    Ok(vec![
        named("enable_causallm", "true"),
        named("hint_enable_gqa", "true"),
        named("load_config", &load_config),
    ])
}

fn properties(kind: DeviceKind, options: &OpenOptions) -> BTreeMap<&'static str, String> {
    let mut properties = BTreeMap::from([("PERFORMANCE_HINT", "LATENCY".to_owned())]);
    if let (Some(n_threads), DeviceKind::Cpu) = (options.n_threads, kind) {
        properties.insert("INFERENCE_NUM_THREADS", n_threads.to_string());
    }
    match (options.precision, kind) {
        (Precision::Fast, DeviceKind::Gpu) => {
            properties.insert("INFERENCE_PRECISION_HINT", "f16".to_owned());
        }
        (Precision::Fast, _) => {}
        (Precision::Exact, _) => {
            // The GPU plugin keeps no f32 cache.
            let kv_cache = if kind == DeviceKind::Gpu { "f16" } else { "f32" };
            properties.insert("INFERENCE_PRECISION_HINT", "f32".to_owned());
            properties.insert("KV_CACHE_PRECISION", kv_cache.to_owned());
            properties.insert("DYNAMIC_QUANTIZATION_GROUP_SIZE", "0".to_owned());
        }
    }
    if let Some(folder) = options.cache_folder.as_ref().and_then(|folder| folder.to_str()) {
        properties.insert("CACHE_DIR", folder.to_owned());
    }
    properties
}

#[cfg(test)]
mod tests {
    use lapwing_backend::DeviceRequest;
    use serde_json::Value;

    use super::*;

    /// The properties that a device of this name gets.
    fn told(id: &str, kind: DeviceKind, precision: Precision, name: &str) -> Value {
        let device = Device { kind, id: id.to_owned(), name: String::new() };
        let options = OpenOptions {
            device: DeviceRequest::Auto,
            n_threads: Some(3),
            precision,
            n_positions_max: None,
            n_chunk_tokens: None,
            hidden_states: false,
            cache_folder: Some("/a \"cache\"".into()),
            n_prompt_tokens_max: None,
            whole_prompts: false,
            properties: BTreeMap::from([("X".to_owned(), "1".to_owned())]),
        };
        let options = provider_options(&device, &options).expect("properties are free");
        let value = |key: &str| {
            let key = format!("OpenVINOExecutionProvider.{key}");
            let found = options.iter().find(|(name, _)| *name == key);
            found.map(|(_, value)| value.as_str()).expect("it is told")
        };
        assert_eq!((value("enable_causallm"), value("hint_enable_gqa")), ("true", "true"));
        serde_json::from_str::<Value>(value("load_config")).expect("JSON")[name].clone()
    }

    #[test]
    fn a_gpu_computes_in_f16_unless_exactness_is_asked_for() {
        let fast = told("GPU", DeviceKind::Gpu, Precision::Fast, "GPU");
        assert_eq!(fast["INFERENCE_PRECISION_HINT"], "f16");
        assert_eq!(fast["X"], "1");
        assert_eq!(fast["CACHE_DIR"], "/a \"cache\"");
        assert!(fast.get("INFERENCE_NUM_THREADS").is_none(), "a GPU has no such property");
        let exact = told("GPU", DeviceKind::Gpu, Precision::Exact, "GPU");
        assert_eq!(exact["INFERENCE_PRECISION_HINT"], "f32");
        assert_eq!(exact["KV_CACHE_PRECISION"], "f16");
        let cpu = told("CPU", DeviceKind::Cpu, Precision::Exact, "CPU");
        assert_eq!(cpu["KV_CACHE_PRECISION"], "f32");
        assert_eq!(cpu["INFERENCE_NUM_THREADS"], "3");
    }

    #[test]
    fn one_of_several_gpus_is_told_under_both_its_names() {
        for name in ["GPU", "GPU.1"] {
            let told = told("GPU.1", DeviceKind::Gpu, Precision::Fast, name);
            assert_eq!(told["PERFORMANCE_HINT"], "LATENCY", "{name}");
        }
    }
}
