//! The one table of what is known of a checkpoint's keys.
//!
//! What changes the numbers is understood or refused, never skipped: a key that is not in the table
//! is an error that names it. A null is no key.

use std::path::Path;

use lapwing_formats::gguf::{Gguf, Value as GgufValue};
use lapwing_model::Family;

use super::{OpenCheckpointError, unsupported};

/// What is known of a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known {
    /// A reader reads it, and refuses what it does not understand.
    Used,
    /// It changes no logit.
    Harmless,
    /// It changes none while it is one of these.
    Neutral(&'static [&'static str]),
}

/// Keys of one kind, with what is known of each of them.
pub(super) type Keys = [(Known, &'static [&'static str])];

use Known::{Harmless, Neutral, Used};

/// Keys of `config.json`; those that begin with `_` are transformers' own notes and harmless.
///
/// Source: `configuration_utils.py` and the families' `configuration_*.py` of
/// transformers 4 and 5, and what published checkpoints of these families have.
pub(super) const CONFIG: &Keys = &[
    (Used, &["model_type", "vocab_size", "hidden_size", "intermediate_size", "rms_norm_eps"]),
    (Used, &["num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"]),
    (Used, &["max_position_embeddings", "rope_theta", "rope_scaling", "rope_parameters"]),
    (Used, &["sliding_window", "use_sliding_window", "max_window_layers", "layer_types"]),
    (Used, &["tie_word_embeddings", "attention_bias", "quantization_config", "quantization"]),
    (Used, &["bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id"]),
    (Neutral(&["silu"]), &["hidden_act"]),
    (Neutral(&["1"]), &["partial_rotary_factor", "rotary_pct", "logit_scale", "logits_scaling"]),
    (Neutral(&["1"]), &["embedding_multiplier", "residual_multiplier"]),
    (Neutral(&["false"]), &["mlp_bias", "bias", "use_qk_norm", "qk_norm", "qk_layernorm", "alibi"]),
    (Neutral(&["false"]), &["use_mrope", "use_parallel_residual"]),
    (Neutral(&["false"]), &["rope_interleaved", "is_encoder_decoder", "add_cross_attention"]),
    (Neutral(&["false"]), &["use_bidirectional_attention"]),
    (Neutral(&["true"]), &["is_causal"]),
    (Neutral(&["0"]), &["num_experts", "num_local_experts", "num_nextn_predict_layers"]),
    (Neutral(&["{}"]), &["pruned_heads"]),
    // Computed in parts, with the same sums.
    (Harmless, &["pretraining_tp"]),
    (Harmless, &["architectures", "auto_map", "transformers_version", "torch_dtype", "dtype"]),
    (Harmless, &["use_cache", "initializer_range", "attention_dropout", "hidden_dropout"]),
    (Harmless, &["embd_pdrop", "resid_pdrop", "attn_pdrop", "attention_probs_dropout_prob"]),
    (Harmless, &["name_or_path", "model_name", "base_model", "license", "tokenizer_class"]),
    (Harmless, &["vocab_file", "unsloth_version", "unsloth_fixed", "model_max_length"]),
    (Harmless, &["max_sequence_length", "seq_length", "use_flash_attn", "attn_implementation"]),
    (Harmless, &["is_llama_config", "transformers.js_config", "keys_to_ignore_at_inference"]),
    (Harmless, &["neftune_noise_alpha", "residual_in_fp32", "initializer_factor", "is_decoder"]),
    (Harmless, &["output_attentions", "output_hidden_states", "output_scores", "return_dict"]),
    (Harmless, &["return_dict_in_generate", "torchscript", "use_bfloat16", "tf_legacy_loss"]),
    (Harmless, &["chunk_size_feed_forward", "tie_encoder_decoder", "cross_attention_hidden_size"]),
    (Harmless, &["id2label", "label2id", "num_labels", "problem_type", "finetuning_task"]),
    (Harmless, &["task_specific_params", "prefix", "sep_token_id", "decoder_start_token_id"]),
    (Harmless, &["begin_suppress_tokens", "suppress_tokens", "bad_words_ids", "length_penalty"]),
    (Harmless, &["forced_bos_token_id", "forced_eos_token_id", "diversity_penalty", "do_sample"]),
    (Harmless, &["early_stopping", "encoder_no_repeat_ngram_size", "no_repeat_ngram_size"]),
    (Harmless, &["exponential_decay_length_penalty", "max_length", "min_length", "num_beams"]),
    (Harmless, &["num_beam_groups", "num_return_sequences", "remove_invalid_values", "top_k"]),
    (Harmless, &["repetition_penalty", "temperature", "top_p", "typical_p", "max_new_tokens"]),
    // Of recurrent models; Python writes an infinity into the first.
    (Harmless, &["time_step_limit"]),
];

