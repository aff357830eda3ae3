//! Checkpoints read into plain data: shapes, token ids, text assets, and tensors by their Hugging
//! Face names, whatever file they come from.

mod config;
mod error;
mod experts;
mod keys;
mod layout;
mod small_file;

mod gguf;
mod hugging_face;

mod gguf_text;
mod hugging_face_text;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use lapwing_files::checksum::{HashError, Sha256};
use lapwing_files::regular::{self, LfsPointer, is_there};
use lapwing_formats::safetensors::SafeTensors;
use lapwing_model::{Architecture, ModelFolder, SpecialTokens, TokenId, Transformer};

use crate::source::{READ_TYPES, ReadTensorError, Source, has_safetensors};
use crate::tensor::{Order, Tensor};
use config::Config;
pub use error::OpenCheckpointError;
use error::unsupported;
use layout::Stored;

/// A checkpoint of a decoder whose every tensor has been checked against its configuration.
#[derive(Debug)]
pub struct Checkpoint {
    /// What the model is made of.
    pub architecture: Architecture<Transformer>,
    /// The ids that begin, end and fill texts.
    pub tokens: SpecialTokens,
    /// The id of what the vocabulary cannot spell.
    pub unk: Option<TokenId>,
    /// Tokenizer and chat template.
    pub text: TextAssets,
    /// The model's own `generation_config.json`, where it has one: how its makers sample.
    pub generation_config: Option<serde_json::Value>,
    path: PathBuf,
    source: Source,
    /// Where each expected tensor is, by its Hugging Face name.
    places: BTreeMap<String, Stored>,
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
    /// The contents of [`lapwing_model::TOOL_TEMPLATE_FILE`], where prompts with tools have a
    /// template of their own.
    pub tool_template: Option<String>,
}

impl Checkpoint {
    /// Open the GGUF file or Hugging Face folder at `path`.
    ///
    /// # Errors
    ///
    /// When it is neither, is an export already, its family is not known, a tensor is missing, has a
    /// shape other than the configuration says or is none the graph would use, or its tokenizer
    /// cannot be expressed.
    pub fn open(path: &Path) -> Result<Checkpoint, OpenCheckpointError> {
        let is_folder = path.is_dir();
        if !is_folder && is_there(path) {
            let start = first_bytes(path)?;
            return match start.starts_with(b"GGUF") {
                true => gguf::open(path),
                false => Err(other_format(path, std::slice::from_ref(&path.to_owned()))
                    .unwrap_or_else(|| unrecognised(path, beginning(&start)))),
            };
        }
        // What was exported has a configuration too, and says less clearly what is missing.
        if is_folder
            && !has_safetensors(path)
            && let Ok(export) = ModelFolder::open(path, None)
        {
            let (path, kind) = (path.to_owned(), export.kind.name());
            return Err(OpenCheckpointError::AlreadyExported { path, kind });
        }
        match (is_folder, is_there(&path.join(hugging_face::CONFIG_FILE))) {
            (true, true) if SafeTensors::is_in(path) => hugging_face::open(path),
            (true, has_config) => Err(of_folder(path, has_config)),
            (false, _) => Err(unrecognised(path, "nothing".to_owned())),
        }
    }

    fn new(
        path: &Path,
        config: Config,
        text: TextAssets,
        generation_config: Option<serde_json::Value>,
        source: Source,
        places: BTreeMap<String, Stored>,
    ) -> Checkpoint {
        let Config { architecture, tokens, unk } = config;
        let path = path.to_owned();
        Checkpoint { architecture, tokens, unk, text, generation_config, path, source, places }
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
        let place = self.places.get(name).ok_or_else(|| ReadTensorError::Missing {
            path: self.path.clone(),
            name: name.to_owned(),
        })?;
        Ok(place.of_whole(self.source.tensor(&place.name)?))
    }

    /// The output head: `lm_head.weight`, or the embedding where the head is tied.
    ///
    /// Shapes: `[n_vocab, hidden_size]`.
    ///
    /// # Errors
    ///
    /// As for [`Checkpoint::tensor`].
    pub fn head(&self) -> Result<Tensor<'_>, ReadTensorError> {
        self.tensor(if self.has(Transformer::HEAD) {
            Transformer::HEAD
        } else {
            Transformer::EMBEDDING
        })
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

