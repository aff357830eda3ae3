//! What a model folder, a checkpoint or a file is, read without any runtime.

mod checkpoint;
mod graph;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::hash::Hash;
use std::path::{Path, PathBuf};

use lapwing_files::FileError;
use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};
use lapwing_formats::require_unchanged;
use lapwing_model::{EmbeddingRecipe, EncoderOutput, ModelFolder, N_POSITIONS_UNTOLD};
use lapwing_store::Variant;
use lapwing_text::ChatTemplate;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::open_error::with_causes;
use crate::setup::open_folder;
use crate::text_side::{OpenTextError, TextSide};

/// What a model, a checkpoint or a file of either is.
#[derive(Debug, Serialize)]
pub struct Description {
    /// `openvino-ir`, `onnx-genai`, `onnx-transformersjs`, `gguf`, `safetensors`, `onnx`.
    pub kind: String,
    /// It makes embeddings, and no answers.
    pub embeds: bool,
    /// Where it is.
    pub path: PathBuf,
    /// Architecture, sizes, limits and what else the files say, in the order of telling.
    pub facts: Map<String, Value>,
    /// Weights by the way they are stored, largest first.
    pub quantisation: Vec<Storage>,
    /// The chat template's source.
    pub chat_template: Option<String>,
    /// The files it consists of.
    pub files: Vec<FileSize>,
    /// Every weight.
    pub tensors: Vec<TensorLine>,
}

/// The weights that are stored in one way. What several tensors share counts once.
#[derive(Debug, Serialize)]
pub struct Storage {
    /// Element type.
    pub dtype: String,
    /// Weights stored so.
    pub n_tensors: usize,
    /// Their bytes.
    pub n_bytes: u64,
}

/// One weight.
#[derive(Debug, Serialize)]
pub struct TensorLine {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: String,
    /// Sizes, outermost first.
    pub shape: Vec<u64>,
    /// Its bytes, when the type has a size.
    pub n_bytes: Option<u64>,
    /// The tensor before it that has the very same bytes: a tied matrix is stored once.
    pub same_as: Option<String>,
}

/// Tensors by where their bytes are, to tell those that share them.
#[derive(Default)]
struct Places<P> {
    first_at: HashMap<P, String>,
}

impl<P: Eq + Hash> Places<P> {
    /// The tensor that was the first at `place`, unless it is `name` itself.
    fn same_as(&mut self, place: P, name: &str) -> Option<String> {
        match self.first_at.entry(place) {
            Entry::Occupied(first) => Some(first.get().clone()),
            Entry::Vacant(free) => {
                free.insert(name.to_owned());
                None
            }
        }
    }
}

/// One file.
#[derive(Debug, Serialize)]
pub struct FileSize {
    /// Its name in the folder.
    pub name: String,
    /// Its length.
    pub n_bytes: u64,
}

impl Description {
    /// Bytes of all weights. What several tensors share counts once.
    pub fn n_weight_bytes(&self) -> u64 {
        self.quantisation.iter().map(|part| part.n_bytes).fold(0, u64::saturating_add)
    }
}

