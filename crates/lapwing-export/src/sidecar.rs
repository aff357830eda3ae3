//! The small files beside the graph that every target needs: configuration, generation defaults,
//! tokenizer, chat template.

use std::path::Path;

use lapwing_model::{
    Activation, Architecture, Family, FamilyExperts, Layers, Rope, RopeScaling, SpecialTokens,
    TOOL_TEMPLATE_FILE, Transformer,
};
use lapwing_weights::Checkpoint;
use serde_json::{Value, json};

use crate::error::ExportError;

/// The contents of a Hugging Face `config.json`, for a model that is the checkpoint's but for its
/// output head.
pub(crate) fn config_json(
    checkpoint: &Checkpoint,
    architecture: &Architecture<Transformer>,
) -> Value {
    let family = &architecture.family;
    let activation = match family.activation {
        // Of gpt-oss, whatever its code computes.
        Activation::Silu | Activation::ClampedSilu => "silu",
        Activation::GeluTanh => "gelu_pytorch_tanh",
    };
    let mut json = json!({
        "architectures": [class_name(architecture)],
        "model_type": architecture.model_type,
        "vocab_size": architecture.n_vocab,
        "hidden_size": architecture.hidden_size,
        "intermediate_size": architecture.family.intermediate_size,
        "num_hidden_layers": architecture.n_layers,
        "num_attention_heads": architecture.n_heads,
        "num_key_value_heads": architecture.n_kv_heads,
        "head_dim": architecture.head_size,
        "hidden_act": activation,
        "max_position_embeddings": architecture.n_positions_max,
        "rms_norm_eps": shortest(architecture.family.rms_epsilon),
        "rope_theta": shortest(architecture.family.rope.theta),
        "rope_parameters": ropes_json(architecture),
        "attention_bias": architecture.family.biases.qkv,
        "tie_word_embeddings": architecture.family.tied_head,
    });
    if let Some(window) = architecture.sliding_window {
        json["sliding_window"] = window.into();
        // The window is on in Qwen models only with the other two keys.
        json["use_sliding_window"] = true.into();
        json["max_window_layers"] = 0.into();
        if architecture.family.full_layers != Layers::NONE {
            let layers = 0..architecture.n_layers;
            let layers = layers.map(|layer_idx| match architecture.window(layer_idx) {
                None => "full_attention",
                Some(_) => "sliding_attention",
            });
            json["layer_types"] = layers.collect();
        }
    }
    add_differences(&mut json, architecture);
    add_ids(&mut json, &checkpoint.tokens);
    json["unk_token_id"] = checkpoint.unk.into();
    json
}

/// The contents of `generation_config.json`: the checkpoint's own sampling defaults where it has
/// them, and the start, end and padding ids.
pub(crate) fn generation_config_json(checkpoint: &Checkpoint) -> Value {
    let own = checkpoint.generation_config.clone().filter(Value::is_object);
    let mut json = own.unwrap_or_else(|| json!({}));
    add_ids(&mut json, &checkpoint.tokens);
    json
}

/// One id as a number, several as a list, as both runtimes expect; none as null.
pub(crate) fn eos_json(eos: &[u32]) -> Value {
    match eos {
        [] => Value::Null,
        [only] => (*only).into(),
        several => several.into(),
    }
}

/// Write `tokenizer.json`, `tokenizer_config.json` and, where there are such, `chat_template.jinja`
/// and the template of prompts with tools.
///
/// # Errors
///
/// When a file cannot be written.
pub(crate) fn write_text_assets(checkpoint: &Checkpoint, out: &Path) -> Result<(), ExportError> {
    write_json(&out.join("tokenizer_config.json"), &checkpoint.text.tokenizer_config)?;
    if let Some(template) = &checkpoint.text.chat_template {
        write_file(&out.join("chat_template.jinja"), template.as_bytes())?;
    }
    if let Some(template) = &checkpoint.text.tool_template {
        let path = out.join(TOOL_TEMPLATE_FILE);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|source| ExportError::Write { path: folder.to_owned(), source })?;
        }
        write_file(&path, template.as_bytes())?;
    }
    write_file(&out.join("tokenizer.json"), &checkpoint.text.tokenizer_json)
}

/// Write `value` with two spaces of indentation and a final newline.
///
/// # Errors
///
/// When the file cannot be written.
pub(crate) fn write_json(path: &Path, value: &Value) -> Result<(), ExportError> {
    write_file(path, format!("{value:#}\n").as_bytes())
}

/// Write a whole small file.
///
/// # Errors
///
/// When the file cannot be written.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    std::fs::write(path, bytes)
        .map_err(|source| ExportError::Write { path: path.to_owned(), source })
}

