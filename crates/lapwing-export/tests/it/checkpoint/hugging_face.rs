//! `config.json` and safetensors.

use serde_json::{Map, Value, json};

use super::{experts, fused};
use crate::drawn::{Drawn, Rope, Scaling};
use crate::random::Random;

pub(super) fn config(drawn: &Drawn, random: &mut Random) -> Value {
    let is_gemma = drawn.model_type.starts_with("gemma");
    let is_mixture = drawn.experts.is_some();
    let activation = if drawn.is_gelu { "gelu_pytorch_tanh" } else { "silu" };
    let mut json = json!({
        "model_type": drawn.model_type,
        "vocab_size": drawn.n_vocab,
        "hidden_size": drawn.hidden_size,
        "intermediate_size": drawn.intermediate_size,
        "num_hidden_layers": drawn.n_layers,
        "num_attention_heads": drawn.n_heads,
        "max_position_embeddings": drawn.n_positions_max,
        "rms_norm_eps": drawn.epsilon,
        "eos_token_id": 2,
    });
    json[if is_gemma { "hidden_activation" } else { "hidden_act" }] = activation.into();
    // What Gemma 3 and mixtures take for an absent key is not the number of heads.
    if is_gemma || is_mixture || drawn.n_kv_heads != drawn.n_heads || random.one_in(2) {
        json["num_key_value_heads"] = drawn.n_kv_heads.into();
    }
    let has_head_dim = is_gemma || drawn.model_type == "gpt_oss";
    if has_head_dim || drawn.head_size * drawn.n_heads != drawn.hidden_size || random.one_in(2) {
        json["head_dim"] = drawn.head_size.into();
    }
    // An own head wins over the flag of a tied one.
    let is_tied_by_default = is_gemma || drawn.model_type == "smollm3";
    if random.one_in(2) || !drawn.has_own_head && !is_tied_by_default {
        json["tie_word_embeddings"] = true.into();
    }
    if !["mistral", "phi3", "qwen2", "qwen3"].contains(&drawn.model_type) && random.one_in(2) {
        json["attention_bias"] = drawn.has_bias.into();
    }
    if ["llama", "granite", "smollm3"].contains(&drawn.model_type) && random.one_in(2) {
        json["mlp_bias"] = drawn.has_feed_forward_bias.into();
    }
    tell_experts(&mut json, drawn, random);
    tell_factors(&mut json, drawn, random);
    tell_windows(&mut json, drawn, random);
    tell_rope(&mut json, drawn, random);
    let harmless = [
        ("torch_dtype", json!("float32")),
        ("use_cache", json!(true)),
        ("attention_dropout", json!(0.1)),
        ("pretraining_tp", json!(2)),
        ("lm_head_bias", Value::Null),
        ("_name_or_path", json!("x")),
        ("pad_token_id", json!(-1)),
        ("architectures", json!(["LlamaForCausalLM"])),
    ];
    for (key, value) in harmless {
        if random.one_in(3) {
            json[key] = value;
        }
    }
    json
}

fn tell_experts(json: &mut Value, drawn: &Drawn, random: &mut Random) {
    let Some(experts) = drawn.experts else { return };
    json["num_experts_per_tok"] = experts.n_used.into();
    json["output_router_logits"] = false.into();
    let is_gpt_oss = drawn.model_type == "gpt_oss";
    if is_gpt_oss {
        for (key, value) in [
            ("experts_per_token", json!(experts.n_used)),
            ("swiglu_limit", json!(7.0)),
            ("initial_context_length", json!(16)),
        ] {
            if random.one_in(2) {
                json[key] = value;
            }
        }
        if drawn.is_mx {
            let kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router"];
            json["quantization_config"] =
                json!({ "quant_method": "mxfp4", "modules_to_not_convert": kept });
        }
    }
    // Neither has a width of its own for experts.
    let is_mixtral = drawn.model_type == "mixtral" || is_gpt_oss;
    let keys: &[&str] =
        if is_mixtral { &["num_local_experts"] } else { &["num_experts", "num_local_experts"] };
    json[random.choose(keys)] = experts.n_experts.into();
    if is_mixtral {
        return;
    }
    json["moe_intermediate_size"] = drawn.intermediate_size.into();
    // Of layers without experts, which there are none of.
    json["intermediate_size"] = 77.into();
    if experts.normalises || random.one_in(2) {
        json["norm_topk_prob"] = experts.normalises.into();
    }
    if random.one_in(2) {
        json["decoder_sparse_step"] = 1.into();
        json["mlp_only_layers"] = json!([]);
    }
}

