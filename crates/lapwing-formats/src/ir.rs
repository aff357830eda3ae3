//! OpenVINO IR: a graph in XML, its constants in a BIN beside it.
//!
//! [`IrModel::open`] checks the whole XML against the BIN and keeps the text as it is, with an
//! index into it; the BIN stays a memory map. What the text holds beyond what this module knows (other
//! attributes, `rt_info` of layers, bodies of loops) is therefore still there when [`IrModel::xml`]
//! hands the text to a runtime. An edit makes a new text and checks it again; it needs no byte of
//! the BIN that is not there already:
//!
//! ```text
//! let mut model = IrModel::open(&folder.join("openvino_model.xml"))?;
//! match slice_before_head(&mut model)? {            // logits of chosen positions only
//!     SliceEdit::Sliced { .. } => {}                // one more input: LOGITS_POSITIONS
//!     SliceEdit::NotFound(_) => {}                  // run it as it is
//! }
//! read_model(model.xml(), model.bin())              // the weights as one host tensor
//! ```
//!
//! New models are written with [`IrWriter`]. This module knows no runtime, and of the operators
//! only those that it looks for or inserts.

mod cursor;
mod element_type;
mod shape;

mod index;
mod layer;
mod record;

mod edit;
mod hidden;
mod length_switch;
mod rt_info;
mod write;

use std::path::{Path, PathBuf};

pub use edit::{EditError, LOGITS_POSITIONS, NotFound, SliceEdit, slice_before_head};
pub use element_type::ElementType;
pub use hidden::{HIDDEN_STATES, HiddenEdit, expose_hidden};
pub use index::Edge;
pub use layer::{Constant, Layer, Port};
pub use length_switch::length_switches;
pub use rt_info::WeightCompression;
pub use shape::Dim;
pub use write::{IrWriter, NewPort, Node, Operation, WriteIrError};

use crate::{Map, MapError};
use cursor::Fault;
use index::Index;

/// An IR whose every layer, edge and constant has been checked.
#[derive(Clone, Debug)]
pub struct IrModel {
    xml_path: PathBuf,
    text: String,
    index: Index,
    bin: Map,
}

/// Why an IR could not be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum OpenIrError {
    /// A file could not be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// There is no BIN beside the XML.
    #[error("{} has no weights: {} is missing", xml.display(), bin.display())]
    MissingBin { xml: PathBuf, bin: PathBuf },
    /// The XML is not UTF-8.
    #[error("{} is not UTF-8", path.display())]
    Encoding { path: PathBuf, source: std::str::Utf8Error },
    /// The XML is malformed, or does not fit itself or the BIN.
    #[error(
        "{}: {}expected {expected}, found {found} (at byte {offset})",
        path.display(),
        layer.as_ref().map(|layer| format!("layer {layer}: ")).unwrap_or_default()
    )]
    Invalid { path: PathBuf, layer: Option<String>, offset: usize, expected: String, found: String },
}

impl IrModel {
    /// Open the IR at `xml_path` and the BIN of the same stem beside it.
    ///
    /// Memory: the XML's text and an index that is smaller than twice the text.
    ///
    /// # Errors
    ///
    /// When a file is missing or cannot be mapped, the XML is malformed, ids are not distinct, an
    /// edge leads nowhere, or a constant does not lie inside the BIN or does not fit its shape.
    pub fn open(xml_path: &Path) -> Result<IrModel, OpenIrError> {
        let xml = Map::open(xml_path)?;
        let bin_path = xml_path.with_extension("bin");
        let bin = Map::open(&bin_path).map_err(|error| match error.source.kind() {
            std::io::ErrorKind::NotFound => {
                OpenIrError::MissingBin { xml: xml_path.to_owned(), bin: bin_path }
            }
            _ => error.into(),
        })?;
        let text = std::str::from_utf8(&xml)
            .map_err(|source| OpenIrError::Encoding { path: xml_path.to_owned(), source })?;
        // Some tools begin UTF-8 with a byte order mark, which says nothing.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        IrModel::from_text(xml_path, text.to_owned(), bin).map_err(|fault| invalid(xml_path, fault))
    }

    fn from_text(xml_path: &Path, text: String, bin: Map) -> Result<IrModel, Fault> {
        let index = Index::build(&text, bin.len() as u64)?;
        Ok(IrModel { xml_path: xml_path.to_owned(), text, index, bin })
    }

    /// The XML, with every edit that was made.
    pub fn xml(&self) -> &str {
        &self.text
    }

    /// Where the XML was read from.
    pub fn xml_path(&self) -> &Path {
        &self.xml_path
    }

    /// The constants' bytes. Edits never change them.
    pub fn bin(&self) -> &Map {
        &self.bin
    }