/// Keys of `config.json` that mean something in one family; what is here goes before [`CONFIG`].
///
/// Source: `configuration_*.py` of transformers 4 and 5.
pub(super) fn of_family(model_type: &str) -> &'static Keys {
    match model_type {
        "llama" => &[(Used, &["mlp_bias"])],
        "granite" => &[
            (Used, &["embedding_multiplier", "residual_multiplier", "attention_multiplier"]),
            (Used, &["logits_scaling", "mlp_bias"]),
        ],
        "smollm3" => &[(Used, &["no_rope_layers", "no_rope_layer_interval", "mlp_bias"])],
        "gemma2" => &[
            (Neutral(&["gelu_pytorch_tanh"]), &["hidden_activation", "hidden_act"]),
            (Used, &["query_pre_attn_scalar", "attn_logit_softcapping"]),
            (Used, &["final_logit_softcapping"]),
            (Harmless, &["cache_implementation"]),
        ],
        "phi3" => &[
            (Used, &["partial_rotary_factor", "original_max_position_embeddings"]),
            (Neutral(&["1"]), &["full_attn_mod", "interpolate_factor"]),
            (Neutral(&["false"]), &["lm_head_bias"]),
        ],
        "gemma3_text" => &[
            (Neutral(&["gelu_pytorch_tanh"]), &["hidden_activation", "hidden_act"]),
            (Used, &["query_pre_attn_scalar", "attn_logit_softcapping"]),
            (Used, &["final_logit_softcapping", "rope_local_base_freq"]),
            (Used, &["sliding_window_pattern"]),
            (Harmless, &["cache_implementation"]),
        ],
        "mixtral" => &[
            (Used, &["num_local_experts", "num_experts_per_tok"]),
            // Of the training.
            (Harmless, &["output_router_logits", "router_aux_loss_coef", "router_jitter_noise"]),
        ],
        "qwen3_moe" => &[
            (Used, &["num_experts", "num_local_experts", "num_experts_per_tok", "norm_topk_prob"]),
            (Used, &["moe_intermediate_size"]),
            // Layers without experts.
            (Neutral(&["1"]), &["decoder_sparse_step"]),
            (Neutral(&["[]"]), &["mlp_only_layers"]),
            // Versions of transformers differ in which layers it is of.
            (Neutral(&["false"]), &["use_sliding_window"]),
            (Harmless, &["output_router_logits", "router_aux_loss_coef"]),
        ],
        "gpt_oss" => &[
            (Used, &["num_local_experts", "num_experts_per_tok", "experts_per_token"]),
            // What transformers computes whatever it is.
            (Neutral(&["7"]), &["swiglu_limit"]),
            // Of the training.
            (Harmless, &["output_router_logits", "router_aux_loss_coef"]),
            // What rope_scaling says as well, and nobody reads.
            (Harmless, &["initial_context_length"]),
        ],
        _ => &[],
    }
}

/// Keys inside of `quantization_config` of a family that may be stored in MXFP4.
pub(super) const MXFP4: &Keys = &[
    (Neutral(&["mxfp4"]), &["quant_method"]),
    (Harmless, &["modules_to_not_convert", "dequantize"]),
];

