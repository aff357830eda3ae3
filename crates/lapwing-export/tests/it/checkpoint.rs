//! A drawn model as files, told in one of the ways in which files of the wild tell it.

mod experts;
mod gguf;
mod hugging_face;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::drawn::Drawn;
use crate::experts::Tensors;
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
            write("config.json", hugging_face::config(drawn, random).to_string().as_bytes());
            write("tokenizer.json", br#"{"model":{"vocab":{"a":0}}}"#);
            write("model.safetensors", &hugging_face::safetensors(drawn, random));
            path
        }
        Kind::Gguf => gguf::gguf(drawn, random).write(&path),
    }
}

/// The names of safetensors, sorted.
pub(crate) fn names(stored: &[u8]) -> Vec<String> {
    header(stored).0.keys().cloned().collect()
}

/// Safetensors whose tensors have other beginnings of their names, and one more that sees images.
pub(crate) fn renamed(stored: &[u8], names: &[(&str, &str)]) -> Vec<u8> {
    let (header, data) = header(stored);
    let mut other = Map::new();
    for (name, entry) in header {
        let renamed = names.iter().find_map(|(ours, theirs)| {
            name.strip_prefix(ours).map(|rest| format!("{theirs}{rest}"))
        });
        other.insert(renamed.unwrap_or(name), entry);
    }
    let end = data.len();
    let entry = json!({ "dtype": "F32", "shape": [1], "data_offsets": [end, end + 4] });
    other.insert("vision_tower.vision_model.post_layernorm.weight".to_owned(), entry);
    let header = Value::Object(other).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data, &[0; 4]].concat()
}

/// What tells of the tensors, and their bytes.
fn header(stored: &[u8]) -> (Map<String, Value>, &[u8]) {
    let (length, rest) = stored.split_first_chunk::<8>().expect("a length");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    (serde_json::from_slice(header).expect("JSON"), data)
}

/// The tensors as the family's files have them: those of phi3 have some below others.
fn fused(drawn: &Drawn) -> Tensors {
    const PARTS: [(&str, &[&str]); 2] = [
        ("self_attn.qkv_proj", &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        ("mlp.gate_up_proj", &["mlp.gate_proj", "mlp.up_proj"]),
    ];
    let mut tensors = drawn.tensors.clone();
    if drawn.model_type != "phi3" {
        return tensors;
    }
    for layer_idx in 0..drawn.n_layers {
        for (whole, parts) in PARTS {
            let name = |part: &str| format!("model.layers.{layer_idx}.{part}.weight");
            let parts = parts.iter().map(|part| tensors.remove(&name(part)).expect("it is drawn"));
            let (shapes, values): (Vec<Vec<usize>>, Vec<Vec<f32>>) = parts.collect();
            let shape = vec![shapes.iter().map(|shape| shape[0]).sum(), shapes[0][1]];
            tensors.insert(name(whole), (shape, values.concat()));
        }
    }
    tensors
}
