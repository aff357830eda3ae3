//! A drawn model as files, told in one of the ways in which files of the wild tell it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::drawn::{Drawn, Scaling};
use crate::gguf_file::GgufFile;
use crate::random::Random;

/// Which files.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    HuggingFace,
    Gguf,
}

/// Write the checkpoint below `folder`; gives its path.
pub(crate) fn write(folder: &Path, drawn: &Drawn, kind: Kind, random: &mut Random) -> PathBuf {
    let path = folder.join("checkpoint");
    std::fs::create_dir(&path).expect("a folder");
    match kind {
        Kind::HuggingFace => {
            let write = |name: &str, bytes: &[u8]| {
                std::fs::write(path.join(name), bytes).expect("a file");
            };
            write("config.json", config(drawn, random).to_string().as_bytes());
            write("tokenizer.json", br#"{"model":{"vocab":{"a":0}}}"#);
            write("model.safetensors", &safetensors(drawn, random));
            path
        }
        Kind::Gguf => gguf(drawn, random).write(&path),
    }
}

fn config(drawn: &Drawn, random: &mut Random) -> Value {
    let mut json = json!({
        "model_type": drawn.model_type,
        "vocab_size": drawn.n_vocab,
        "hidden_size": drawn.hidden_size,
        "intermediate_size": drawn.intermediate_size,
        "num_hidden_layers": drawn.n_layers,
        "num_attention_heads": drawn.n_heads,
        "max_position_embeddings": drawn.n_positions_max,
        "rms_norm_eps": drawn.epsilon,
        "hidden_act": "silu",
        "eos_token_id": 2,
    });
    if drawn.n_kv_heads != drawn.n_heads || random.one_in(2) {
        json["num_key_value_heads"] = drawn.n_kv_heads.into();
    }
    if drawn.head_size * drawn.n_heads != drawn.hidden_size || random.one_in(2) {
        json["head_dim"] = drawn.head_size.into();
    }
    // An own head wins over the flag of a tied one.
    if !drawn.has_own_head || random.one_in(2) {
        json["tie_word_embeddings"] = true.into();
    }
    if drawn.model_type == "llama" && random.one_in(2) {
        json["attention_bias"] = drawn.has_bias.into();
    }
    tell_windows(&mut json, drawn, random);
    tell_rope(&mut json, drawn, random);
    let harmless = [
        ("torch_dtype", json!("float32")),
        ("use_cache", json!(true)),
        ("attention_dropout", json!(0.1)),
        ("pretraining_tp", json!(2)),
        ("mlp_bias", json!(false)),
        ("partial_rotary_factor", json!(1.0)),
        ("final_logit_softcapping", Value::Null),
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
        ("llama", _) => {
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
        ("mistral", None) => {
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
    if random.one_in(3) && !(drawn.model_type == "mistral" && has_window) {
        json["layer_types"] = types.into();
    }
}

fn tell_rope(json: &mut Value, drawn: &Drawn, random: &mut Random) {
    let mut rope = Map::new();
    let name = random.choose(&["rope_type", "type"]);
    match drawn.scaling {
        Scaling::None => {
            if random.one_in(2) {
                rope.insert(name.to_owned(), "default".into());
            }
        }
        Scaling::Linear(factor) => {
            rope.insert(name.to_owned(), "linear".into());
            rope.insert("factor".to_owned(), factor.into());
        }
        Scaling::Llama3(factor, low, high, n_original) => {
            rope.insert(name.to_owned(), "llama3".into());
            rope.insert("factor".to_owned(), factor.into());
            rope.insert("low_freq_factor".to_owned(), low.into());
            rope.insert("high_freq_factor".to_owned(), high.into());
            let n_original = n_original as u64;
            rope.insert("original_max_position_embeddings".to_owned(), n_original.into());
        }
    }
    let is_default = drawn.theta == 10_000.0 && random.one_in(2);
    let is_new = random.one_in(2);
    if !is_default && is_new && random.one_in(2) {
        rope.insert("rope_theta".to_owned(), drawn.theta.into());
    } else if !is_default {
        json["rope_theta"] = drawn.theta.into();
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

fn safetensors(drawn: &Drawn, random: &mut Random) -> Vec<u8> {
    // A tied head may be stored twice.
    let is_twice = !drawn.has_own_head && random.one_in(2);
    let twice = is_twice.then(|| ("lm_head.weight", &drawn.tensors["model.embed_tokens.weight"]));
    let tensors = drawn.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).chain(twice);
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, (shape, values)) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let offsets = [start, data.len()];
        header.insert(
            name.to_owned(),
            json!({ "dtype": "F32", "shape": shape, "data_offsets": offsets }),
        );
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

fn gguf(drawn: &Drawn, random: &mut Random) -> GgufFile {
    let mut file = GgufFile::default();
    let key = |name: &str| format!("{}.{name}", drawn.model_type);
    file.string("general.architecture", drawn.model_type)
        .string("general.name", "drawn")
        .u32(&key("block_count"), drawn.n_layers as u32)
        .u32(&key("context_length"), drawn.n_positions_max as u32)
        .u32(&key("embedding_length"), drawn.hidden_size as u32)
        .u32(&key("feed_forward_length"), drawn.intermediate_size as u32)
        .u32(&key("attention.head_count"), drawn.n_heads as u32)
        .u32(&key("attention.head_count_kv"), drawn.n_kv_heads as u32)
        .f32(&key("attention.layer_norm_rms_epsilon"), drawn.epsilon as f32);
    if drawn.head_size * drawn.n_heads != drawn.hidden_size || random.one_in(2) {
        file.u32(&key("attention.key_length"), drawn.head_size as u32)
            .u32(&key("attention.value_length"), drawn.head_size as u32)
            .u32(&key("rope.dimension_count"), drawn.head_size as u32);
    }
    if drawn.theta != 10_000.0 || random.one_in(2) {
        file.f32(&key("rope.freq_base"), drawn.theta as f32);
    }
    if let Scaling::Linear(factor) = drawn.scaling {
        if random.one_in(2) {
            file.string(&key("rope.scaling.type"), "linear");
        }
        let name = random.choose(&["rope.scaling.factor", "rope.scale_linear"]);
        file.f32(&key(name), factor as f32);
    }
    // What llama.cpp does not read there.
    if random.one_in(3) {
        file.u32(&key("attention.sliding_window"), 4);
    }
    for (name, neutral) in [("logit_scale", 0.0), ("rope.scaling.attn_factor", 1.0)] {
        if random.one_in(3) {
            file.f32(&key(name), neutral);
        }
    }
    let tokens: Vec<String> = (0..drawn.n_vocab).map(|id| format!("t{id}")).collect();
    file.string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", "gpt-2")
        .u32("tokenizer.ggml.eos_token_id", 2)
        .strings("tokenizer.ggml.tokens", &tokens)
        .strings("tokenizer.ggml.merges", &[]);
    for (name, (shape, values)) in &drawn.tensors {
        let is_turned = drawn.model_type == "llama"
            && ["q_proj", "k_proj"].iter().any(|projection| name.contains(projection));
        let values = match is_turned {
            true => interleaved(values, drawn.head_size, shape.get(1).copied().unwrap_or(1)),
            false => values.clone(),
        };
        file.tensor(&name_in_gguf(name), shape, &values);
    }
    file
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

fn name_in_gguf(name: &str) -> String {
    const NAMES: [(&str, &str); 15] = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers", "blk"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    NAMES.iter().fold(name.to_owned(), |name, (ours, theirs)| name.replace(ours, theirs))
}
