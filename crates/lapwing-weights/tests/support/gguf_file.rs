//! Writes small GGUF files for tests.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::{Path, PathBuf};

/// A GGUF file in the making.
#[derive(Clone, Default)]
pub(crate) struct GgufFile {
    entries: Vec<(String, Vec<u8>)>,
    tensors: Vec<(String, Vec<usize>, u32, Vec<u8>)>,
}

impl GgufFile {
    /// Metadata; an entry of the same key gives way.
    fn entry(&mut self, key: &str, value_type: u32, value: Vec<u8>) -> &mut GgufFile {
        let bytes = [value_type.to_le_bytes().to_vec(), value].concat();
        self.entries.retain(|(other, _)| other != key);
        self.entries.push((key.to_owned(), bytes));
        self
    }

    pub(crate) fn u32(&mut self, key: &str, value: u32) -> &mut GgufFile {
        self.entry(key, 4, value.to_le_bytes().to_vec())
    }

    pub(crate) fn f32(&mut self, key: &str, value: f32) -> &mut GgufFile {
        self.entry(key, 6, value.to_le_bytes().to_vec())
    }

    pub(crate) fn bool(&mut self, key: &str, value: bool) -> &mut GgufFile {
        self.entry(key, 7, vec![value.into()])
    }

    pub(crate) fn string(&mut self, key: &str, value: &str) -> &mut GgufFile {
        self.entry(key, 8, string(value))
    }

    pub(crate) fn strings(&mut self, key: &str, values: &[String]) -> &mut GgufFile {
        self.list(key, 8, values.len(), values.iter().flat_map(|value| string(value)).collect())
    }

    pub(crate) fn i32s(&mut self, key: &str, values: &[i32]) -> &mut GgufFile {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.list(key, 5, values.len(), bytes)
    }

    pub(crate) fn bools(&mut self, key: &str, values: &[bool]) -> &mut GgufFile {
        self.list(key, 7, values.len(), values.iter().map(|&value| value.into()).collect())
    }

    pub(crate) fn f32s(&mut self, key: &str, values: &[f32]) -> &mut GgufFile {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.list(key, 6, values.len(), bytes)
    }

    fn list(&mut self, key: &str, value_type: u32, n: usize, values: Vec<u8>) -> &mut GgufFile {
        let head = [&value_type.to_le_bytes()[..], &(n as u64).to_le_bytes()].concat();
        self.entry(key, 9, [head, values].concat())
    }

    /// A tensor of F32, its shape outermost first; one of the same name gives way.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize], values: &[f32]) -> &mut GgufFile {
        assert_eq!(values.len(), shape.iter().product::<usize>(), "{name}");
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor_of_type(name, shape, 0, bytes)
    }

    /// A tensor of Q4_1: blocks of 32 columns, each with this scale, minimum (both f16) and codes.
    pub(crate) fn q4_1(&mut self, name: &str, shape: &[usize], block: [u8; 20]) -> &mut GgufFile {
        let n_blocks = shape.iter().product::<usize>() / 32;
        self.tensor_of_type(name, shape, 3, block.repeat(n_blocks))
    }

    /// A tensor of MXFP4.
    pub(crate) fn mxfp4(&mut self, name: &str, shape: &[usize], bytes: Vec<u8>) -> &mut GgufFile {
        self.tensor_of_type(name, shape, 39, bytes)
    }

    fn tensor_of_type(
        &mut self,
        name: &str,
        shape: &[usize],
        type_id: u32,
        bytes: Vec<u8>,
    ) -> &mut GgufFile {
        self.tensors.retain(|(other, ..)| other != name);
        self.tensors.push((name.to_owned(), shape.to_vec(), type_id, bytes));
        self
    }

    pub(crate) fn without(&mut self, key: &str) -> &mut GgufFile {
        self.entries.retain(|(other, _)| other != key);
        self
    }

    pub(crate) fn without_tensor(&mut self, name: &str) -> &mut GgufFile {
        self.tensors.retain(|(other, ..)| other != name);
        self
    }

    /// Write the file as `model.gguf`.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        self.write_at(folder.join("model.gguf"))
    }

    /// Write the model in parts, as `model-00001-of-0000n.gguf` and so on: the keys are in the
    /// first.
    pub(crate) fn write_parts(&self, folder: &Path, n_parts: u16) -> Vec<PathBuf> {
        let n_tensors = self.tensors.len().div_ceil(n_parts.into());
        let parts = self.tensors.chunks(n_tensors).zip(0..n_parts).map(|(tensors, number)| {
            let entries = if number == 0 { self.entries.clone() } else { Vec::new() };
            let mut part = GgufFile { entries, tensors: tensors.to_vec() };
            part.entry("split.no", 2, number.to_le_bytes().to_vec());
            part.entry("split.count", 2, n_parts.to_le_bytes().to_vec());
            let name = format!("model-{:05}-of-{n_parts:05}.gguf", number + 1);
            part.write_at(folder.join(name))
        });
        parts.collect()
    }

    fn write_at(&self, path: PathBuf) -> PathBuf {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.entries.len() as u64).to_le_bytes());
        for (key, value) in &self.entries {
            bytes.extend(string(key));
            bytes.extend(value);
        }
        let mut data: Vec<u8> = Vec::new();
        for (name, shape, type_id, values) in &self.tensors {
            bytes.extend(string(name));
            bytes.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|&size| bytes.extend((size as u64).to_le_bytes()));
            bytes.extend(type_id.to_le_bytes());
            bytes.extend((data.len() as u64).to_le_bytes());
            data.extend(values);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(data);
        std::fs::write(&path, bytes).expect("the folder is writable");
        path
    }
}