/// Keys of a `gemma3` with vision, around its `text_config`.
pub(super) const AROUND_TEXT: &Keys = &[
    (Used, &["model_type", "text_config", "bos_token_id", "eos_token_id", "pad_token_id"]),
    (Used, &["tie_word_embeddings", "quantization_config", "quantization"]),
    // Of images, which an export leaves out.
    (Harmless, &["vision_config", "mm_tokens_per_image", "image_token_index", "image_token_id"]),
    (Harmless, &["boi_token_index", "eoi_token_index", "boi_token_id", "eoi_token_id"]),
];

/// Keys inside of `rope_scaling` and `rope_parameters`, whatever their type.
pub(super) const ROPE: &Keys = &[
    (Used, &["rope_type", "type", "rope_theta"]),
    (Harmless, &["original_max_position_embeddings", "finetuned"]),
];

/// Keys beside them of families that turn whole heads.
pub(super) const ROPE_WHOLE: &Keys = &[(Neutral(&["1"]), &["partial_rotary_factor"])];

/// Keys beside them of families that turn a part of each head.
pub(super) const ROPE_PARTIAL: &Keys = &[(Used, &["partial_rotary_factor"])];

/// Keys beside them of `"type": "default"`, and where there is no type.
pub(super) const ROPE_DEFAULT: &Keys =
    &[(Neutral(&["1"]), &["factor", "attention_factor", "mscale"])];

/// Keys beside them of `"type": "linear"`.
pub(super) const ROPE_LINEAR: &Keys =
    &[(Used, &["factor"]), (Neutral(&["1"]), &["attention_factor", "mscale"])];

/// Keys beside them of `"type": "llama3"`.
pub(super) const ROPE_LLAMA3: &Keys = &[
    (Used, &["factor", "low_freq_factor", "high_freq_factor"]),
    (Neutral(&["1"]), &["attention_factor", "mscale"]),
];

/// Keys beside them of `"type": "yarn"`.
pub(super) const ROPE_YARN: &Keys = &[
    (Used, &["factor", "attention_factor", "beta_fast", "beta_slow"]),
    (Used, &["mscale", "mscale_all_dim", "truncate"]),
];

/// Keys beside them of `"type": "longrope"`.
pub(super) const ROPE_LONG: &Keys =
    &[(Used, &["short_factor", "long_factor", "factor", "attention_factor"])];

/// Keys beside them of `"type": "dynamic"`: they matter beyond the context that the configuration
/// names.
pub(super) const ROPE_DYNAMIC: &Keys =
    &[(Harmless, &["factor"]), (Neutral(&["1"]), &["attention_factor", "mscale"])];

/// Metadata of a GGUF file below the name of its architecture.
///
/// Source: gguf-py/gguf/constants.py, and what llama.cpp reads for these architectures.
pub(super) const GGUF_ARCHITECTURE: &Keys = &[
    (Used, &["context_length", "embedding_length", "block_count", "feed_forward_length"]),
    (Used, &["attention.head_count", "attention.head_count_kv"]),
    // Read for the architectures that have windows: src/models/*.cpp.
    (Used, &["attention.sliding_window"]),
    (Used, &["attention.key_length", "attention.value_length", "rope.dimension_count"]),
    (Used, &["attention.layer_norm_rms_epsilon", "expert_count", "rope.freq_base"]),
    (Used, &["rope.scaling.type", "rope.scaling.factor", "rope.scale_linear"]),
    (Neutral(&["0"]), &["expert_used_count", "expert_shared_count", "leading_dense_block_count"]),
    (Neutral(&["0"]), &["nextn_predict_layers", "attention.max_alibi_bias", "pooling_type"]),
    (Neutral(&["0"]), &["attention.clamp_kqv", "expert_feed_forward_length"]),
    (Neutral(&["0"]), &["attn_logit_softcapping", "final_logit_softcapping"]),
    // llama.cpp takes 0 of these for an absent key.
    (Neutral(&["0", "1"]), &["logit_scale", "residual_scale", "embedding_scale"]),
    (Neutral(&["0"]), &["attention.scale"]),
    (Used, &["rope.scaling.attn_factor", "rope.scaling.original_context_length"]),
    (Used, &["rope.scaling.yarn_attn_factor", "rope.scaling.yarn_beta_fast"]),
    (Used, &["rope.scaling.yarn_beta_slow"]),
    (Neutral(&["1"]), &["rope.scaling.yarn_ext_factor"]),
    (Neutral(&["0"]), &["rope.scaling.yarn_log_multiplier"]),
    (Neutral(&["true"]), &["attention.causal"]),
    (Neutral(&["false"]), &["use_parallel_residual"]),
    (Harmless, &["rope.scaling.finetuned"]),
    (Harmless, &["vocab_size", "tensor_data_layout"]),
];

