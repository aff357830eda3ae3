//! A small language model with random weights, made on the spot: devices can be tried without a
//! download, and what one of them computes can be compared with another.

use std::io::{self, BufWriter, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::{ExportError, ExportOptions, Precision, Target, export};

/// Its name in tables.
pub const NAME: &str = "a made-up model of 0.2 M parameters";

const N_VOCAB: usize = 512;
const N_HIDDEN: usize = 64;
const N_INTERMEDIATE: usize = 192;
const N_LAYERS: usize = 2;
const N_HEADS: usize = 4;
const N_KV_HEADS: usize = 2;
const HEAD_SIZE: usize = N_HIDDEN / N_HEADS;

/// Why it could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeModelError {
    /// The checkpoint cannot be written.
    #[error("cannot write a made-up checkpoint into {}", folder.display())]
    Write {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be exported.
    #[error("cannot export a made-up checkpoint")]
    Export(#[from] Box<ExportError>),
}

/// Write the model below `folder` for one kind of library; returns its folder.
///
/// # Errors
///
/// When it cannot be written.
pub fn make(folder: &Path, target: Target) -> Result<PathBuf, MakeModelError> {
    let checkpoint = folder.join("checkpoint");
    let failed = |source| MakeModelError::Write { folder: checkpoint.clone(), source };
    std::fs::create_dir_all(&checkpoint).map_err(failed)?;
    std::fs::write(checkpoint.join("config.json"), config().to_string()).map_err(failed)?;
    std::fs::write(checkpoint.join("tokenizer.json"), tokenizer().to_string()).map_err(failed)?;
    write_weights(&checkpoint.join("model.safetensors")).map_err(failed)?;
    let out = folder.join(match target {
        Target::OpenVino => "openvino",
        Target::Onnx => "onnx",
    });
    // What every device takes.
    let options = ExportOptions::new(Precision::Int8 { group_size: None, symmetric: true });
    export(&checkpoint, target, &options, &out, &mut |_| ControlFlow::Continue(()))
        .map_err(Box::new)?;
    Ok(out)
}

fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": N_VOCAB,
        "hidden_size": N_HIDDEN,
        "intermediate_size": N_INTERMEDIATE,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": N_HEADS,
        "num_key_value_heads": N_KV_HEADS,
        "head_dim": HEAD_SIZE,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": false,
        "bos_token_id": 1,
        "eos_token_id": 2,
    })
}

/// One word a token.
fn tokenizer() -> Value {
    let words = (0..N_VOCAB).map(|token| (format!("word{token}"), json!(token)));
    let words: Map<String, Value> = words.collect();
    json!({
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "word0"},
    })
}

/// Names and shapes of all tensors, `[rows, columns]` or `[n]`.
fn tensors() -> Vec<(String, Vec<usize>)> {
    let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![N_VOCAB, N_HIDDEN])];
    for layer in 0..N_LAYERS {
        let n_kv = N_KV_HEADS * HEAD_SIZE;
        for (name, shape) in [
            ("input_layernorm", vec![N_HIDDEN]),
            ("self_attn.q_proj", vec![N_HIDDEN, N_HIDDEN]),
            ("self_attn.k_proj", vec![n_kv, N_HIDDEN]),
            ("self_attn.v_proj", vec![n_kv, N_HIDDEN]),
            ("self_attn.o_proj", vec![N_HIDDEN, N_HIDDEN]),
            ("post_attention_layernorm", vec![N_HIDDEN]),
            ("mlp.gate_proj", vec![N_INTERMEDIATE, N_HIDDEN]),
            ("mlp.up_proj", vec![N_INTERMEDIATE, N_HIDDEN]),
            ("mlp.down_proj", vec![N_HIDDEN, N_INTERMEDIATE]),
        ] {
            tensors.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    tensors.push(("model.norm.weight".to_owned(), vec![N_HIDDEN]));
    tensors.push(("lm_head.weight".to_owned(), vec![N_VOCAB, N_HIDDEN]));
    tensors
}

/// The safetensors layout: length of the header, header, values.
fn write_weights(path: &Path) -> io::Result<()> {
    let tensors = tensors();
    let mut header = Map::new();
    let mut end = 0;
    for (name, shape) in &tensors {
        let start = end;
        end += 4 * shape.iter().product::<usize>();
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for (_, shape) in &tensors {
        // As wide as keeps the variance from layer to layer; norms are about 1.
        let (offset, width) = match shape[..] {
            [_, n_columns] => (0.0, (3.0 / n_columns as f32).sqrt()),
            _ => (1.0, 0.1),
        };
        for _ in 0..shape.iter().product::<usize>() {
            file.write_all(&(offset + width * random.next()).to_le_bytes())?;
        }
    }
    file.flush()
}

/// SplitMix64 (Steele, Lea and Flood 2014), as numbers from -1 to 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        // 24 bits are what an f32 holds.
        (bits >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_for_both_libraries_and_always_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let weights = |name: &str| {
            let made = make(&folder.path().join(name), Target::OpenVino).unwrap();
            std::fs::read(made.join("openvino_model.bin")).unwrap()
        };
        assert_eq!(weights("one"), weights("other"));
        let made = make(&folder.path().join("onnx"), Target::Onnx).unwrap();
        assert!(made.join("model.onnx").is_file());
    }
}
