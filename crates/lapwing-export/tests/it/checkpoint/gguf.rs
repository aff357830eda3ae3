//! A GGUF.

use super::{experts, fused};
use crate::drawn::{Drawn, Scaling};
use crate::gguf_file::GgufFile;
use crate::random::Random;

pub(super) fn gguf(drawn: &Drawn, random: &mut Random) -> GgufFile {
    let mut file = GgufFile::default();
    let architecture = match drawn.model_type {
        "mixtral" => "llama",
        "qwen3_moe" => "qwen3moe",
        "gpt_oss" => "gpt-oss",
        other => other.trim_end_matches("_text"),
    };
    let key = |name: &str| format!("{architecture}.{name}");
    file.string("general.architecture", architecture)
        .string("general.name", "drawn")
        .u32(&key("block_count"), drawn.n_layers as u32)
        .u32(&key("context_length"), drawn.n_positions_max as u32)
        .u32(&key("embedding_length"), drawn.hidden_size as u32)
        .u32(&key("feed_forward_length"), drawn.intermediate_size as u32)
        .u32(&key("attention.head_count"), drawn.n_heads as u32)
        .u32(&key("attention.head_count_kv"), drawn.n_kv_heads as u32)
        .f32(&key("attention.layer_norm_rms_epsilon"), drawn.epsilon as f32);
    if let Some(experts) = drawn.experts {
        file.u32(&key("expert_count"), experts.n_experts as u32)
            .u32(&key("expert_used_count"), experts.n_used as u32);
    }
    if ["qwen3_moe", "gpt_oss"].contains(&drawn.model_type) {
        // The other is of layers without experts.
        file.u32(&key("expert_feed_forward_length"), drawn.intermediate_size as u32)
            .u32(&key("feed_forward_length"), 77);
    }
    let is_partial = drawn.rope.n_rotated != drawn.head_size;
    if drawn.head_size * drawn.n_heads != drawn.hidden_size || is_partial || random.one_in(2) {
        file.u32(&key("attention.key_length"), drawn.head_size as u32)
            .u32(&key("attention.value_length"), drawn.head_size as u32)
            .u32(&key("rope.dimension_count"), drawn.rope.n_rotated as u32);
    }
    if drawn.rope.theta != 10_000.0 || random.one_in(2) {
        file.f32(&key("rope.freq_base"), drawn.rope.theta as f32);
    }
    tell_scaling(&mut file, drawn, &key, random);
    tell_windows_and_factors(&mut file, drawn, &key, random);
    let tokens: Vec<String> = (0..drawn.n_vocab).map(|id| format!("t{id}")).collect();
    file.string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", "gpt-2")
        .u32("tokenizer.ggml.eos_token_id", 2)
        .strings("tokenizer.ggml.tokens", &tokens)
        .strings("tokenizer.ggml.merges", &[]);
    for (name, (shape, values)) in &experts::in_gguf(drawn, fused(drawn)) {
        let is_turned = ["llama", "mixtral", "granite", "smollm3"].contains(&drawn.model_type)
            && ["q_proj", "k_proj"].iter().any(|projection| name.contains(projection));
        let values = match is_turned {
            true => interleaved(values, drawn.head_size, shape.get(1).copied().unwrap_or(1)),
            false => values.clone(),
        };
        let name = name_in_gguf(drawn, name);
        match drawn.is_mx && name.ends_with("_exps.weight") {
            true => file.mxfp4(&name, shape, experts::ggml_blocks(&values)),
            false => file.tensor(&name, shape, &values),
        };
    }
    file
}

fn tell_scaling(
    file: &mut GgufFile,
    drawn: &Drawn,
    key: &dyn Fn(&str) -> String,
    random: &mut Random,
) {
    match &drawn.rope.scaling {
        Scaling::None | Scaling::Llama3(..) => {}
        Scaling::Linear(factor) => {
            if random.one_in(2) {
                file.string(&key("rope.scaling.type"), "linear");
            }
            let name = random.choose(&["rope.scaling.factor", "rope.scale_linear"]);
            file.f32(&key(name), *factor as f32);
        }
        Scaling::Yarn(yarn) => {
            file.string(&key("rope.scaling.type"), "yarn")
                .f32(&key("rope.scaling.factor"), yarn.factor as f32)
                .u32(&key("rope.scaling.original_context_length"), yarn.n_original as u32)
                .f32(&key("rope.scaling.yarn_beta_fast"), yarn.fast as f32)
                .f32(&key("rope.scaling.yarn_beta_slow"), yarn.slow as f32);
        }
        Scaling::LongRope(long) => {
            let n_original = long.n_original as f64;
            let growth = (drawn.n_positions_max as f64 / n_original).ln();
            let magnitude = (1.0 + growth.max(0.0) / n_original.ln()).sqrt();
            let magnitude = long.magnitude.unwrap_or(magnitude);
            file.u32(&key("rope.scaling.original_context_length"), long.n_original as u32)
                .f32(&key("rope.scaling.attn_factor"), magnitude as f32);
            for (name, divisors) in
                [("rope_factors_short", &long.short), ("rope_factors_long", &long.long)]
            {
                let divisors: Vec<f32> = divisors.iter().map(|&divisor| divisor as f32).collect();
                file.tensor(&format!("{name}.weight"), &[divisors.len()], &divisors);
            }
        }
    }
}

