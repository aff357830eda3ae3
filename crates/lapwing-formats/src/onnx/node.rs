//! Making nodes and attributes, and looking into them.

use bytes::Bytes;
use prost::{DecodeError, Message};

use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use super::wire;

/// `AttributeProto.type` of a float.
const ATTRIBUTE_FLOAT: i32 = 1;
/// `AttributeProto.type` of an integer.
const ATTRIBUTE_INT: i32 = 2;
/// `AttributeProto.type` of a string.
const ATTRIBUTE_STRING: i32 = 3;
/// `AttributeProto.type` of a graph.
const ATTRIBUTE_GRAPH: i32 = 5;
/// `AttributeProto.type` of a list of integers.
const ATTRIBUTE_INTS: i32 = 7;

impl TensorProto {
    /// [`TensorProto::data_location`] of elements in another file.
    pub const EXTERNAL: i32 = 1;

    /// Whether the elements are in another file.
    pub fn is_external(&self) -> bool {
        self.data_location == Some(Self::EXTERNAL)
    }
}

impl AttributeProto {
    /// An integer attribute.
    pub fn int(name: &str, value: i64) -> AttributeProto {
        AttributeProto { i: Some(value), ..Self::typed(name, ATTRIBUTE_INT) }
    }

    /// A list of integers.
    pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
        AttributeProto { ints: values.to_vec(), ..Self::typed(name, ATTRIBUTE_INTS) }
    }

    /// A float attribute.
    pub fn float(name: &str, value: f32) -> AttributeProto {
        AttributeProto { f: Some(value), ..Self::typed(name, ATTRIBUTE_FLOAT) }
    }

    /// A string attribute.
    pub fn string(name: &str, value: &str) -> AttributeProto {
        let s = Some(Bytes::copy_from_slice(value.as_bytes()));
        AttributeProto { s, ..Self::typed(name, ATTRIBUTE_STRING) }
    }

    /// A body that a node runs.
    pub fn graph(name: &str, body: &GraphProto) -> AttributeProto {
        let g = Some(body.encode_to_vec().into());
        AttributeProto { g, ..Self::typed(name, ATTRIBUTE_GRAPH) }
    }

    fn typed(name: &str, number: i32) -> AttributeProto {
        AttributeProto {
            name: Some(name.to_owned()),
            r#type: Some(number),
            ..AttributeProto::default()
        }
    }
}

impl NodeProto {
    /// A node `domain.op_type` without attributes.
    pub fn new(domain: &str, op_type: &str, input: &[&str], output: &[&str]) -> NodeProto {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        NodeProto {
            input: owned(input),
            output: owned(output),
            op_type: Some(op_type.to_owned()),
            domain: (!domain.is_empty()).then(|| domain.to_owned()),
            ..NodeProto::default()
        }
    }

    /// The node with one more attribute.
    #[must_use]
    pub fn with(mut self, attribute: AttributeProto) -> NodeProto {
        self.attributes.push(attribute.encode_to_vec().into());
        self
    }

    /// The node as [`super::proto::GraphProto::node`] holds it.
    pub fn encoded(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// The attribute `name`, decoded; none when the node has no such attribute.
    ///
    /// # Errors
    ///
    /// When the attribute is malformed.
    pub fn attribute(&self, name: &str) -> Result<Option<AttributeProto>, DecodeError> {
        let is_named = |encoded: &&Bytes| {
            wire::payloads(encoded, 1).last().is_some_and(|found| found == name.as_bytes())
        };
        let encoded = self.attributes.iter().find(is_named);
        encoded.map(|encoded| AttributeProto::decode(encoded.clone())).transpose()
    }

    /// Every attribute, decoded.
    pub fn attributes(&self) -> impl Iterator<Item = Result<AttributeProto, DecodeError>> {
        self.attributes.iter().map(|encoded| AttributeProto::decode(encoded.clone()))
    }

    /// The bodies that the node runs (`If`, `Loop`, `Scan`), encoded `GraphProto`s.
    pub fn encoded_subgraphs(&self) -> impl Iterator<Item = Bytes> {
        self.attributes.iter().flat_map(|attribute| {
            let bodies = wire::payloads(attribute, 6).chain(wire::payloads(attribute, 11));
            bodies.map(|body| attribute.slice_ref(body))
        })
    }
}
