//! Weights that lie in other files of the model's folder.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use prost::Message;

use super::proto::{NodeProto, TensorProto};
use super::{ElementType, OnnxModel, OpenOnnxError, Place, budget, wire};

/// Subgraphs in subgraphs that are still looked into.
pub(super) const N_LEVELS_MAX: usize = 16;

/// Field numbers of an encoded [`super::proto::GraphProto`].
pub(super) const GRAPH_NODE: u64 = 1;
const GRAPH_INITIALIZER: u64 = 5;
pub(super) const GRAPH_OUTPUT: u64 = 12;

/// Where a weight's elements are, as the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalRange {
    /// File, relative to the model's folder.
    pub location: String,
    /// First byte.
    pub offset: u64,
    /// Number of bytes; none when the file does not say.
    pub length: Option<u64>,
}

/// Why a weight in another file cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ExternalError {
    /// No location is given.
    #[error("its location is missing")]
    NoLocation,
    /// The location leads out of the model's folder.
    #[error("its location {location:?} is not inside the model's folder")]
    Outside { location: String },
    /// Offset or length is no number.
    #[error("its {key} is no number: found {found:?}")]
    NotANumber {
        /// `offset` or `length`.
        key: &'static str,
        found: String,
    },
    /// The file is missing or cannot be looked at.
    #[error("cannot find {}", path.display())]
    Missing { path: PathBuf, source: std::io::Error },
    /// The location is a folder or a device.
    #[error("{} is not a regular file", path.display())]
    NotAFile { path: PathBuf },
    /// The range ends behind the end of the file.
    #[error("{} is too short: expected at least {expected} bytes, found {found}", path.display())]
    TooShort {
        path: PathBuf,
        /// First byte behind the range.
        expected: u64,
        found: u64,
    },
    /// The length does not agree with the weight's sizes.
    #[error("its length is wrong: expected {expected} bytes, found {found}")]
    WrongLength {
        /// Product of the sizes times the element size.
        expected: u64,
        found: u64,
    },
    /// Subgraphs are nested too deeply, or one is malformed.
    #[error("it lies in a subgraph that cannot be read")]
    Subgraph,
}

/// Check every weight of the graph and its subgraphs.
///
/// # Errors
///
/// On the first weight that cannot be used.
pub(super) fn check(model: &OnnxModel) -> Result<(), OpenOnnxError> {
    let mut checker = Checker { model, lengths: HashMap::new() };
    for tensor in &model.graph().initializer {
        checker.tensor(tensor)?;
    }
    for node in model.nodes() {
        let node = node.map_err(|_| checker.unreadable(""))?;
        checker.subgraphs_of(&node, 0)?;
    }
    Ok(())
}

impl TensorProto {
    /// Where the elements are, as the file says.
    ///
    /// # Errors
    ///
    /// When they are in another file, and its location is missing or leads out of the folder, or a
    /// number is malformed.
    pub fn place(&self) -> Result<Place, ExternalError> {
        match self.is_external() {
            true => range(self).map(Place::External),
            false => Ok(Place::Inline),
        }
    }
}

/// What a weight says about its place.
///
/// # Errors
///
/// When the location is missing or leads out of the folder, or a number is malformed.
fn range(tensor: &TensorProto) -> Result<ExternalRange, ExternalError> {
    let value_of = |key: &str| {
        let entry = tensor.external_data.iter().find(|entry| entry.key() == key);
        entry.map(|entry| entry.value())
    };
    let number = |key: &'static str| match value_of(key) {
        None => Ok(None),
        Some(text) => text
            .parse::<u64>()
            .map(Some)
            .map_err(|_| ExternalError::NotANumber { key, found: text.to_owned() }),
    };
    let location = value_of("location").ok_or(ExternalError::NoLocation)?;
    if !is_inside(location) {
        return Err(ExternalError::Outside { location: location.to_owned() });
    }
    Ok(ExternalRange {
        location: location.to_owned(),
        offset: number("offset")?.unwrap_or(0),
        length: number("length")?,
    })
}

