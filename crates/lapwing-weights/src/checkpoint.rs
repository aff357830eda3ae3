//! Checkpoints read into plain data: shapes, token ids, text assets, and tensors by their Hugging
//! Face names, whatever file they come from.

mod config;
mod digest;
mod error;
mod small_file;

mod gguf;
mod hugging_face;

mod gguf_text;
mod hugging_face_text;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use lapwing_formats::gguf::{DType, DequantizeError, dequantize};
use lapwing_model::{Architecture, Llama, ModelFolder, SpecialTokens, TokenId};

use crate::Tensor;
use config::Config;
pub use error::{OpenCheckpointError, ReadTensorError};

/// A llama-family checkpoint whose every tensor has been checked against its configuration.
#[derive(Debug)]
pub struct Checkpoint {
    /// What the model is made of.
    pub architecture: Architecture<Llama>,
    /// The ids that begin, end and fill texts.
    pub tokens: SpecialTokens,
    /// The id of what the vocabulary cannot spell.
    pub unk: Option<TokenId>,
    /// Tokenizer and chat template.
    pub text: TextAssets,
    /// The model's own `generation_config.json`, where it has one: how its makers sample.
    pub generation_config: Option<serde_json::Value>,
    path: PathBuf,
    weights: WeightFile,
    /// Where each expected tensor is, by its Hugging Face name.
    places: BTreeMap<String, Place>,
}

/// What a model folder needs beside its graph to turn text into ids and back.
#[derive(Clone, Debug, PartialEq)]
pub struct TextAssets {
    /// The contents of `tokenizer.json`.
    pub tokenizer_json: Vec<u8>,
    /// The contents of `tokenizer_config.json`, without the chat template.
    pub tokenizer_config: serde_json::Value,
    /// The contents of `chat_template.jinja`; none for a base model.
    pub chat_template: Option<String>,
}

/// The memory maps that tensors borrow from.
#[derive(Debug)]
enum WeightFile {
    Gguf(lapwing_formats::gguf::Gguf),
    SafeTensors(lapwing_formats::safetensors::SafeTensors),
}

/// One expected tensor: its name in the file and what to know beside it.
#[derive(Debug)]
struct Place {
    name_in_file: String,
    shape: Vec<usize>,
    interleaved_head_size: Option<usize>,
}

impl Checkpoint {
    /// Open the GGUF file or Hugging Face folder at `path`.
    ///
    /// # Errors
    ///
    /// When it is neither, is an export already, its architecture is not of the llama family, a tensor is missing, has a
    /// shape other than the configuration says or is none the graph would use, or its tokenizer
    /// cannot be expressed.
    pub fn open(path: &Path) -> Result<Checkpoint, OpenCheckpointError> {
        let is_folder = path.is_dir();
        if !is_folder && path.is_file() {
            let start = first_bytes(path)?;
            return match start.starts_with(b"GGUF") {
                true => gguf::open(path),
                false => Err(unrecognised(path, beginning(&start))),
            };
        }
        // What was exported has a configuration too, and says less clearly what is missing.
        if is_folder
            && !hugging_face::has_weights(path)
            && let Ok(export) = ModelFolder::open(path, None)
        {
            let (path, kind) = (path.to_owned(), export.kind.name());
            return Err(OpenCheckpointError::AlreadyExported { path, kind });
        }
        match (is_folder, path.join(hugging_face::CONFIG_FILE).is_file()) {
            (true, true) => hugging_face::open(path),
            (true, false) => Err(unrecognised(path, "a folder without config.json".to_owned())),
            (false, _) => Err(unrecognised(path, "nothing".to_owned())),
        }
    }

    fn new(
        path: &Path,
        config: Config,
        text: TextAssets,
        generation_config: Option<serde_json::Value>,
        weights: WeightFile,
        places: BTreeMap<String, Place>,
    ) -> Checkpoint {
        let Config { architecture, tokens, unk } = config;
        let path = path.to_owned();
        Checkpoint { architecture, tokens, unk, text, generation_config, path, weights, places }
    }

    /// Where the checkpoint is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensor with this Hugging Face name, in Hugging Face layout.
    ///
    /// # Errors
    ///
    /// When there is none; `lm_head.weight` is absent when the head is tied.
    pub fn tensor(&self, name: &str) -> Result<Tensor<'_>, ReadTensorError> {
        let missing = || ReadTensorError { path: self.path.clone(), name: name.to_owned() };
        let place = self.places.get(name).ok_or_else(missing)?;
        let (_, dtype, bytes) = self.weights.find(&place.name_in_file).ok_or_else(missing)?;
        Ok(Tensor {
            shape: place.shape.clone(),
            dtype: dtype.ok_or_else(missing)?,
            bytes,
            interleaved_head_size: place.interleaved_head_size,
        })
    }

    /// The output head: `lm_head.weight`, or the embedding where the head is tied.
    ///
    /// Shapes: `[n_vocab, hidden_size]`.
    ///
    /// # Errors
    ///
    /// As for [`Checkpoint::tensor`].
    pub fn head(&self) -> Result<Tensor<'_>, ReadTensorError> {
        self.tensor(if self.has(Llama::HEAD) { Llama::HEAD } else { Llama::EMBEDDING })
    }

    /// Some rows of the output head, one for each token, as a fit needs them band by band.
    ///
    /// Shapes: `[rows.len(), hidden_size]`, row-major.
    ///
    /// # Errors
    ///
    /// As for [`Checkpoint::tensor`].
    ///
    /// # Panics
    ///
    /// When `rows` reaches beyond the vocabulary.
    pub fn head_rows(&self, rows: Range<usize>) -> Result<Vec<f32>, ReadTensorError> {
        Ok(self.head()?.rows_to_f32(rows))
    }

    /// Whether there is a tensor with this Hugging Face name.
    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Every Hugging Face name, in the order of the layers.
    pub fn tensor_names(&self) -> Vec<String> {
        self.architecture.expected_tensors().map(|(name, _)| name).collect()
    }
}