/// Multipliers and caps, by the keys of the family.
fn tell_factors(json: &mut Value, drawn: &Drawn, random: &mut Random) {
    if drawn.model_type == "granite" {
        json["attention_multiplier"] = drawn.attention_scale.into();
        for (key, factor) in [
            ("embedding_multiplier", drawn.embedding_factor),
            ("residual_multiplier", drawn.residual_factor),
            ("logits_scaling", drawn.logit_divisor),
        ] {
            if factor != 1.0 || random.one_in(2) {
                json[key] = factor.into();
            }
        }
    } else if random.one_in(3) {
        json["logits_scaling"] = 1.0.into();
    }
    if drawn.model_type.starts_with("gemma") {
        json["query_pre_attn_scalar"] = drawn.attention_scale.powi(-2).into();
        // Null where there is none: Gemma 2 has both without a word.
        json["attn_logit_softcapping"] = drawn.attention_cap.into();
        json["final_logit_softcapping"] = drawn.logit_cap.into();
    }
    let share = drawn.rope.n_rotated as f64 / drawn.head_size as f64;
    if share != 1.0 || random.one_in(3) {
        json["partial_rotary_factor"] = share.into();
    }
}

fn tell_windows(json: &mut Value, drawn: &Drawn, random: &mut Random) {
    let n_full = drawn.windowed.iter().take_while(|&&is_windowed| !is_windowed).count();
    let is_ordered = drawn.windowed[n_full..].iter().all(|&is_windowed| is_windowed);
    let types: Vec<&str> = drawn
        .windowed
        .iter()
        .map(|&is_windowed| if is_windowed { "sliding_attention" } else { "full_attention" })
        .collect();
    let is_qwen = drawn.model_type.starts_with("qwen");
    match (drawn.model_type, drawn.window) {
        ("gemma2" | "gemma3_text" | "gpt_oss", window) => {
            json["sliding_window"] = window.into();
            let is_pattern = |n: usize| {
                let layers = drawn.windowed.iter().enumerate();
                layers.into_iter().all(|(idx, &is_windowed)| is_windowed == (idx % n != n - 1))
            };
            let is_gemma3 = drawn.model_type == "gemma3_text";
            if is_pattern(if is_gemma3 { 6 } else { 2 }) && random.one_in(2) {
                return;
            }
            match [2, 3, 6].into_iter().find(|&n| is_gemma3 && is_pattern(n)) {
                Some(n) if random.one_in(2) => json["sliding_window_pattern"] = n.into(),
                _ => json["layer_types"] = types.into(),
            }
            return;
        }
        ("smollm3", window) => {
            let flags: Vec<u8> = drawn.rotated.iter().map(|&rotated| rotated.into()).collect();
            let is_by_interval =
                (0..drawn.n_layers).all(|idx| drawn.rotated[idx] == (idx % 4 != 3));
            if !is_by_interval || random.one_in(2) {
                json["no_rope_layers"] = flags.into();
            }
            json["sliding_window"] = window.into();
            json["use_sliding_window"] = window.is_some().into();
            if window.is_some() || random.one_in(2) {
                json["layer_types"] = types.into();
            }
            return;
        }
        ("llama" | "granite", _) => {
            if random.one_in(3) {
                json["sliding_window"] = Value::Null;
            }
        }
        (_, Some(window)) => {
            json["sliding_window"] = window.into();
            if is_qwen {
                json["use_sliding_window"] = true.into();
            }
            if is_qwen && is_ordered && random.one_in(2) {
                json["max_window_layers"] = n_full.into();
                return;
            }
            if is_qwen || random.one_in(2) {
                json["layer_types"] = types.into();
            }
            return;
        }
        ("qwen3_moe", None) => {
            if random.one_in(2) {
                json["use_sliding_window"] = false.into();
                json["sliding_window"] = random.choose(&[Value::Null, json!(4)]);
            }
        }
        ("mistral" | "phi3" | "mixtral", None) => {
            json["sliding_window"] = random.choose(&[Value::Null, json!(drawn.n_positions_max)]);
        }
        // Three ways to say that there is none.
        (_, None) => match random.below(3) {
            0 => json["sliding_window"] = 4.into(),
            1 => {
                json["sliding_window"] = 4.into();
                json["use_sliding_window"] = true.into();
                if random.one_in(2) {
                    json["max_window_layers"] = drawn.n_layers.into();
                }
            }
            _ => json["use_sliding_window"] = false.into(),
        },
    }
    let has_window = json["sliding_window"].as_u64().is_some();
    if random.one_in(3)
        && !(["mistral", "phi3", "mixtral"].contains(&drawn.model_type) && has_window)
    {
        json["layer_types"] = types.into();
    }
}

