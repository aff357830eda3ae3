//! Safetensors checkpoints: one file, or the shards that an index names. Memory-mapped.
//!
//! Knows names, types and shapes; nothing of architectures. Source: the safetensors format
//! description.

mod header;
mod index;

use std::path::{Path, PathBuf};

use lapwing_files::regular;
pub use safetensors::Dtype;

use crate::{Map, MapError};
use header::TensorEntry;

/// The name of an unsharded checkpoint's file.
const SINGLE_FILE: &str = "model.safetensors";
/// The name of a sharded checkpoint's index.
const INDEX_FILE: &str = "model.safetensors.index.json";

/// One open file.
#[derive(Debug)]
pub struct SafeTensorsFile {
    map: Map,
    /// Sorted by name.
    tensors: Vec<TensorEntry>,
}

/// Every tensor of a checkpoint, whichever shard it is in.
#[derive(Debug)]
pub struct SafeTensors {
    shards: Vec<SafeTensorsFile>,
}

/// One tensor: its description and its bytes, row-major and little-endian.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tensor<'a> {
    /// Name, as in the file.
    pub name: &'a str,
    /// Type of an element.
    pub dtype: Dtype,
    /// Sizes, outermost first.
    pub shape: &'a [usize],
    /// The elements.
    pub bytes: &'a [u8],
}

/// Why a checkpoint could not be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum OpenSafeTensorsError {
    /// A file could not be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A header or an index is no JSON of the right form.
    #[error("{} is damaged: cannot read its {what}", path.display())]
    Json {
        path: PathBuf,
        /// `header` or `index`.
        what: &'static str,
        source: serde_json::Error,
    },
    /// The bytes break a rule of the format.
    #[error("{} is damaged: {what}: expected {expected}, found {found}", path.display())]
    Malformed { path: PathBuf, what: String, expected: String, found: String },
    /// Two checkpoints lie in one folder, and nothing tells which of them is meant.
    #[error(
        "{} holds both {SINGLE_FILE} and {INDEX_FILE}, which names other files: \
         expected one of them, found no sign of which is out of date",
        folder.display()
    )]
    Two { folder: PathBuf },
}

impl SafeTensors {
    /// Whether `folder` has what [`SafeTensors::open`] opens.
    pub fn is_in(folder: &Path) -> bool {
        [SINGLE_FILE, INDEX_FILE].iter().any(|name| regular::is_there(&folder.join(name)))
    }

    /// Open the checkpoint in `folder`: its `model.safetensors.index.json` with all shards, or its
    /// `model.safetensors`.
    ///
    /// # Errors
    ///
    /// When neither is there, or both are and are not the same, a shard is missing or lies outside of the folder, index and shards
    /// disagree, or a file is damaged; see [`SafeTensorsFile::open`].
    pub fn open(folder: &Path) -> Result<SafeTensors, OpenSafeTensorsError> {
        let index_path = folder.join(INDEX_FILE);
        if regular::is_there(&index_path) {
            let has_single = regular::is_there(&folder.join(SINGLE_FILE));
            if has_single && !index::shard_names(&Map::open(&index_path)?)?.contains(SINGLE_FILE) {
                return Err(OpenSafeTensorsError::Two { folder: folder.to_owned() });
            }
            return SafeTensors::open_index(&index_path);
        }
        Ok(SafeTensors { shards: vec![SafeTensorsFile::open(&folder.join(SINGLE_FILE))?] })
    }

    /// Open the shards that the index at `path` names, which lie beside it.
    ///
    /// # Errors
    ///
    /// See [`SafeTensors::open`].
    pub fn open_index(path: &Path) -> Result<SafeTensors, OpenSafeTensorsError> {
        let map = Map::open(path)?;
        let mut shards = Vec::new();
        for file_name in index::shard_names(&map)? {
            shards.push(SafeTensorsFile::open(&path.with_file_name(file_name))?);
        }
        let checkpoint = SafeTensors { shards };
        index::check(&map, &checkpoint.shards)?;
        Ok(checkpoint)
    }

    /// The files, in the order in which the index first names them.
    pub fn files(&self) -> &[SafeTensorsFile] {
        &self.shards
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        self.shards.iter().find_map(|shard| shard.tensor(name))
    }

    /// Every tensor, shard by shard, sorted by name within each.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        self.shards.iter().flat_map(SafeTensorsFile::tensors)
    }
}

impl SafeTensorsFile {
    /// Map the file at `path` and check its header.
    ///
    /// Allocates less than four times the file, whatever its header claims.
    ///
    /// # Errors
    ///
    /// When the file cannot be mapped or its header is damaged: longer than the file, no JSON,
    /// names a tensor twice, byte ranges that do not fit the shapes, overlap, leave gaps, or do not
    /// end with the file.
    pub fn open(path: &Path) -> Result<SafeTensorsFile, OpenSafeTensorsError> {
        let map = Map::open(path)?;
        let tensors = header::read(&map)?;
        Ok(SafeTensorsFile { map, tensors })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        self.map.path()
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let found = self.tensors.binary_search_by(|entry| (*entry.name).cmp(name)).ok()?;
        Some(self.view(&self.tensors[found]))
    }

    /// Every tensor, sorted by name.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = Tensor<'_>> {
        self.tensors.iter().map(|entry| self.view(entry))
    }

    fn view<'a>(&'a self, entry: &'a TensorEntry) -> Tensor<'a> {
        let bytes = &self.map[entry.start..entry.end];
        Tensor { name: &entry.name, dtype: entry.dtype, shape: &entry.shape, bytes }
    }
}

fn malformed(
    map: &Map,
    what: impl Into<String>,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> OpenSafeTensorsError {
    OpenSafeTensorsError::Malformed {
        path: map.path().to_owned(),
        what: what.into(),
        expected: expected.into(),
        found: found.into(),
    }
}

#[cfg(test)]
mod tests;
