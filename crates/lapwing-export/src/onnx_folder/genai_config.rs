//! `genai_config.json`: how ONNX Runtime GenAI drives the graph.

use serde_json::{Value, json};

use super::attention::AttentionKind;
use crate::checkpoint::LlamaConfig;
use crate::sidecar::eos_json;

/// The file's contents, with the keys that the runtime's own model builder writes.
pub(super) fn genai_config(config: &LlamaConfig, kind: AttentionKind) -> Value {
    let mut inputs = json!({
        "input_ids": "input_ids",
        "attention_mask": "attention_mask",
    });
    if matches!(kind, AttentionKind::Plain) {
        inputs["position_ids"] = "position_ids".into();
    }
    inputs["past_key_names"] = "past_key_values.%d.key".into();
    inputs["past_value_names"] = "past_key_values.%d.value".into();
    // The runtime wants numbers: what a checkpoint does not name is never generated on purpose.
    let end = config.eos.first().copied().unwrap_or(0);
    let bos = config.bos.unwrap_or(end);
    let pad = config.pad.unwrap_or(end);
    json!({
        "model": {
            "bos_token_id": bos,
            "context_length": config.n_positions_max,
            "decoder": {
                "session_options": { "log_id": "onnxruntime-genai", "provider_options": [] },
                "filename": "model.onnx",
                "head_size": config.head_size,
                "hidden_size": config.hidden_size,
                "inputs": inputs,
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
                "num_attention_heads": config.n_heads,
                "num_hidden_layers": config.n_layers,
                "num_key_value_heads": config.n_kv_heads,
            },
            "eos_token_id": eos_json(&config.eos),
            "pad_token_id": pad,
            "type": config.model_type,
            "vocab_size": config.n_vocab,
        },
        "search": {
            "diversity_penalty": 0.0,
            "do_sample": false,
            "early_stopping": true,
            "length_penalty": 1.0,
            "max_length": config.n_positions_max,
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
    })
}