fn tell_rope(json: &mut Value, drawn: &Drawn, random: &mut Random) {
    let name = random.choose(&["rope_type", "type"]);
    let mut rope = rope_parameters(drawn, &drawn.rope, name, random);
    if let Some(window_rope) = &drawn.window_rope {
        return tell_ropes(json, drawn, window_rope, rope, random);
    }
    let default = match drawn.model_type {
        "smollm3" => 2e6,
        "mixtral" => 1e6,
        "gpt_oss" => 1.5e5,
        _ => 1e4,
    };
    if drawn.model_type == "gpt_oss" && rope.is_empty() {
        rope.insert(name.to_owned(), "default".into());
    }
    let is_default = drawn.rope.theta == default && random.one_in(2);
    let is_new = random.one_in(2);
    if !is_default && is_new && random.one_in(2) {
        rope.insert("rope_theta".to_owned(), drawn.rope.theta.into());
    } else if !is_default {
        json["rope_theta"] = drawn.rope.theta.into();
    }
    if drawn.model_type == "phi3"
        && let Some(n) = rope.shift_remove("original_max_position_embeddings")
    {
        json["original_max_position_embeddings"] = n;
    }
    let all_or_none = drawn.windowed.iter().all(|&is_windowed| is_windowed == drawn.windowed[0]);
    let key = if is_new { "rope_parameters" } else { "rope_scaling" };
    json[key] = match rope.is_empty() {
        true => Value::Null,
        false if is_new && all_or_none && random.one_in(4) => {
            // By kind of layer; those of the other kind are nobody's.
            let other = json!({ "rope_type": "linear", "factor": 3.0, "rope_theta": 7.0 });
            let kinds = ["full_attention", "sliding_attention"];
            let (own, others) = match drawn.windowed[0] {
                true => (kinds[1], kinds[0]),
                false => (kinds[0], kinds[1]),
            };
            json!({ own: rope, others: other })
        }
        false => rope.into(),
    };
}