/// A GGUF of one layer, four heads of four, two key and value heads, and a vocabulary of six.
pub(crate) fn small(architecture: &str) -> GgufFile {
    let mut file = GgufFile::default();
    let key = |name: &str| format!("{architecture}.{name}");
    file.string("general.architecture", architecture)
        .u32(&key("block_count"), 1)
        .u32(&key("context_length"), 64)
        .u32(&key("embedding_length"), 16)
        .u32(&key("feed_forward_length"), 24)
        .u32(&key("attention.head_count"), 4)
        .u32(&key("attention.head_count_kv"), 2)
        .f32(&key("attention.layer_norm_rms_epsilon"), 1e-6)
        .string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", "gpt-2")
        .u32("tokenizer.ggml.eos_token_id", 4);
    let tokens = ["a", "b", "ab", "<s>", "</s>", "<|im_end|>"].map(str::to_owned);
    file.strings("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &[1, 1, 1, 3, 3, 3])
        .strings("tokenizer.ggml.merges", &["a b".to_owned()]);
    let mut add = |name: &str, shape: &[usize]| {
        let n_elements = shape.iter().product::<usize>();
        let values: Vec<f32> = (0..n_elements).map(|index| index as f32).collect();
        file.tensor(name, shape, &values);
    };
    add("token_embd.weight", &[6, 16]);
    add("output_norm.weight", &[16]);
    add("blk.0.attn_norm.weight", &[16]);
    add("blk.0.ffn_norm.weight", &[16]);
    add("blk.0.attn_q.weight", &[16, 16]);
    add("blk.0.attn_k.weight", &[8, 16]);
    add("blk.0.attn_v.weight", &[8, 16]);
    add("blk.0.attn_output.weight", &[16, 16]);
    add("blk.0.ffn_gate.weight", &[24, 16]);
    add("blk.0.ffn_up.weight", &[24, 16]);
    add("blk.0.ffn_down.weight", &[16, 24]);
    if architecture == "qwen2" {
        add("blk.0.attn_q.bias", &[16]);
        add("blk.0.attn_k.bias", &[8]);
        add("blk.0.attn_v.bias", &[8]);
    }
    if architecture == "qwen3" {
        add("blk.0.attn_q_norm.weight", &[4]);
        add("blk.0.attn_k_norm.weight", &[4]);
    }
    if architecture == "gpt-oss" {
        add("blk.0.post_attention_norm.weight", &[16]);
        add("blk.0.attn_sinks.weight", &[4]);
        add("blk.0.ffn_gate_inp.weight", &[2, 16]);
        add("blk.0.ffn_gate_inp.bias", &[2]);
        for (part, shape) in [("gate", [2, 32, 16]), ("up", [2, 32, 16]), ("down", [2, 16, 32])] {
            add(&format!("blk.0.ffn_{part}_exps.weight"), &shape);
            add(&format!("blk.0.ffn_{part}_exps.bias"), &shape[..2]);
        }
        for name in ["ffn_norm", "ffn_gate", "ffn_up", "ffn_down"] {
            file.without_tensor(&format!("blk.0.{name}.weight"));
        }
        file.u32(&key("expert_count"), 2)
            .u32(&key("expert_used_count"), 1)
            .u32(&key("expert_feed_forward_length"), 32);
    }
    file
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}
