//! ONNX models: graphs read, checked, edited and written; weights stay in the file.
//!
//! [`OnnxModel::open`] maps the graph file and decodes the graph; inline weights are slices of the
//! map and external ones are only checked (the file is there, inside the model's folder, and long
//! enough). The edits change the graph in memory:
//!
//! ```text
//! let mut model = OnnxModel::open(path)?;
//! let outcome = slice_before_head(&mut model, "logits")?;   // last n positions only
//! model.externalize(1024);                                  // inline weights by reference
//! let folder = model.follow_links()?;                       // real files, no links
//! let graph = model.encode();                               // small; hand it to the runtime
//! ```
//!
//! A runtime that gets `encode()`'s bytes instead of the path must be told the folder that external
//! locations are relative to, which [`OnnxModel::follow_links`] gives. This module knows no runtime and
//! no operator beyond those that it looks for or inserts.

mod budget;
mod wire;

mod value;

pub mod proto;

mod node;

mod tensors;

mod external;

mod head;

mod edit;
mod externalize;
mod hidden;
mod length_switch;
mod links;
mod writer;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;

pub use edit::{EditError, LOGITS_START, SLICED_DIM, SliceEdit, slice_before_head};
pub use external::{ExternalError, ExternalRange};
pub use hidden::{HIDDEN_STATES, HiddenEdit, expose_hidden};
pub use length_switch::length_switches;
pub use links::FollowLinksError;
pub use value::{Dim, ElementType, Value};
pub use writer::{OnnxWriter, WriteOnnxError};

use crate::{Map, MapError};
use proto::{GraphProto, ModelProto, NodeProto, TensorProto};

/// A decoded model and the file that its inline weights lie in.
#[derive(Clone, Debug)]
pub struct OnnxModel {
    path: PathBuf,
    file: Bytes,
    proto: ModelProto,
}

/// Why a model could not be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum OpenOnnxError {
    /// The graph file could not be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The bytes are no ONNX protobuf.
    #[error("{} is no ONNX model", path.display())]
    Decode { path: PathBuf, source: prost::DecodeError },
    /// The message has no graph, or a graph without outputs.
    #[error("{} holds no graph with outputs", path.display())]
    NoGraph { path: PathBuf },
    /// Far more entries than bytes to describe them.
    #[error("{} would need far more memory than its {n_bytes} bytes", path.display())]
    TooManyEntries { path: PathBuf, n_bytes: usize },
    /// An inline weight is shorter or longer than its sizes say.
    #[error("weight {name} in {}: expected {expected} bytes, found {found}", path.display())]
    InlineLength {
        path: PathBuf,
        name: String,
        /// Product of the sizes times the element size.
        expected: u64,
        found: u64,
    },
    /// A weight in another file cannot be used.
    #[error("weight {name} of {} cannot be used", path.display())]
    External { path: PathBuf, name: String, source: ExternalError },
}

/// One weight, as `inspect` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initializer {
    /// The value's name.
    pub name: String,
    /// Element type.
    pub element: ElementType,
    /// Sizes, outermost first, as the file says them.
    pub dims: Vec<i64>,
    /// Bytes of the elements; none for strings and unknown types.
    pub n_bytes: Option<u64>,
    /// Where the elements are.
    pub place: Place,
}

/// Where the elements of a weight are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the graph file.
    Inline,
    /// In another file of the model's folder.
    External(ExternalRange),
}

impl OnnxModel {
    /// Map and decode the graph file at `path` and check every tensor of it: weights of the graph and
    /// of its subgraphs, constants, functions.
    ///
    /// # Errors
    ///
    /// When the file cannot be mapped, is no ONNX model or would need far more memory than its
    /// size, or when a weight's file is outside the folder, missing or too short.
    pub fn open(path: &Path) -> Result<OnnxModel, OpenOnnxError> {
        let map = Map::open(path)?;
        let model = Self::decode(path, map.bytes().clone())?;
        external::check(&model)?;
        Ok(model)
    }

    /// Decode a model that is already in memory. Weights in other files are not checked; `path`
    /// serves messages and [`OnnxModel::folder`].
    ///
    /// # Errors
    ///
    /// When the bytes are no ONNX model or would need far more memory than their number.
    pub fn decode(path: &Path, file: Bytes) -> Result<OnnxModel, OpenOnnxError> {
        let path = path.to_owned();
        if !budget::fits(&file) {
            return Err(OpenOnnxError::TooManyEntries { path, n_bytes: file.len() });
        }
        let mut proto = ModelProto { graph: budget::reserve(&file), ..ModelProto::default() };
        let merged = proto.merge(file.clone());
        let mut nodes = proto.graph.iter().flat_map(|graph| &graph.node);
        let checked = nodes.try_for_each(|node| NodeProto::decode(node.clone()).map(drop));
        if let Err(source) = merged.and(checked) {
            return Err(OpenOnnxError::Decode { path, source });
        }
        if proto.graph.as_ref().is_none_or(|graph| graph.output.is_empty()) {
            return Err(OpenOnnxError::NoGraph { path });
        }
        Ok(OnnxModel { path, file, proto })
    }

    /// The graph file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that external locations are relative to; empty for a bare file name.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The decoded message.
    pub fn proto(&self) -> &ModelProto {
        &self.proto
    }

    /// The main graph.
    pub fn graph(&self) -> &GraphProto {
        self.proto.graph.as_ref().expect("decode refuses a model without a graph")
    }

    /// The main graph, to edit.
    pub fn graph_mut(&mut self) -> &mut GraphProto {
        self.proto.graph.as_mut().expect("decode refuses a model without a graph")
    }

    /// The main graph's nodes, in the file's order, each decoded when it is asked for. Nodes inside
    /// subgraphs are not among them.
    ///
    /// An item is an error only when [`OnnxModel::graph_mut`] put something malformed there.
    pub fn nodes(&self) -> impl Iterator<Item = Result<NodeProto, prost::DecodeError>> {
        self.graph().node.iter().map(|node| NodeProto::decode(node.clone()))
    }

    /// What a caller must feed: the graph's inputs without those that are weights.
    pub fn inputs(&self) -> Vec<Value> {
        let weights: std::collections::HashSet<&str> =
            self.graph().initializer.iter().map(TensorProto::name).collect();
        let fed = self.graph().input.iter().filter(|info| !weights.contains(info.name()));
        fed.map(Value::from_proto).collect()
    }

    /// What the graph computes, in the file's order.
    pub fn outputs(&self) -> Vec<Value> {
        self.graph().output.iter().map(Value::from_proto).collect()
    }

    /// The main graph's weights, in the file's order.
    pub fn initializers(&self) -> impl Iterator<Item = Initializer> {
        self.graph().initializer.iter().map(|tensor| {
            let element = ElementType::from_number(tensor.data_type());
            Initializer {
                name: tensor.name().to_owned(),
                element,
                dims: tensor.dims.clone(),
                n_bytes: element.n_bytes(&tensor.dims),
                // `decode` does not check ranges; one that cannot be read shows as inline.
                place: tensor.place().unwrap_or(Place::Inline),
            }
        })
    }

    /// The model's bytes as a file would hold them.
    ///
    /// Inline weights are copied; after [`OnnxModel::externalize`] there are few.
    pub fn encode(&self) -> Vec<u8> {
        self.proto.encode_to_vec()
    }
}

#[cfg(test)]
mod tests;
