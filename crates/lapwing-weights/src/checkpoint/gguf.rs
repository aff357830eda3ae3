//! GGUF files: metadata keys into a [`Config`], `blk.3.attn_q.weight` into Hugging Face names.
//!
//! Source: the GGUF specification and the converter's tensor naming (gguf-py/gguf/constants.py).

mod metadata;
mod one_matrix;
mod rope;

use std::path::Path;

use lapwing_formats::gguf::Gguf;
use lapwing_model::{Architecture, FAMILIES, Family, Layers, Rope, Transformer, Windows};

use super::config::Config;
use super::keys::require_known_metadata;
use super::layout::{Stored, fused};
use super::{Checkpoint, OpenCheckpointError, experts, gguf_text, place_tensors, unsupported};
use crate::source::{Files, Source};
use crate::tensor::Order;
use metadata::Metadata;
use rope::{ROPE_FACTORS, ROPE_FACTORS_LONG, ROPE_FACTORS_SHORT, ROPE_THETA_DEFAULT};

/// The embedding, and the output head where there is one.
const EMBEDDING: &str = "token_embd.weight";
const HEAD: &str = "output.weight";
/// Of layers without rotary embedding, one in so many.
const UNROTATED_INTERVAL: usize = 4;

/// Open the GGUF file at `path`.
pub(super) fn open(path: &Path) -> Result<Checkpoint, OpenCheckpointError> {
    let gguf = Gguf::open(path)?;
    let family = family(&gguf)?;
    let mut config = read_config(&gguf, family)?;
    let text = gguf_text::read(&gguf, &config)?;
    let source = Source(Files::Gguf(gguf));
    let both = [EMBEDDING, HEAD];
    let shared = one_matrix::finer_of_both(&config.architecture, &source, both);
    if let Some(finer) = shared {
        tracing::warn!(
            "{}: {EMBEDDING} and {HEAD} are one matrix in two precisions: {finer}, the finer one, is \
             used for both",
            path.display()
        );
        config.architecture.family.tied_head = true;
    }
    let is_needless = |name: &str| {
        [ROPE_FACTORS, ROPE_FACTORS_SHORT, ROPE_FACTORS_LONG].contains(&name)
            || shared.is_some() && both.contains(&name)
    };
    let stored_as = |name: &str| {
        let mut stored = stored_as(family, &config.architecture, name);
        if let Some(finer) = shared.filter(|_| name == Transformer::EMBEDDING) {
            finer.clone_into(&mut stored.name);
        }
        stored
    };
    let places = place_tensors(path, &config.architecture, &source, stored_as, is_needless)?;
    Ok(Checkpoint::new(path, config, text, None, source, places))
}

fn family(gguf: &Gguf) -> Result<&'static Family, OpenCheckpointError> {
    let name = gguf.get("general.architecture").and_then(|value| value.as_str());
    let n_experts = name.and_then(|name| gguf.get(&format!("{name}.expert_count")));
    let has_experts = n_experts.is_some_and(|n| n.as_u64() != Some(0));
    name.and_then(|name| Family::of_gguf(name, has_experts)).ok_or_else(|| {
        let mut known: Vec<&str> = Vec::new();
        for name in FAMILIES.iter().filter_map(|family| family.gguf) {
            if !known.contains(&name) {
                known.push(name);
            }
        }
        const KEY: &str = "general.architecture";
        let found = name.map_or_else(|| gguf_text::found(gguf, KEY), gguf_text::excerpt);
        unsupported(gguf.path(), KEY, known.join(", "), found)
    })
}

/// Where a tensor of the family is.
fn stored_as(family: &Family, architecture: &Architecture<Transformer>, name: &str) -> Stored {
    let place = experts::in_gguf(architecture, name).or(fused(family, architecture, name));
    let (whole, part) = match place {
        Some((whole, part)) => (whole, Some(part)),
        None => (name.to_owned(), None),
    };
    let turns = name.contains(".q_proj.") || name.contains(".k_proj.");
    let is_interleaved = family.is_interleaved_in_gguf && turns;
    let order = match is_interleaved {
        true => Order::Interleaved { head_size: architecture.head_size },
        false => Order::Same,
    };
    // Weights of norms have their 1 already.
    Stored { name: name_in_file(family, &whole), part, order, added: 0.0 }
}

