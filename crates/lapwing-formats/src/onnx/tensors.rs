//! Every tensor of a model, wherever one may be.
//!
//! A runtime finds the elements of a tensor in another file not only where it is a weight of the
//! main graph: bodies of `If` and `Loop`, attributes of `Constant`, sparse weights and functions hold
//! tensors too. Whoever checks, renames or watches such files walks over all of them here. What is for
//! training (`training_info`) no runtime reads.

use bytes::Bytes;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::OnnxModel;
use super::proto::{NodeProto, TensorProto};
use super::{budget, wire};

/// Subgraphs in subgraphs that are still looked into.
pub(super) const N_LEVELS_MAX: usize = 16;

/// What ends a walk over tensors.
#[derive(Debug)]
pub(super) enum Stop<E> {
    /// What holds tensors is malformed, or a subgraph lies too deep in others.
    Unreadable {
        /// The node of the main graph that it belongs to; empty where that is none.
        node: String,
    },
    /// What was done with a tensor failed.
    Failed(E),
}

/// What a message is, as far as tensors may be in it. The messages and numbers are those of
/// [`super::proto`], and of `SparseTensorProto` and `FunctionProto`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Graph,
    Node,
    Attribute,
    SparseTensor,
    Function,
    Tensor,
}

impl Kind {
    /// What the field `tag` holds.
    fn child(self, tag: u64) -> Option<Kind> {
        match (self, tag) {
            (Kind::Graph, 1) | (Kind::Function, 7) => Some(Kind::Node),
            (Kind::Node, 5) | (Kind::Function, 11) => Some(Kind::Attribute),
            (Kind::Attribute, 6 | 11) => Some(Kind::Graph),
            (Kind::Attribute, 22 | 23) | (Kind::Graph, 15) => Some(Kind::SparseTensor),
            (Kind::Graph, 5) | (Kind::Attribute, 5 | 10) | (Kind::SparseTensor, 1 | 2) => {
                Some(Kind::Tensor)
            }
            _ => None,
        }
    }
}

/// What is done with a tensor; whether it was changed.
type OnTensor<'a, E> = &'a mut dyn FnMut(&mut TensorProto) -> Result<bool, E>;

impl OnnxModel {
    /// Show every tensor to `on_tensor`.
    ///
    /// # Errors
    ///
    /// With the first error, or where something is malformed.
    pub(super) fn each_tensor<E>(
        &self,
        on_tensor: &mut dyn FnMut(&TensorProto) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        let graph = self.graph();
        for tensor in &graph.initializer {
            on_tensor(tensor).map_err(Stop::Failed)?;
        }
        let mut look = |tensor: &mut TensorProto| on_tensor(tensor).map(|()| false);
        for (kind, message) in [
            (Kind::SparseTensor, &graph.sparse_initializer),
            (Kind::Node, &graph.node),
            (Kind::Function, &self.proto.functions),
        ]
        .into_iter()
        .flat_map(|(kind, messages)| messages.iter().map(move |message| (kind, message)))
        {
            walk(message, kind, 0, &mut look).map_err(|stop| stop.of(kind, message))?;
        }
        Ok(())
    }

    /// Show every tensor to `on_tensor`, and keep those that it changed.
    ///
    /// # Errors
    ///
    /// As [`OnnxModel::each_tensor`]; some tensors may be changed then.
    pub(super) fn edit_tensors<E>(&mut self, on_tensor: OnTensor<'_, E>) -> Result<(), Stop<E>> {
        for tensor in &mut self.graph_mut().initializer {
            on_tensor(tensor).map_err(Stop::Failed)?;
        }
        let mut edit = |kind, messages: &mut [Bytes]| -> Result<(), Stop<E>> {
            for message in messages {
                let walked = walk(message, kind, 0, on_tensor);
                if let Some(changed) = walked.map_err(|stop| stop.of(kind, message))? {
                    *message = changed;
                }
            }
            Ok(())
        };
        let graph = self.proto.graph.as_mut().expect("decode refuses a model without a graph");
        edit(Kind::SparseTensor, &mut graph.sparse_initializer)?;
        edit(Kind::Node, &mut graph.node)?;
        edit(Kind::Function, &mut self.proto.functions)
    }
}

impl<E> Stop<E> {
    /// The same of a message of the main graph.
    fn of(self, kind: Kind, message: &Bytes) -> Stop<E> {
        match self {
            Stop::Unreadable { .. } if kind == Kind::Node => {
                let node = NodeProto::decode(message.clone()).unwrap_or_default();
                Stop::Unreadable { node: node.name().to_owned() }
            }
            stop => stop,
        }
    }
}