/// The scaling and its numbers.
fn rope_parameters(
    drawn: &Drawn,
    told: &Rope,
    name: &str,
    random: &mut Random,
) -> Map<String, Value> {
    let mut rope = Map::new();
    let mut tell = |key: &str, value: Value| drop(rope.insert(key.to_owned(), value));
    match &told.scaling {
        Scaling::None => {
            if random.one_in(2) {
                tell(name, "default".into());
            } else if random.one_in(4) && drawn.model_type != "phi3" {
                // It changes what lies beyond the context.
                tell(name, "dynamic".into());
                tell("factor", 4.0.into());
            }
        }
        Scaling::Linear(factor) => {
            tell(name, "linear".into());
            tell("factor", (*factor).into());
        }
        Scaling::Llama3(factor, low, high, n_original) => {
            tell(name, "llama3".into());
            tell("factor", (*factor).into());
            tell("low_freq_factor", (*low).into());
            tell("high_freq_factor", (*high).into());
            tell("original_max_position_embeddings", (*n_original as u64).into());
        }
        Scaling::Yarn(yarn) => {
            tell(name, "yarn".into());
            tell("factor", yarn.factor.into());
            if yarn.fast != 32.0 || random.one_in(2) {
                tell("beta_fast", yarn.fast.into());
            }
            if yarn.slow != 1.0 || random.one_in(2) {
                tell("beta_slow", yarn.slow.into());
            }
            if !yarn.truncate || random.one_in(2) {
                tell("truncate", yarn.truncate.into());
            }
            tell("original_max_position_embeddings", (yarn.n_original as u64).into());
            match yarn.magnitude {
                Some(magnitude) => tell("attention_factor", magnitude.into()),
                None if random.one_in(2) => {
                    // Of which nothing is left but the factor's own.
                    tell("mscale", 0.0.into());
                }
                None => {}
            }
        }
        Scaling::LongRope(long) => {
            let names: &[&str] = match drawn.model_type {
                "phi3" => &["longrope", "su", "yarn"],
                _ => &["longrope"],
            };
            tell(name, random.choose(names).into());
            tell("short_factor", long.short.clone().into());
            tell("long_factor", long.long.clone().into());
            tell("original_max_position_embeddings", long.n_original.into());
            if let Some(magnitude) = long.magnitude {
                tell("attention_factor", magnitude.into());
            }
        }
    }
    rope
}

/// Two rotary embeddings, as Gemma 3 tells them.
fn tell_ropes(
    json: &mut Value,
    drawn: &Drawn,
    window_rope: &Rope,
    mut rope: Map<String, Value>,
    random: &mut Random,
) {
    if random.one_in(2) {
        json["rope_theta"] = drawn.rope.theta.into();
        if window_rope.theta != 10_000.0 || random.one_in(2) {
            json["rope_local_base_freq"] = window_rope.theta.into();
        }
        json["rope_scaling"] = if rope.is_empty() { Value::Null } else { rope.into() };
        return;
    }
    rope.insert("rope_theta".to_owned(), drawn.rope.theta.into());
    let window = json!({ "rope_type": "default", "rope_theta": window_rope.theta });
    json["rope_parameters"] = json!({ "full_attention": rope, "sliding_attention": window });
}

pub(super) fn safetensors(drawn: &Drawn, random: &mut Random) -> Vec<u8> {
    // A tied head may be stored twice.
    let is_twice = !drawn.has_own_head && random.one_in(2);
    let mut tensors = experts::in_safetensors(drawn, fused(drawn), random);
    if is_twice {
        let embedding = tensors["model.embed_tokens.weight"].clone();
        tensors.insert("lm_head.weight".to_owned(), embedding);
    }
    if drawn.model_type.starts_with("gemma") {
        // Stored less 1.
        let norms = tensors.iter_mut().filter(|(name, _)| name.ends_with("norm.weight"));
        norms.for_each(|(_, (_, values))| values.iter_mut().for_each(|value| *value -= 1.0));
    }
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, (shape, values)) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let offsets = [start, data.len()];
        if drawn.is_mx && name.contains(".experts.") && !name.ends_with("_bias") {
            data.truncate(start);
            let both = experts::blocks_and_scales(&shape, &values);
            for (ending, (shape, bytes)) in ["blocks", "scales"].iter().zip(both) {
                let offsets = [data.len(), data.len() + bytes.len()];
                data.extend(bytes);
                let entry = json!({ "dtype": "U8", "shape": shape, "data_offsets": offsets });
                header.insert(format!("{name}_{ending}"), entry);
            }
            continue;
        }
        header.insert(
            name.to_owned(),
            json!({ "dtype": "F32", "shape": shape, "data_offsets": offsets }),
        );
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}