fn unrecognised(path: &Path, found: String) -> OpenCheckpointError {
    OpenCheckpointError::Unrecognised { path: path.to_owned(), found }
}

/// Enough of a file to tell what it is.
fn first_bytes(path: &Path) -> Result<Vec<u8>, OpenCheckpointError> {
    const N_BYTES: u64 = 16;
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(N_BYTES).read_to_end(&mut bytes))
        .map_err(|source| OpenCheckpointError::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}

fn beginning(start: &[u8]) -> String {
    match start {
        [] => "an empty file".to_owned(),
        _ => format!("a file that begins with \"{}\"", start.escape_ascii()),
    }
}

impl WeightFile {
    /// Shape, type (none when it cannot be dequantised) and bytes of a tensor.
    fn find(&self, name: &str) -> Option<(&[usize], Option<DType>, &[u8])> {
        use lapwing_formats::safetensors::Dtype;
        match self {
            WeightFile::Gguf(gguf) => {
                let tensor = gguf.tensor(name)?;
                let refused = dequantize(tensor.dtype, &[], &mut []);
                let is_read = !matches!(refused, Err(DequantizeError::Type { .. }));
                Some((tensor.shape, is_read.then_some(tensor.dtype), tensor.bytes))
            }
            WeightFile::SafeTensors(checkpoint) => {
                let tensor = checkpoint.tensor(name)?;
                let dtype = match tensor.dtype {
                    Dtype::F32 => Some(DType::F32),
                    Dtype::F16 => Some(DType::F16),
                    Dtype::BF16 => Some(DType::BF16),
                    _ => None,
                };
                Some((tensor.shape, dtype, tensor.bytes))
            }
        }
    }

    fn names(&self) -> Vec<&str> {
        match self {
            WeightFile::Gguf(gguf) => gguf.tensors().map(|tensor| tensor.name).collect(),
            WeightFile::SafeTensors(checkpoint) => checkpoint.tensors().map(|t| t.name).collect(),
        }
    }

    fn dtype_name(&self, name: &str) -> String {
        match self {
            WeightFile::Gguf(gguf) => gguf.tensor(name).map(|t| t.dtype.to_string()),
            WeightFile::SafeTensors(checkpoint) => {
                checkpoint.tensor(name).map(|t| t.dtype.to_string())
            }
        }
        .unwrap_or_default()
    }
}

/// Find every tensor that `architecture` calls for, check shapes and types, and refuse any tensor that
/// the graph would leave out: a bias that nobody adds gives wrong answers.
fn place_tensors(
    path: &Path,
    architecture: &Architecture<Llama>,
    weights: &WeightFile,
    name_in_file: impl Fn(&str) -> String,
    interleaved_head_size: impl Fn(&str) -> Option<usize>,
    is_needless: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Place>, OpenCheckpointError> {
    let path = path.to_owned();
    let mut places = BTreeMap::new();
    let mut used = std::collections::BTreeSet::new();
    for (name, shape) in architecture.expected_tensors() {
        let name_in_file = name_in_file(&name);
        let Some((found, dtype, _)) = weights.find(&name_in_file) else {
            return Err(OpenCheckpointError::MissingTensor { path, name: name_in_file });
        };
        if found != shape {
            let (expected, found) = (shape, found.to_vec());
            return Err(OpenCheckpointError::Shape { path, name: name_in_file, expected, found });
        }
        if dtype.is_none() {
            return Err(OpenCheckpointError::Unsupported {
                path,
                what: format!("type of {name_in_file}"),
                expected: "a float or a type of the Q4, Q5, Q6_K and Q8_0 kinds".to_owned(),
                found: weights.dtype_name(&name_in_file),
            });
        }
        used.insert(name_in_file.clone());
        let interleaved_head_size = interleaved_head_size(&name);
        places.insert(name, Place { name_in_file, shape, interleaved_head_size });
    }
    let unexpected = weights.names().into_iter().find(|n| !used.contains(*n) && !is_needless(n));
    match unexpected {
        Some(name) => Err(OpenCheckpointError::UnexpectedTensor { path, name: name.to_owned() }),
        None => Ok(places),
    }
}

#[cfg(test)]
mod tests;