    /// Every layer, in the order of the text.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = Layer<'_>> {
        self.index.layers.iter().map(|&record| Layer { model: self, record })
    }

    /// The layer with this id.
    pub fn layer(&self, id: u32) -> Option<Layer<'_>> {
        self.index.layer(id).map(|record| Layer { model: self, record })
    }

    /// Every edge, by the layer and port that it leads to.
    pub fn edges(&self) -> &[Edge] {
        &self.index.edges
    }

    /// What the caller must give, in the order that a runtime numbers inputs.
    pub fn parameters(&self) -> Vec<Parameter> {
        self.layers().filter(|layer| layer.kind() == "Parameter").map(parameter).collect()
    }

    /// What the model answers, in the order that a runtime numbers outputs.
    pub fn results(&self) -> Vec<ModelResult> {
        self.layers().filter(|layer| layer.kind() == "Result").map(result).collect()
    }

    /// The states that live from one call to the next, by their `ReadValue` layers.
    pub fn variables(&self) -> Vec<Variable> {
        self.layers().filter(|layer| layer.kind() == "ReadValue").map(variable).collect()
    }

    /// Every constant, in the order of the text.
    pub fn constants(&self) -> impl Iterator<Item = Constant<'_>> {
        self.layers().filter_map(|layer| layer.constant())
    }

    /// The bytes of a constant.
    pub fn constant_bytes(&self, constant: &Constant<'_>) -> &[u8] {
        let at = |position: u64| usize::try_from(position).unwrap_or(usize::MAX);
        self.bin.get(at(constant.range.start)..at(constant.range.end)).unwrap_or_default()
    }

    /// A value of the model's own `rt_info`, by the names that lead to it: `["nncf", "version"]`.
    pub fn rt_info(&self, path: &[&str]) -> Option<String> {
        self.index.rt_info.and_then(|start| rt_info::find(&self.text, start, path))
    }

    /// How NNCF says that it compressed the weights; none when it does not.
    pub fn weight_compression(&self) -> Option<WeightCompression> {
        WeightCompression::read(self)
    }
}

/// One input of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The tensor's names, or the layer's name when it has none.
    pub names: Vec<String>,
    /// The type of its elements.
    pub element_type: ElementType,
    /// Sizes, outermost first; none when the rank is not known.
    pub dims: Option<Vec<Dim>>,
}

/// One output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelResult {
    /// The tensor's names, or the giving layer's name when it has none.
    pub names: Vec<String>,
    /// The type of its elements; `Dynamic` when the text does not say.
    pub element_type: ElementType,
    /// Sizes, outermost first.
    pub dims: Vec<Dim>,
}

/// One state of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// What ties the `ReadValue` to its `Assign`.
    pub id: String,
    /// The type of its elements.
    pub element_type: ElementType,
    /// Sizes, outermost first; none when the rank is not known.
    pub dims: Option<Vec<Dim>>,
}

fn parameter(layer: Layer<'_>) -> Parameter {
    let names = layer.outputs().next().map(|port| port.names()).unwrap_or_default();
    Parameter {
        names: or_name_of(names, layer),
        element_type: type_attribute(layer, "element_type").unwrap_or(ElementType::Dynamic),
        dims: shape_attribute(layer, "shape").unwrap_or_default(),
    }
}

fn result(layer: Layer<'_>) -> ModelResult {
    let input = layer.inputs().next();
    let source = input.as_ref().and_then(|input| layer.source_of(input.id));
    let given = source.and_then(|(giver, port_id)| {
        giver.outputs().find(|port| port.id == port_id).map(|port| port.names())
    });
    let precision = input.as_ref().map(|input| input.precision.as_ref()).unwrap_or_default();
    ModelResult {
        names: or_name_of(given.unwrap_or_default(), source.map_or(layer, |(giver, _)| giver)),
        element_type: ElementType::parse(precision).unwrap_or(ElementType::Dynamic),
        dims: input.map(|input| input.dims).unwrap_or_default(),
    }
}

fn variable(layer: Layer<'_>) -> Variable {
    let output = layer.outputs().next();
    let precision = output.as_ref().map(|port| port.precision.as_ref()).unwrap_or_default();
    let element_type = type_attribute(layer, "variable_type");
    let dims = shape_attribute(layer, "variable_shape");
    Variable {
        id: layer.attribute("variable_id").unwrap_or_default().into_owned(),
        // Old operation sets tell type and shape by the port alone.
        element_type: element_type
            .or_else(|| ElementType::parse(precision))
            .unwrap_or(ElementType::Dynamic),
        dims: dims.unwrap_or_else(|| output.map(|port| port.dims)),
    }
}

fn or_name_of(mut names: Vec<String>, layer: Layer<'_>) -> Vec<String> {
    if names.is_empty() {
        names.push(layer.name().into_owned());
    }
    names
}

fn type_attribute(layer: Layer<'_>, key: &str) -> Option<ElementType> {
    layer.attribute(key).and_then(|name| ElementType::parse(&name))
}

fn shape_attribute(layer: Layer<'_>, key: &str) -> Option<Option<Vec<Dim>>> {
    layer.attribute(key).and_then(|text| shape::parse_shape(&text))
}

fn invalid(path: &Path, fault: Fault) -> OpenIrError {
    let Fault { offset, layer, expected, found } = fault;
    OpenIrError::Invalid { path: path.to_owned(), layer, offset, expected, found }
}

#[cfg(test)]
mod tests;