/// Whether a location names something below the folder it is relative to.
fn is_inside(location: &str) -> bool {
    let mut components = Path::new(location).components().peekable();
    components.peek().is_some()
        && !location.contains(['\\', '\0'])
        && components.all(|component| matches!(component, Component::Normal(_) | Component::CurDir))
}

struct Checker<'a> {
    model: &'a OnnxModel,
    /// Length of each file that was looked at; most models have one for all weights.
    lengths: HashMap<PathBuf, u64>,
}

impl Checker<'_> {
    fn tensor(&mut self, tensor: &TensorProto) -> Result<(), OpenOnnxError> {
        let element = ElementType::from_number(tensor.data_type());
        let n_bytes = element.n_bytes(&tensor.dims);
        if tensor.is_external() {
            return self.external(tensor, n_bytes).map_err(|source| OpenOnnxError::External {
                path: self.model.path.clone(),
                name: tensor.name().to_owned(),
                source,
            });
        }
        match (&tensor.raw_data, n_bytes) {
            (Some(raw), Some(expected)) if raw.len() as u64 != expected => {
                Err(OpenOnnxError::InlineLength {
                    path: self.model.path.clone(),
                    name: tensor.name().to_owned(),
                    expected,
                    found: raw.len() as u64,
                })
            }
            _ => Ok(()),
        }
    }

    fn external(
        &mut self,
        tensor: &TensorProto,
        n_bytes: Option<u64>,
    ) -> Result<(), ExternalError> {
        let range = range(tensor)?;
        if let (Some(expected), Some(found)) = (n_bytes, range.length)
            && expected != found
        {
            return Err(ExternalError::WrongLength { expected, found });
        }
        let path = self.model.folder().join(&range.location);
        let found = self.length_of(&path)?;
        let n_bytes = range.length.or(n_bytes).unwrap_or(0);
        let expected = range.offset.saturating_add(n_bytes);
        if expected > found {
            return Err(ExternalError::TooShort { path, expected, found });
        }
        Ok(())
    }

    fn length_of(&mut self, path: &Path) -> Result<u64, ExternalError> {
        if let Some(&length) = self.lengths.get(path) {
            return Ok(length);
        }
        let metadata = std::fs::metadata(path)
            .map_err(|source| ExternalError::Missing { path: path.to_owned(), source })?;
        if !metadata.is_file() {
            return Err(ExternalError::NotAFile { path: path.to_owned() });
        }
        self.lengths.insert(path.to_owned(), metadata.len());
        Ok(metadata.len())
    }

    fn unreadable(&self, node: &str) -> OpenOnnxError {
        OpenOnnxError::External {
            path: self.model.path.clone(),
            name: format!("of node {node}"),
            source: ExternalError::Subgraph,
        }
    }

    fn subgraphs_of(&mut self, node: &NodeProto, level: usize) -> Result<(), OpenOnnxError> {
        for graph in node.encoded_subgraphs() {
            self.subgraph(&graph, node.name(), level)?;
        }
        Ok(())
    }

    /// One message at a time is decoded, so that a subgraph of any size costs little memory.
    fn subgraph(&mut self, graph: &Bytes, node: &str, level: usize) -> Result<(), OpenOnnxError> {
        if level == N_LEVELS_MAX || !budget::fits_graph(graph) {
            return Err(self.unreadable(node));
        }
        for encoded in wire::payloads(graph, GRAPH_INITIALIZER) {
            let tensor =
                TensorProto::decode(graph.slice_ref(encoded)).map_err(|_| self.unreadable(node))?;
            self.tensor(&tensor)?;
        }
        for encoded in wire::payloads(graph, GRAPH_NODE) {
            let inner = NodeProto::decode(graph.slice_ref(encoded));
            let inner = inner.map_err(|_| self.unreadable(node))?;
            self.subgraphs_of(&inner, level + 1)?;
        }
        Ok(())
    }
}