/// The GGUF name of a Hugging Face tensor.
pub(super) fn name_in_file(family: &Family, name: &str) -> String {
    let Some((layer_idx, rest)) =
        name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'))
    else {
        let renamed = match name {
            Transformer::EMBEDDING => EMBEDDING,
            "model.norm.weight" => "output_norm.weight",
            Transformer::HEAD => HEAD,
            other => other,
        };
        return renamed.to_owned();
    };
    if rest == Transformer::SINKS {
        return format!("blk.{layer_idx}.attn_sinks.weight");
    }
    let (module, parameter) = rest.rsplit_once('.').unwrap_or((rest, ""));
    let module = match module {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" if family.norms_behind => "post_attention_norm",
        "post_attention_layernorm" | "pre_feedforward_layernorm" => {
            family.feed_forward_norm_in_gguf
        }
        "post_feedforward_layernorm" => "post_ffw_norm",
        "self_attn.qkv_proj" => "attn_qkv",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "mlp.gate" => "ffn_gate_inp",
        "mlp.experts.gate_proj" => "ffn_gate_exps",
        "mlp.experts.up_proj" => "ffn_up_exps",
        "mlp.experts.down_proj" => "ffn_down_exps",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" | "mlp.gate_up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        other => other,
    };
    format!("blk.{layer_idx}.{module}.{parameter}")
}

fn read_config(gguf: &Gguf, family: &'static Family) -> Result<Config, OpenCheckpointError> {
    let keys = Metadata { gguf, family, architecture: family.gguf.unwrap_or(family.model_type) };
    require_known_metadata(gguf, family, keys.architecture)?;
    let n_heads = keys.size("attention.head_count")?;
    let hidden_size = keys.size("embedding_length")?;
    let head_size = match keys.optional_size("attention.key_length")? {
        Some(head_size) => head_size,
        None if n_heads > 0 => hidden_size / n_heads,
        None => 0,
    };
    keys.expect_absent_or("attention.value_length", head_size)?;
    let n_rotated = match family.is_partly_rotated {
        true => keys.optional_size("rope.dimension_count")?.unwrap_or(head_size),
        false => {
            keys.expect_absent_or("rope.dimension_count", head_size)?;
            head_size
        }
    };
    let n_vocab = gguf.tensor(EMBEDDING).and_then(|t| t.shape.first().copied());
    let Some(n_vocab) = n_vocab else {
        let problem = format!(" has no tensor {EMBEDDING}");
        return Err(OpenCheckpointError::Tensors { path: gguf.path().to_owned(), problem });
    };
    let n_positions_max = keys.size("context_length")?;
    let n_layers = keys.size("block_count")?;
    let theta = keys.number("rope.freq_base")?.unwrap_or(ROPE_THETA_DEFAULT);
    let (sliding_window, full_layers) = keys.windows(n_layers, n_positions_max)?;
    let scaling = keys.rope_scaling(theta, n_rotated, n_positions_max)?;
    let transformer = Transformer {
        intermediate_size: match family.experts {
            Some(experts) => keys.size(experts.width_key_in_gguf)?,
            None => keys.size("feed_forward_length")?,
        },
        experts: keys.experts()?,
        rms_epsilon: keys.required_number("attention.layer_norm_rms_epsilon")?,
        norms_behind: family.norms_behind,
        qk_norm: family.qk_norm,
        has_sinks: family.has_sinks,
        activation: family.activation,
        biases: keys.biases(),
        embedding_factor: match family.scales_embedding {
            true => (hidden_size as f32).sqrt(),
            false => keys.factor("embedding_scale")?,
        },
        residual_factor: keys.factor("residual_scale")?,
        attention_scale: keys.attention_scale([hidden_size, n_heads, head_size], n_layers)?,
        attention_cap: keys.cap("attn_logit_softcapping")?,
        logit_divisor: keys.factor("logit_scale")?,
        logit_cap: keys.cap("final_logit_softcapping")?,
        tied_head: gguf.tensor(HEAD).is_none(),
        rope: Rope { theta, n_rotated, scaling },
        window_rope: keys.window_rope(n_rotated)?.filter(|_| sliding_window.is_some()),
        full_layers,
        unrotated_layers: match family.windows {
            // Not told in the file: src/models/smollm3.cpp.
            Windows::Unrotated => Layers::LastOfEvery(UNROTATED_INTERVAL),
            _ => Layers::NONE,
        },
    };
    let architecture = Architecture {
        model_type: family.model_type.to_owned(),
        n_vocab,
        n_layers,
        n_heads,
        n_kv_heads: keys.optional_size("attention.head_count_kv")?.unwrap_or(n_heads),
        head_size,
        hidden_size,
        n_positions_max,
        sliding_window,
        conv_cache_size: None,
        family: transformer,
    };
    let mut config =
        Config { architecture, tokens: keys.tokens()?, unk: keys.token_id("unknown_token_id")? };
    config.drop_needless_ids(gguf.path());
    config.check(gguf.path())?;
    Ok(config)
}