/// Why it is not told what something is: the source is the error of whoever could not read it.
#[derive(Debug, thiserror::Error)]
#[error("cannot tell what it is")]
pub struct DescribeError(#[source] Box<dyn Error + Send + Sync>);

impl DescribeError {
    /// The error of whoever could not read it.
    pub fn into_source(self) -> Box<dyn Error + Send + Sync> {
        self.0
    }
}

impl DescribeError {
    fn of(source: impl Error + Send + Sync + 'static) -> DescribeError {
        DescribeError(Box::new(source))
    }
}

/// The source of a [`DescribeError`] where the name of a file says nothing.
#[derive(Debug, thiserror::Error)]
#[error("{} is no file that is understood: expected .gguf, .safetensors, .onnx or .xml", path.display())]
pub struct UnknownFile {
    /// The file.
    pub path: PathBuf,
}

/// What the readers found in one file.
#[derive(Default)]
struct Found {
    kind: &'static str,
    facts: Map<String, Value>,
    tensors: Vec<TensorLine>,
    chat_template: Option<String>,
    /// What an encoder gives.
    encoder: Option<EncoderOutput>,
    /// The files of a checkpoint in several of them.
    files: Vec<PathBuf>,
}

/// Describe what is at `path`.
///
/// # Errors
///
/// When it is not there, is none of the kinds, or is malformed.
pub fn describe(path: &Path, variant: Option<&Variant>) -> Result<Description, DescribeError> {
    let metadata = std::fs::metadata(path).map_err(FileError::cannot("open", path));
    let found = match metadata.map_err(DescribeError::of)?.is_dir() {
        true => folder(path, variant)?,
        false => file(path)?,
    };
    require_unchanged(path).map_err(DescribeError::of)?;
    Ok(Description {
        kind: found.kind.to_owned(),
        embeds: found.encoder.is_some(),
        path: path.to_owned(),
        quantisation: storage(&found.tensors),
        facts: found.facts,
        chat_template: found.chat_template,
        files: files(path, &found.files),
        tensors: found.tensors,
    })
}

fn file(path: &Path) -> Result<Found, DescribeError> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("gguf") => checkpoint::gguf(path),
        Some("safetensors") => checkpoint::safetensors(path),
        Some("onnx") => graph::onnx(path),
        Some("xml") => graph::ir(path),
        _ => Err(DescribeError::of(UnknownFile { path: path.to_owned() })),
    }
}

fn folder(path: &Path, variant: Option<&Variant>) -> Result<Found, DescribeError> {
    let model = match open_folder(path, variant) {
        Ok(model) => model,
        Err(error) => {
            return match checkpoint::in_folder(path)? {
                Some(found) => Ok(found),
                None => Err(DescribeError::of(error)),
            };
        }
    };
    let mut found = file(&model.graph)?;
    for graph in &model.embeddings {
        found.tensors.extend(file(graph)?.tensors);
    }
    let graph_facts = std::mem::take(&mut found.facts);
    found.kind = model.kind.name();
    found.facts = model_facts(&model);
    found.facts.extend(graph_facts);
    if let Some(output) = &found.encoder {
        found.facts.extend(embedding_facts(&model, output));
    }
    found.chat_template = template_source(path);
    let problem = match ChatTemplate::open(path) {
        Ok(template) => template.and_then(|template| template.check().err()),
        Err(error) => Some(error.into()),
    };
    if let Some(problem) = problem {
        found.facts.insert("template problem".to_owned(), with_causes(&problem).into());
    }
    let problem = match TextSide::open(path).err() {
        // Told above.
        None | Some(OpenTextError::Template(_)) => None,
        Some(problem) => Some(with_causes(&problem)),
    };
    if let Some(problem) = problem {
        found.facts.insert("tokenizer problem".to_owned(), problem.into());
    }
    Ok(found)
}

fn model_facts(model: &ModelFolder) -> Map<String, Value> {
    let shape = &model.architecture;
    let mut facts = Map::new();
    let mut fact = |name: &str, value: Value| facts.insert(name.to_owned(), value);
    fact("architecture", json!(shape.model_type));
    fact("layers", json!(shape.n_layers));
    fact("hidden size", json!(shape.hidden_size));
    if shape.n_heads != 0 {
        fact("heads", json!(format!("{} query, {} key/value", shape.n_heads, shape.n_kv_heads)));
        fact("head size", json!(shape.head_size));
    }
    fact("vocabulary", json!(shape.n_vocab));
    if shape.n_positions_max != N_POSITIONS_UNTOLD {
        fact("context", json!(shape.n_positions_max));
    }
    if let Some(window) = shape.sliding_window {
        fact("sliding window", json!(window));
    }
    fact("end tokens", json!(model.tokens.eos));
    for part in &model.unused_parts {
        fact(&format!("{part} part"), json!("present, not used"));
    }
    if let Some(variant) = &model.variant {
        fact("variant", json!(variant));
        fact("variants", json!(model.variants.join(", ")));
    }
    facts
}