/// Show every tensor in an encoded message to `on_tensor`; the message anew where one was changed.
///
/// Only one tensor at a time is decoded, so that a message of any size costs little memory.
fn walk<E>(
    message: &Bytes,
    kind: Kind,
    level: usize,
    on_tensor: OnTensor<'_, E>,
) -> Result<Option<Bytes>, Stop<E>> {
    let unreadable = || Stop::Unreadable { node: String::new() };
    if kind == Kind::Tensor {
        if !budget::fits_tensor(message) {
            return Err(unreadable());
        }
        let mut tensor = TensorProto::decode(message.clone()).map_err(|_| unreadable())?;
        let is_changed = on_tensor(&mut tensor).map_err(Stop::Failed)?;
        return Ok(is_changed.then(|| tensor.encode_to_vec().into()));
    }
    let level = level + usize::from(kind == Kind::Graph);
    let is_too_much = kind == Kind::Graph && !budget::fits_graph(message);
    if N_LEVELS_MAX < level || is_too_much {
        return Err(unreadable());
    }
    let mut rest = &message[..];
    let mut changed: Option<Vec<u8>> = None;
    while !rest.is_empty() {
        let start = message.len() - rest.len();
        let (tag, payload) = wire::next_field(&mut rest).ok_or_else(unreadable)?;
        let inner = match payload.zip(kind.child(tag)) {
            Some((payload, child)) => walk(&message.slice_ref(payload), child, level, on_tensor)?,
            None => None,
        };
        if let Some(inner) = inner {
            let changed = changed.get_or_insert_with(|| message[..start].to_vec());
            let tag = u32::try_from(tag).expect("fields with tensors have small numbers");
            encode_key(tag, WireType::LengthDelimited, changed);
            encode_varint(inner.len() as u64, changed);
            changed.extend_from_slice(&inner);
        } else if let Some(changed) = &mut changed {
            changed.extend_from_slice(&message[start..message.len() - rest.len()]);
        }
    }
    Ok(changed.map(Bytes::from))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::proto::{AttributeProto, GraphProto, ModelProto, StringStringEntryProto};
    use super::super::{ElementType, Value};
    use super::*;

    /// A tensor `[2, 3]` of f32 in the file `location`.
    pub(in super::super) fn external(location: &str) -> TensorProto {
        let entry = StringStringEntryProto {
            key: Some("location".to_owned()),
            value: Some(location.to_owned()),
        };
        TensorProto {
            dims: vec![2, 3],
            data_type: Some(ElementType::F32.number()),
            name: Some(location.to_owned()),
            external_data: vec![entry],
            data_location: Some(TensorProto::EXTERNAL),
            ..TensorProto::default()
        }
    }

    /// An encoded message with these fields.
    fn message(fields: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (tag, payload) in fields {
            encode_key(*tag, WireType::LengthDelimited, &mut bytes);
            encode_varint(payload.len() as u64, &mut bytes);
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    fn attribute(change: impl FnOnce(&mut AttributeProto)) -> AttributeProto {
        let mut attribute = AttributeProto::int("value", 0);
        change(&mut attribute);
        attribute
    }

    fn constant(change: impl FnOnce(&mut AttributeProto)) -> Bytes {
        node_with(attribute(change))
    }

    fn node_with(attribute: AttributeProto) -> Bytes {
        NodeProto::new("", "Constant", &[], &["c"]).with(attribute).encoded()
    }

    /// Places of a tensor in another file, each with a model that has the tensor `location` there.
    pub(in super::super) fn models(location: &str) -> Vec<(&'static str, ModelProto)> {
        let tensor = external(location);
        let encoded = || tensor.encode_to_vec();
        let sparse = |tag| message(&[(tag, encoded())]);
        let body = |graph: GraphProto| {
            let graph = Bytes::from(graph.encode_to_vec());
            constant(|attribute| attribute.g = Some(graph))
        };
        let graph = || GraphProto {
            output: vec![Value::to_proto("y", ElementType::F32, &[])],
            ..GraphProto::default()
        };
        let of = |graph| ModelProto { graph: Some(graph), ..ModelProto::default() };
        let node = |node| of(GraphProto { node: vec![node], ..graph() });
        let value = constant(|found| found.t = Some(Box::new(tensor.clone())));
        let function = |field| {
            let name = (1, b"f".to_vec());
            let functions = vec![message(&[name, field, (10, b"local".to_vec())]).into()];
            ModelProto { functions, ..of(graph()) }
        };
        let sparse_weights = |tag| vec![Bytes::from(sparse(tag))];
        let default = attribute(|found| found.t = Some(Box::new(tensor.clone())));
        let inner = GraphProto { node: vec![value.clone()], ..GraphProto::default() };
        let inner_sparse =
            GraphProto { sparse_initializer: sparse_weights(1), ..GraphProto::default() };
        let weights = || vec![tensor.clone()];
        vec![
            ("a weight", of(GraphProto { initializer: weights(), ..graph() })),
            ("sparse values", of(GraphProto { sparse_initializer: sparse_weights(1), ..graph() })),
            ("sparse indices", of(GraphProto { sparse_initializer: sparse_weights(2), ..graph() })),
            ("a constant", node(value.clone())),
            ("constants", node(constant(|found| found.tensors = vec![encoded().into()]))),
            (
                "a sparse constant",
                node(constant(|found| found.sparse_tensor = Some(sparse(1).into()))),
            ),
            (
                "sparse constants",
                node(constant(|found| found.sparse_tensors = vec![sparse(2).into()])),
            ),
            (
                "a body's weight",
                node(body(GraphProto { initializer: weights(), ..GraphProto::default() })),
            ),
            ("a body's constant", node(body(inner))),
            ("a body's sparse weight", node(body(inner_sparse))),
            ("a function's node", function((7, value.to_vec()))),
            ("a function's attribute", function((11, default.encode_to_vec()))),
        ]
    }

    fn locations(model: &OnnxModel) -> Vec<String> {
        let mut found = Vec::new();
        let look = &mut |tensor: &TensorProto| -> Result<(), ()> {
            found.extend(tensor.external_data.iter().map(|entry| entry.value().to_owned()));
            Ok(())
        };
        model.each_tensor(look).unwrap();
        found
    }

    #[test]
    fn tensors_are_found_and_changed_wherever_they_are() {
        for (place, proto) in models("w.data") {
            let bytes = Bytes::from(proto.encode_to_vec());
            let mut model = OnnxModel::decode("m.onnx".as_ref(), bytes.clone()).unwrap();
            assert_eq!(locations(&model), ["w.data"], "{place}");
            let keep = &mut |_: &mut TensorProto| Ok::<bool, ()>(false);
            model.edit_tensors(keep).unwrap();
            assert_eq!(model.encode(), bytes, "{place}");
            let rename = &mut |tensor: &mut TensorProto| -> Result<bool, ()> {
                tensor.external_data[0].value = Some("somewhere/else.data".to_owned());
                Ok(true)
            };
            model.edit_tensors(rename).unwrap();
            // What a runtime reads, and nothing else is another.
            let again = OnnxModel::decode("m.onnx".as_ref(), model.encode().into()).unwrap();
            assert_eq!(locations(&again), ["somewhere/else.data"], "{place}");
            let mut back = again;
            let rename = &mut |tensor: &mut TensorProto| -> Result<bool, ()> {
                tensor.external_data[0].value = Some("w.data".to_owned());
                Ok(true)
            };
            back.edit_tensors(rename).unwrap();
            assert_eq!(back.encode(), bytes, "{place}");
        }
    }

    #[test]
    fn what_cannot_be_read_to_its_end_is_an_error() {
        let check = |node: Bytes| {
            let graph = GraphProto {
                node: vec![node],
                output: vec![Value::to_proto("y", ElementType::F32, &[])],
                ..GraphProto::default()
            };
            let proto = ModelProto { graph: Some(graph), ..ModelProto::default() };
            let bytes = proto.encode_to_vec().into();
            let model = OnnxModel::decode("m.onnx".as_ref(), bytes).unwrap();
            let walked = model.each_tensor(&mut |_| Ok::<(), ()>(()));
            matches!(walked, Err(Stop::Unreadable { .. }))
        };
        let body = |bytes: &[u8]| {
            let mut attribute = AttributeProto::int("then_branch", 0);
            attribute.g = Some(Bytes::copy_from_slice(bytes));
            node_with(attribute)
        };
        assert!(check(body(b"\x0a\x7f")), "a node that is cut off");
        assert!(check(body(b"\x2a\x01\xff")), "a weight that is none");
        let nested = |n_levels: usize| {
            let graph = (1..n_levels).fold(GraphProto::default(), |graph, _| {
                let node = vec![body(&graph.encode_to_vec())];
                GraphProto { node, ..GraphProto::default() }
            });
            body(&graph.encode_to_vec())
        };
        assert!(!check(nested(N_LEVELS_MAX)));
        assert!(check(nested(N_LEVELS_MAX + 1)));
        // A million sizes of a weight that has no elements.
        let mut attribute = AttributeProto::int("value", 0);
        let tensor = TensorProto { dims: vec![0; 1_000_000], ..TensorProto::default() };
        attribute.t = Some(Box::new(tensor));
        assert!(check(node_with(attribute)));
    }
}