/// What a plain llama has not, by the keys of the families that have it.
fn add_differences(json: &mut Value, architecture: &Architecture<Transformer>) {
    let family = &architecture.family;
    let plain = Transformer::plain(architecture.head_size);
    let mut add = |key: &str, value: Value| json[key] = value;
    if family.activation == Activation::GeluTanh {
        add("hidden_activation", "gelu_pytorch_tanh".into());
    }
    if family.biases.feed_forward {
        add("mlp_bias", true.into());
    }
    if let (Some(experts), Some(of_family)) = (family.experts, of_family(architecture)) {
        add(of_family.n_experts_keys[0], experts.n_experts.into());
        add(of_family.width_key, family.intermediate_size.into());
        add("num_experts_per_tok", experts.n_used.into());
        if of_family.normalises_shares.is_none() {
            add("norm_topk_prob", experts.normalises_shares.into());
        }
    }
    let factors =
        [("residual_multiplier", family.residual_factor), ("logits_scaling", family.logit_divisor)];
    for (key, factor) in factors.into_iter().filter(|(_, factor)| *factor != 1.0) {
        add(key, shortest(factor));
    }
    if family.norms_behind {
        // Embeddings are scaled by the family's name there.
        add("query_pre_attn_scalar", shortest(family.attention_scale.powi(-2)));
        add("attn_logit_softcapping", family.attention_cap.map(shortest).into());
        add("final_logit_softcapping", family.logit_cap.map(shortest).into());
    } else if family.embedding_factor != 1.0 || family.attention_scale != plain.attention_scale {
        add("embedding_multiplier", shortest(family.embedding_factor));
        add("attention_multiplier", shortest(family.attention_scale));
    }
    if family.rope.n_rotated != architecture.head_size {
        let share = family.rope.n_rotated as f64 / architecture.head_size as f64;
        add("partial_rotary_factor", share.into());
    }
    if let Some(rope) = &family.window_rope {
        add("rope_local_base_freq", shortest(rope.theta));
    }
    if let Some(RopeScaling::LongRope { n_positions_original, .. }) = &family.rope.scaling {
        add("original_max_position_embeddings", (*n_positions_original).into());
    }
    if family.unrotated_layers != Layers::NONE {
        let layers = 0..architecture.n_layers;
        let flags = layers.map(|idx| i32::from(!family.unrotated_layers.contains(idx)));
        add("no_rope_layers", flags.collect());
    }
}

fn of_family(architecture: &Architecture<Transformer>) -> Option<FamilyExperts> {
    Family::of_model_type(&architecture.model_type)?.experts
}

fn class_name(architecture: &Architecture<Transformer>) -> &'static str {
    let family = Family::of_model_type(&architecture.model_type);
    family.map_or("LlamaForCausalLM", |family| family.class_name)
}

/// The parameters, by kind of layer where the kinds differ.
fn ropes_json(architecture: &Architecture<Transformer>) -> Value {
    let general = rope_json(&architecture.family.rope);
    match &architecture.family.window_rope {
        None => general,
        Some(window) => {
            json!({ "full_attention": general, "sliding_attention": rope_json(window) })
        }
    }
}

fn rope_json(rope: &Rope) -> Value {
    let theta = shortest(rope.theta);
    match &rope.scaling {
        None => json!({ "rope_type": "default", "rope_theta": theta }),
        Some(RopeScaling::Linear { factor }) => {
            json!({ "rope_type": "linear", "rope_theta": theta, "factor": shortest(*factor) })
        }
        Some(RopeScaling::Llama3 {
            factor,
            low_frequency_factor,
            high_frequency_factor,
            n_positions_original,
        }) => json!({
            "rope_type": "llama3",
            "rope_theta": theta,
            "factor": shortest(*factor),
            "low_freq_factor": shortest(*low_frequency_factor),
            "high_freq_factor": shortest(*high_frequency_factor),
            "original_max_position_embeddings": n_positions_original,
        }),
        Some(RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            truncate,
            n_positions_original,
            magnitude,
        }) => json!({
            "rope_type": "yarn",
            "rope_theta": theta,
            "factor": shortest(*factor),
            "beta_fast": shortest(*beta_fast),
            "beta_slow": shortest(*beta_slow),
            "truncate": truncate,
            "original_max_position_embeddings": n_positions_original,
            "attention_factor": shortest(*magnitude),
        }),
        Some(RopeScaling::LongRope { short, long, n_positions_original, magnitude }) => json!({
            "rope_type": "longrope",
            "rope_theta": theta,
            "short_factor": short.iter().copied().map(shortest).collect::<Value>(),
            "long_factor": long.iter().copied().map(shortest).collect::<Value>(),
            "original_max_position_embeddings": n_positions_original,
            "attention_factor": shortest(*magnitude),
        }),
        // No name of transformers' own: nobody shall take these for plain frequencies.
        Some(RopeScaling::Divisors(divisors)) => {
            json!({ "rope_type": "divisors", "rope_theta": theta, "divisors": divisors })
        }
    }
}

fn add_ids(json: &mut Value, tokens: &SpecialTokens) {
    json["bos_token_id"] = tokens.bos.into();
    json["eos_token_id"] = eos_json(&tokens.eos);
    json["pad_token_id"] = tokens.pad.into();
}

/// The shortest decimal that reads back as this `f32`: 1e-5, and not 9.999999747378752e-6.
fn shortest(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_ids_are_null_a_number_or_a_list() {
        for (ids, expected) in [(&[][..], json!(null)), (&[2], json!(2)), (&[2, 7], json!([2, 7]))]
        {
            assert_eq!(eos_json(ids), expected);
        }
    }

    #[test]
    fn numbers_are_written_as_people_write_them() {
        for (number, expected) in [(1e-5, "0.00001"), (1e5, "100000.0"), (0.1, "0.1")] {
            assert_eq!(shortest(number).to_string(), expected);
        }
    }
}