/// What an encoder makes of its rows, and of texts how long.
fn embedding_facts(model: &ModelFolder, output: &EncoderOutput) -> Vec<(String, Value)> {
    let recipe = match EmbeddingRecipe::read(model) {
        Ok(recipe) => recipe,
        Err(error) => return vec![("embedding problem".to_owned(), with_causes(&error).into())],
    };
    let by = match output {
        EncoderOutput::Pooled(name) => format!("`{name}` of the graph"),
        EncoderOutput::Tokens(_) if recipe.is_said => format!("the {}", recipe.pooling),
        EncoderOutput::Tokens(_) => format!("the {}, since no file says how", recipe.pooling),
    };
    let n_tokens = recipe.n_tokens_max;
    vec![
        ("embeddings".to_owned(), format!("{by}, of length 1").into()),
        ("context".to_owned(), n_tokens.into()),
    ]
}

/// The template's text, from whichever of the two files has it.
fn template_source(folder: &Path) -> Option<String> {
    if let Ok(text) = regular::read_text(&folder.join("chat_template.jinja"), N_TEXT_BYTES_MAX) {
        return Some(text);
    }
    let config = regular::read(&folder.join("tokenizer_config.json"), N_TEXT_BYTES_MAX).ok()?;
    let config: Value = serde_json::from_slice(&config).ok()?;
    config.get("chat_template")?.as_str().map(str::to_owned)
}

fn storage(tensors: &[TensorLine]) -> Vec<Storage> {
    let mut by_type: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for tensor in tensors.iter().filter(|tensor| tensor.same_as.is_none()) {
        let entry = by_type.entry(&tensor.dtype).or_default();
        entry.0 += 1;
        entry.1 = entry.1.saturating_add(tensor.n_bytes.unwrap_or(0));
    }
    let mut parts: Vec<Storage> = by_type
        .into_iter()
        .map(|(dtype, (n_tensors, n_bytes))| Storage {
            dtype: dtype.to_owned(),
            n_tensors,
            n_bytes,
        })
        .collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.n_bytes));
    parts
}

/// The file itself with its other `parts`, or the files of the folder and of `onnx/` in it, by name.
fn files(path: &Path, parts: &[PathBuf]) -> Vec<FileSize> {
    let size = |path: &Path, name: String| {
        let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        Some(FileSize { name, n_bytes: metadata.len() })
    };
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if path.is_file() {
        let own = [path.to_owned()];
        let all = if parts.is_empty() { &own } else { parts };
        return all.iter().filter_map(|path| size(path, name(path))).collect();
    }
    let mut files = Vec::new();
    for (folder, prefix) in [(path.to_owned(), ""), (path.join("onnx"), "onnx/")] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = format!("{prefix}{}", name(&path));
            if !name.starts_with('.') {
                files.extend(size(&path, name));
            }
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tied_matrix_counts_once() {
        let mut places = Places::default();
        let mut tensor = |name: &str, start: u64| TensorLine {
            name: name.to_owned(),
            dtype: "u8".to_owned(),
            shape: vec![8],
            n_bytes: Some(8),
            same_as: places.same_as(("model.onnx.data", start), name),
        };
        let tensors = [tensor("embed", 0), tensor("norm", 8), tensor("lm_head", 0)];
        let same_as: Vec<_> = tensors.iter().map(|tensor| tensor.same_as.as_deref()).collect();
        assert_eq!(same_as, [None, None, Some("embed")]);
        let parts = storage(&tensors);
        assert_eq!((parts.len(), parts[0].n_tensors, parts[0].n_bytes), (1, 2, 16));
    }
}