    /// The SHA-256 of the weight files, one behind the other in the order of their names: 64
    /// lower-case hexadecimal digits. Of one file it is what other tools say.
    ///
    /// `on_bytes` hears of every piece with its file.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or when stopped.
    pub fn sha256(
        &self,
        on_bytes: &mut dyn FnMut(&Path, u64),
        stop: &dyn Fn() -> bool,
    ) -> Result<String, HashError> {
        let mut digest = Sha256::new();
        for path in self.source.files() {
            digest.update_from(path, &mut |n_bytes| on_bytes(path, n_bytes), stop)?;
        }
        Ok(digest.finish())
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

/// Why a folder is no checkpoint.
fn of_folder(folder: &Path, has_config: bool) -> OpenCheckpointError {
    const N_NAMED_MAX: usize = 4;
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    if let Some(other) = other_format(folder, &files).filter(|_| !has_safetensors(folder)) {
        return other;
    }
    let names = files.iter().filter_map(|path| path.file_name());
    let mut names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
    names.retain(|name| name != hugging_face::CONFIG_FILE);
    let more = if names.len() > N_NAMED_MAX { ", …" } else { "" };
    names.truncate(N_NAMED_MAX);
    let found = match (names.is_empty(), has_config) {
        (true, true) => "config.json alone".to_owned(),
        (true, false) => "an empty folder".to_owned(),
        (_, true) => format!("config.json beside {}{more}", names.join(", ")),
        (_, false) => format!("a folder without config.json: {}{more}", names.join(", ")),
    };
    unrecognised(folder, found)
}

/// That one of the files has weights as PyTorch, TensorFlow or Flax write them.
fn other_format(path: &Path, files: &[PathBuf]) -> Option<OpenCheckpointError> {
    let is_other = |file: &&PathBuf| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match extension {
            Some("bin") => name.starts_with("pytorch_model"),
            Some("pt" | "pth" | "ckpt" | "h5" | "msgpack") => true,
            _ => false,
        }
    };
    let name = files.iter().find(is_other)?.file_name()?.to_string_lossy().into_owned();
    Some(OpenCheckpointError::OtherFormat { path: path.to_owned(), found: name })
}

/// Enough of a file to tell what it is.
fn first_bytes(path: &Path) -> Result<Vec<u8>, OpenCheckpointError> {
    const N_BYTES: u64 = 64;
    let mut bytes = Vec::new();
    regular::open(path)
        .and_then(|file| file.take(N_BYTES).read_to_end(&mut bytes))
        .map_err(OpenCheckpointError::read(path))?;
    Ok(bytes)
}

fn beginning(start: &[u8]) -> String {
    const N_SHOWN_BYTES: usize = 16;
    match start {
        [] => "an empty file".to_owned(),
        _ if LfsPointer::is(start) => LfsPointer.to_string(),
        _ => {
            let start = &start[..start.len().min(N_SHOWN_BYTES)];
            format!("a file that begins with \"{}\"", start.escape_ascii())
        }
    }
}

/// Find every tensor that `architecture` calls for, check shapes and types, and refuse any tensor that
/// the graph would leave out: a bias that nobody adds gives wrong answers.
fn place_tensors(
    path: &Path,
    architecture: &Architecture<Transformer>,
    source: &Source,
    stored_as: impl Fn(&str) -> Stored,
    is_needless: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Stored>, OpenCheckpointError> {
    let mut places = BTreeMap::new();
    let mut used = std::collections::BTreeSet::new();
    for (name, shape) in architecture.expected_tensors() {
        let stored = stored_as(&name);
        let tensor = match source.tensor(&stored.name) {
            Ok(tensor) => tensor,
            Err(ReadTensorError::Missing { name, .. }) => {
                let of_codes = match stored.order {
                    Order::Columns { .. } => format!(", nor {name}_blocks with {name}_scales"),
                    _ => String::new(),
                };
                let problem = format!(" has no tensor {name}{of_codes}");
                return Err(OpenCheckpointError::Tensors { path: path.to_owned(), problem });
            }
            Err(ReadTensorError::Half { half, expected, found, .. }) => {
                let problem = format!(": {half}: expected {expected}, found {found}");
                return Err(OpenCheckpointError::Tensors { path: path.to_owned(), problem });
            }
            Err(ReadTensorError::Encoding { found, .. }) => {
                let what = format!("type of {}", stored.name);
                return Err(unsupported(path, what, READ_TYPES, found));
            }
        };
        // Blocks hold elements of several vectors, or of several rows where these are columns.
        let is_cut = shape.len() < 2 && stored.part.is_some();
        let is_cut = is_cut || matches!(stored.order, Order::Columns { .. });
        if is_cut && !tensor.is_of_floats() {
            let what = format!("type of {}", stored.name);
            return Err(unsupported(path, what, "floats", tensor.dtype_name()));
        }
        let shape = stored.whole_shape(shape);
        if tensor.shape != shape {
            return Err(OpenCheckpointError::shape(path, &stored.name, &shape, &tensor.shape));
        }
        used.insert(stored.name.clone());
        places.insert(name, stored);
    }
    let names = source.names();
    let unexpected = names.into_iter().find(|name| !used.contains(&**name) && !is_needless(name));
    match unexpected {
        Some(name) => {
            let family = &architecture.model_type;
            let problem = format!(" has a tensor that no graph of a {family} uses: {name}");
            Err(OpenCheckpointError::Tensors { path: path.to_owned(), problem })
        }
        None => Ok(places),
    }
}

#[cfg(test)]
mod tests;