/// Metadata below the name of one architecture; what is here goes before [`GGUF_ARCHITECTURE`].
pub(super) fn of_gguf(model_type: &str) -> &'static Keys {
    match model_type {
        "granite" => &[
            (Used, &["attention.scale", "embedding_scale", "residual_scale", "logit_scale"]),
            // In this architecture it says whether there is rotary embedding at all.
            (Neutral(&["true"]), &["rope.scaling.finetuned"]),
        ],
        "gemma2" => &[
            (Used, &["attention.sliding_window_pattern", "attn_logit_softcapping"]),
            (Used, &["final_logit_softcapping"]),
        ],
        "gemma3_text" => &[
            (Used, &["attention.sliding_window_pattern", "rope.freq_base_swa"]),
            (Used, &["final_logit_softcapping"]),
        ],
        "mixtral" => &[
            (Used, &["expert_used_count"]),
            (Neutral(&["0", "1"]), &["expert_weights_scale", "expert_gating_func"]),
            (Neutral(&["true"]), &["expert_weights_norm"]),
        ],
        "gpt_oss" => &[
            (Used, &["expert_used_count", "expert_feed_forward_length"]),
            (Neutral(&["0", "1"]), &["expert_weights_scale"]),
            // Softmax over the scores of those that are used.
            (Neutral(&["0", "3"]), &["expert_gating_func"]),
        ],
        "qwen3_moe" => &[
            (Used, &["expert_used_count", "expert_feed_forward_length"]),
            // A factor of 1, and softmax.
            (Neutral(&["0", "1"]), &["expert_weights_scale", "expert_gating_func"]),
            (Neutral(&["true"]), &["expert_weights_norm"]),
        ],
        _ => &[],
    }
}

/// Metadata of a GGUF file with whole names; what begins with one of [`GGUF_HARMLESS`] is harmless.
pub(super) const GGUF: &Keys = &[
    (Used, &["general.architecture", "general.alignment", "tokenizer.ggml.model"]),
    (Neutral(&["\"model\""]), &["general.type"]),
    (Used, &["tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.scores"]),
    (Used, &["tokenizer.ggml.merges", "tokenizer.ggml.pre", "tokenizer.ggml.bos_token_id"]),
    (Used, &["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"]),
    (Used, &["tokenizer.ggml.eom_token_id", "tokenizer.ggml.unknown_token_id"]),
    (Used, &["tokenizer.ggml.padding_token_id", "tokenizer.ggml.add_bos_token"]),
    (Used, &["tokenizer.ggml.add_eos_token", "tokenizer.ggml.add_space_prefix"]),
    (Used, &["tokenizer.chat_template", "tokenizer.chat_template.tool_use"]),
    (Neutral(&["false"]), &["tokenizer.ggml.remove_extra_whitespaces"]),
    (Neutral(&["false"]), &["tokenizer.ggml.add_sep_token"]),
    (Harmless, &["tokenizer.ggml.seperator_token_id", "tokenizer.ggml.separator_token_id"]),
    (Harmless, &["tokenizer.ggml.cls_token_id", "tokenizer.ggml.mask_token_id"]),
    (Harmless, &["tokenizer.ggml.prefix_token_id", "tokenizer.ggml.suffix_token_id"]),
    (Harmless, &["tokenizer.ggml.middle_token_id", "tokenizer.ggml.token_type_count"]),
    (Harmless, &["tokenizer.chat_templates", "tokenizer.huggingface.json"]),
];