fn tell_windows_and_factors(
    file: &mut GgufFile,
    drawn: &Drawn,
    key: &dyn Fn(&str) -> String,
    random: &mut Random,
) {
    match (drawn.model_type, drawn.window) {
        ("gemma2" | "gemma3_text", Some(window)) => {
            file.u32(&key("attention.sliding_window"), window as u32);
            let truths: Vec<bool> = drawn.windowed.clone();
            file.bools(&key("attention.sliding_window_pattern"), &truths);
            let n = if drawn.model_type == "gemma2" { 2 } else { 6 };
            let is_pattern = (0..drawn.n_layers).all(|idx| truths[idx] == (idx % n != n - 1));
            if is_pattern && random.one_in(2) {
                file.without(&key("attention.sliding_window_pattern"));
            }
        }
        ("gpt_oss", Some(window)) => {
            file.u32(&key("attention.sliding_window"), window as u32);
        }
        ("phi3", window) => {
            file.u32(&key("attention.sliding_window"), window.unwrap_or(0) as u32);
        }
        // What llama.cpp does not read there.
        _ if random.one_in(3) => {
            file.u32(&key("attention.sliding_window"), 4);
        }
        _ => {}
    }
    if let Some(rope) = drawn.window_rope.as_ref().filter(|rope| rope.theta != 10_000.0) {
        file.f32(&key("rope.freq_base_swa"), rope.theta as f32);
    }
    if drawn.model_type == "gemma2" {
        // Without a word it has both.
        let [attention, logit] = [drawn.attention_cap, drawn.logit_cap];
        file.f32(&key("attn_logit_softcapping"), attention.unwrap_or(0.0) as f32)
            .f32(&key("final_logit_softcapping"), logit.unwrap_or(0.0) as f32);
    }
    if drawn.model_type == "granite" {
        file.f32(&key("attention.scale"), drawn.attention_scale as f32)
            .f32(&key("embedding_scale"), drawn.embedding_factor as f32)
            .f32(&key("residual_scale"), drawn.residual_factor as f32)
            .f32(&key("logit_scale"), drawn.logit_divisor as f32);
    } else if random.one_in(3) {
        file.f32(&key("logit_scale"), 0.0);
    }
}

/// What the converter does to q and k of a llama: pairs of rows that turn together side by side.
fn interleaved(values: &[f32], head_size: usize, n_columns: usize) -> Vec<f32> {
    let heads = values.chunks(head_size * n_columns);
    let rows = heads.flat_map(|head| {
        let (first, second) = head.split_at(head.len() / 2);
        first.chunks(n_columns).zip(second.chunks(n_columns)).flat_map(|(a, b)| [a, b])
    });
    rows.flatten().copied().collect()
}

fn name_in_gguf(drawn: &Drawn, name: &str) -> String {
    const NAMES: [(&str, &str); 24] = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers", "blk"),
        ("input_layernorm", "attn_norm"),
        ("pre_feedforward_layernorm", "ffn_norm"),
        ("post_feedforward_layernorm", "post_ffw_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.qkv_proj", "attn_qkv"),
        ("mlp.gate_up_proj", "ffn_up"),
        ("mlp.experts.gate_proj", "ffn_gate_exps"),
        ("mlp.experts.up_proj", "ffn_up_exps"),
        ("mlp.experts.down_proj", "ffn_down_exps"),
        ("self_attn.sinks", "attn_sinks.weight"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("mlp.gate", "ffn_gate_inp"),
    ];
    let name = match drawn.has_norms_behind || drawn.model_type == "gpt_oss" {
        true => name.replace("post_attention_layernorm", "post_attention_norm"),
        false => name.to_owned(),
    };
    NAMES.iter().fold(name, |name, (ours, theirs)| name.replace(ours, theirs))
}
