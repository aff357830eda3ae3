//! Checkpoints: GGUF files and safetensors folders.

use std::path::Path;

use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};
use lapwing_formats::gguf::{Gguf, Value as GgufValue, only_model};
use lapwing_formats::safetensors::{SafeTensors, SafeTensorsFile, Tensor};
use serde_json::{Value, json};

use super::{DescribeError, Found, TensorLine};

/// Metadata that is shown; the rest is the tokenizer's tables and the template.
const GGUF_KEYS: [&str; 12] = [
    "block_count",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "context_length",
    "rope.freq_base",
    "rope.dimension_count",
    "vocab_size",
];

pub(super) fn gguf(path: &Path) -> Result<Found, DescribeError> {
    let gguf = Gguf::open(path).map_err(DescribeError::of)?;
    let mut found = Found { kind: "gguf", ..Found::default() };
    found.facts.insert("gguf version".to_owned(), json!(gguf.version()));
    if 1 < gguf.paths().len() {
        found.facts.insert("parts".to_owned(), json!(gguf.paths().len()));
    }
    found.files = gguf.paths().map(Path::to_owned).collect();
    let text = |key: &str| gguf.get(key).and_then(|value| value.as_str().map(str::to_owned));
    let architecture = text("general.architecture").unwrap_or_else(|| "?".to_owned());
    for key in ["general.name", "general.architecture", "general.license", "tokenizer.ggml.model"] {
        if let Some(value) = text(key) {
            found.facts.insert(key.to_owned(), json!(value));
        }
    }
    for key in GGUF_KEYS {
        let key = format!("{architecture}.{key}");
        if let Some(value) = gguf.get(&key).and_then(|value| plain(&value)) {
            found.facts.insert(key, value);
        }
    }
    found.chat_template = text("tokenizer.chat_template");
    found.tensors = gguf
        .tensors()
        .map(|tensor| line(tensor.name, tensor.dtype.to_string(), tensor.shape, tensor.bytes))
        .collect();
    Ok(found)
}

pub(super) fn safetensors(path: &Path) -> Result<Found, DescribeError> {
    let file = SafeTensorsFile::open(path).map_err(DescribeError::of)?;
    let mut found = Found { kind: "safetensors", ..Found::default() };
    found.tensors = file.tensors().map(line_of).collect();
    Ok(found)
}

/// A folder that is no model: one GGUF with all its parts, or safetensors with a `config.json`.
pub(super) fn in_folder(folder: &Path) -> Result<Option<Found>, DescribeError> {
    let mut ggufs = Vec::new();
    let mut has_safetensors = false;
    for entry in std::fs::read_dir(folder).map_err(DescribeError::of)?.flatten() {
        let path = entry.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("gguf") => ggufs.push(path),
            Some("safetensors") => has_safetensors = true,
            _ => {}
        }
    }
    if let Some(only) = only_model(&ggufs) {
        return gguf(only).map(Some);
    }
    if !has_safetensors {
        return Ok(None);
    }
    let files = SafeTensors::open(folder).map_err(DescribeError::of)?;
    let mut found = Found { kind: "safetensors", ..Found::default() };
    let config = regular::read(&folder.join("config.json"), N_TEXT_BYTES_MAX).ok();
    let config: Option<Value> = config.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(Value::Object(config)) = config {
        let simple = config.into_iter().filter(|(_, value)| !value.is_object());
        found.facts.extend(simple);
    }
    found.tensors = files.tensors().map(line_of).collect();
    found.chat_template = super::template_source(folder);
    Ok(Some(found))
}

fn line_of(tensor: Tensor<'_>) -> TensorLine {
    let dtype = format!("{:?}", tensor.dtype).to_lowercase();
    line(tensor.name, dtype, tensor.shape, tensor.bytes)
}

fn line(name: &str, dtype: String, shape: &[usize], bytes: &[u8]) -> TensorLine {
    TensorLine {
        name: name.to_owned(),
        dtype,
        shape: shape.iter().map(|&size| size as u64).collect(),
        n_bytes: Some(bytes.len() as u64),
        same_as: None,
    }
}

/// A single value as JSON; lists are tables and not shown.
fn plain(value: &GgufValue<'_>) -> Option<Value> {
    value
        .as_u64()
        .map(Value::from)
        .or_else(|| value.as_f64().map(Value::from))
        .or_else(|| value.as_str().map(Value::from))
}