/// Beginnings of GGUF keys that tell where a file comes from and what may be done with it.
pub(super) const GGUF_HARMLESS: &[&str] =
    &["general.", "quantize.", "split.", "tokenizer.chat_template.", "tokenizer.ggml.fim_"];

/// Refuse metadata of a GGUF file that is not known.
pub(super) fn require_known_metadata(
    gguf: &Gguf,
    family: &Family,
    architecture: &str,
) -> Result<(), OpenCheckpointError> {
    let below_architecture = [of_gguf(family.model_type), GGUF_ARCHITECTURE];
    for (key, value) in gguf.metadata() {
        let below = key.strip_prefix(architecture).and_then(|key| key.strip_prefix('.'));
        let (name, tables) = match below {
            Some(rest) => ((&key[..key.len() - rest.len()], rest), &below_architecture[..]),
            None => (("", key), &[GGUF][..]),
        };
        let mut rows = tables.iter().copied().flatten();
        let is_listed = rows.any(|(_, keys)| keys.contains(&name.1));
        if is_listed || !GGUF_HARMLESS.iter().any(|beginning| key.starts_with(beginning)) {
            require_known(gguf.path(), tables, name, &shown(&value))?;
        }
    }
    Ok(())
}

/// A value of a GGUF file, as JSON would write it.
pub(super) fn shown(value: &GgufValue<'_>) -> String {
    match value {
        GgufValue::Integer(number) => number.to_string(),
        GgufValue::Float(number) => number.to_string(),
        GgufValue::Bool(truth) => truth.to_string(),
        GgufValue::String(text) => format!("\"{}\"", text[..text.len().min(64)].escape_ascii()),
        GgufValue::Array(array) => format!("a list of {}", array.len()),
    }
}

/// Refuse a key that is in none of `tables`, or has a value that is not neutral.
///
/// `shown` is the value as JSON writes it, `prefix` what stands before the key in messages.
pub(super) fn require_known(
    path: &Path,
    tables: &[&Keys],
    (prefix, key): (&str, &str),
    shown: &str,
) -> Result<(), OpenCheckpointError> {
    let rows = tables.iter().copied().flatten();
    match rows.into_iter().find(|(_, keys)| keys.contains(&key)) {
        Some((Used | Harmless, _)) => Ok(()),
        Some((Neutral(values), _)) if values.iter().any(|value| is_same(value, shown)) => Ok(()),
        Some((Neutral(values), _)) => {
            let what = format!("{prefix}{key}");
            Err(unsupported(path, what, values.join(" or "), excerpt(shown)))
        }
        None => {
            let what = format!("unknown key {prefix}{key}");
            let expected = "only keys that are used or change no number";
            Err(unsupported(path, what, expected, excerpt(shown)))
        }
    }
}

/// Whether two values are the same: texts with or without quotes, numbers by their value.
fn is_same(known: &str, shown: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    match (number(known), number(shown)) {
        (Some(known), Some(found)) => known == found,
        _ => {
            known == shown
                || shown.strip_prefix('"').and_then(|s| s.strip_suffix('"')) == Some(known)
        }
    }
}

/// The beginning of a value, without the quotes of a text.
pub(super) fn excerpt(shown: &str) -> String {
    const N_CHARS: usize = 80;
    let text = shown.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(shown);
    match text.chars().count() {
        n_chars if n_chars <= N_CHARS => text.to_owned(),
        _ => text.chars().take(N_CHARS).chain("…".chars()).collect(),
    }
}

#[cfg(test)]
mod tests;
