//! `genai_config.json`: how ONNX Runtime GenAI drives the graph.

use lapwing_model::{Architecture, SpecialTokens, Transformer};
use serde_json::{Value, json};

use super::attention::AttentionKind;
use crate::sidecar::eos_json;

/// The file's contents, with the keys that the runtime's own model builder writes.
///
/// `generation` is the checkpoint's own `generation_config.json`: how its makers sample. Its
/// `min_p` has no place: ONNX Runtime GenAI 0.18.0 refuses files with that key.
pub(super) fn genai_config(
    architecture: &Architecture<Transformer>,
    tokens: &SpecialTokens,
    generation: Option<&Value>,
    kind: AttentionKind,
) -> Value {
    let mut inputs = json!({
        "input_ids": "input_ids",
        "attention_mask": "attention_mask",
    });
    if matches!(kind, AttentionKind::Plain) {
        inputs["position_ids"] = "position_ids".into();
    }
    inputs["past_key_names"] = "past_key_values.%d.key".into();
    inputs["past_value_names"] = "past_key_values.%d.value".into();
    let mut json = json!({
        "model": {
            "context_length": architecture.n_positions_max,
            "decoder": {
                "session_options": { "log_id": "onnxruntime-genai", "provider_options": [] },
                "filename": "model.onnx",
                "head_size": architecture.head_size,
                "hidden_size": architecture.hidden_size,
                "inputs": inputs,
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
                "num_attention_heads": architecture.n_heads,
                "num_hidden_layers": architecture.n_layers,
                "num_key_value_heads": architecture.n_kv_heads,
            },
            "type": model_type(architecture),
            "vocab_size": architecture.n_vocab,
        },
        "search": {
            "diversity_penalty": 0.0,
            "do_sample": false,
            "early_stopping": true,
            "length_penalty": 1.0,
            "max_length": architecture.n_positions_max,
            "min_length": 0,
            "no_repeat_ngram_size": 0,
            "num_beams": 1,
            "num_return_sequences": 1,
            // Standard operators append to the past, so past and present differ in length.
            "past_present_share_buffer": matches!(kind, AttentionKind::Fused),
            "repetition_penalty": 1.0,
            "temperature": 1.0,
            "top_k": 50,
            "top_p": 1.0,
        },
    });
    add_ids(&mut json["model"], tokens);
    if let Some(generation) = generation {
        add_sampling(&mut json["search"], generation);
    }
    json
}

/// What ONNX Runtime GenAI calls the family.
fn model_type(architecture: &Architecture<Transformer>) -> &str {
    match &*architecture.model_type {
        "gpt_oss" => "gptoss",
        other => other,
    }
}

/// Ids that the checkpoint names. The runtime refuses null and takes a missing key for none: a
/// made-up end would cut answers short.
fn add_ids(model: &mut Value, tokens: &SpecialTokens) {
    let end = tokens.eos.first().copied();
    if let Some(bos) = tokens.bos.or(end) {
        model["bos_token_id"] = bos.into();
    }
    if end.is_some() {
        model["eos_token_id"] = eos_json(&tokens.eos);
    }
    if let Some(pad) = tokens.pad.or(end) {
        model["pad_token_id"] = pad.into();
    }
}

/// What the makers say about sampling, where the runtime takes the value.
fn add_sampling(search: &mut Value, generation: &Value) {
    for key in ["do_sample", "temperature", "top_k", "top_p", "repetition_penalty"] {
        if let Some(value) = generation.get(key).filter(|value| is_taken(key, value)) {
            search[key] = value.clone();
        }
    }
}

fn is_taken(key: &str, value: &Value) -> bool {
    let number = value.as_f64();
    match key {
        "do_sample" => value.is_boolean(),
        "temperature" => number.is_some_and(|temperature| temperature >= 0.0),
        "top_k" => value.as_u64().is_some_and(|n| n <= i32::MAX as u64),
        "top_p" => number.is_some_and(|share| (0.0..=1.0).contains(&share)),
        _ => number.is_some_and(|penalty| penalty > 0.0),
    }
}
