//! What a decoded model would allocate, counted before it is decoded.
//!
//! Two bytes of protobuf can say "one more empty weight", and a weight's description is some hundred
//! bytes of memory. A real model needs about its graph file again; a hostile one a hundred times
//! that. Counting
//! needs no allocation and skips the weights.

use super::proto::{
    DimensionProto, GraphProto, OperatorSetIdProto, StringStringEntryProto, TensorProto, TypeProto,
    ValueInfoProto,
};
use bytes::Bytes;

use super::wire;

/// Bytes of memory allowed for each byte of the file.
const FACTOR: u64 = 4;

/// Bytes of memory allowed for any file.
const FLOOR: u64 = 256 * 1024;

/// Which message a length-delimited field holds, as far as [`super::proto`] decodes it.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Tensor,
    Value,
    Type,
    TensorType,
    Shape,
    Dim,
    Entry,
    OperatorSet,
    /// A string, or bytes that stay encoded.
    Leaf,
}

/// Whether the decoded model stays within [`FACTOR`] times `n_file_bytes` and [`FLOOR`].
///
/// Malformed bytes are counted as far as they can be read; the decoder refuses them later.
pub(super) fn fits(model: &[u8]) -> bool {
    count(model, Kind::Model) <= limit(model.len())
}

/// The same for an encoded subgraph.
pub(super) fn fits_graph(graph: &[u8]) -> bool {
    count(graph, Kind::Graph) <= limit(graph.len())
}

/// The same for an encoded tensor.
pub(super) fn fits_tensor(tensor: &[u8]) -> bool {
    count(tensor, Kind::Tensor) <= limit(tensor.len())
}

/// An empty graph with room for what the encoded model's graph will bring, so that decoding never
/// has to move its large lists; none when there is no graph.
pub(super) fn reserve(model: &[u8]) -> Option<GraphProto> {
    let graph = wire::payloads(model, 7).next()?;
    let n_of = |tag: u64| wire::payloads(graph, tag).count();
    Some(GraphProto {
        node: Vec::with_capacity(n_of(1)),
        initializer: Vec::with_capacity(n_of(5)),
        input: Vec::with_capacity(n_of(11)),
        output: Vec::with_capacity(n_of(12)),
        value_info: Vec::with_capacity(n_of(13)),
        ..GraphProto::default()
    })
}

fn limit(n_file_bytes: usize) -> u64 {
    (n_file_bytes as u64).saturating_mul(FACTOR).saturating_add(FLOOR)
}

/// Bytes of memory that the fields of one message need.
fn count(mut message: &[u8], kind: Kind) -> u64 {
    let mut n_bytes = 0u64;
    // Nodes stay encoded, and are decoded one at a time.
    let mut n_node_bytes = 0u64;
    while let Some((tag, payload)) = wire::next_field(&mut message) {
        let Some(payload) = payload else {
            // Only sizes (`dims`) repeat; eight bytes each, and room to grow.
            n_bytes += 16;
            continue;
        };
        // A vector that grows by doubling holds up to twice its elements; the graph's are reserved.
        let n_copies = if matches!(kind, Kind::Graph) { 1 } else { 2 };
        match child_of(kind, tag) {
            Kind::Leaf => n_bytes += leaf(kind, tag, payload.len() as u64),
            Kind::Node => {
                n_bytes += size_of::<Bytes>() as u64;
                n_node_bytes = n_node_bytes.max(count(payload, Kind::Node));
            }
            child => n_bytes += n_copies * size_of_kind(child) + count(payload, child),
        }
    }
    n_bytes + n_node_bytes
}

/// A string or bytes: what a list of them needs an entry, and the copy of a string.
fn leaf(kind: Kind, tag: u64, n_payload_bytes: u64) -> u64 {
    match (kind, tag) {
        // Packed sizes: at least a byte each, eight in memory, and room to grow.
        (Kind::Tensor, 1) => 24 * n_payload_bytes,
        (Kind::Node, 1 | 2) => 2 * size_of::<String>() as u64 + n_payload_bytes,
        (Kind::Graph, 13) => size_of::<Bytes>() as u64,
        (Kind::Graph, 14..=16)
        | (Kind::Node, 5 | 9 | 10)
        | (Kind::Tensor, 4..=7 | 10 | 11 | 16)
        | (Kind::Value, 4)
        | (Kind::Model, 20..=26) => 2 * size_of::<Bytes>() as u64,
        (Kind::Tensor, 3 | 9) | (Kind::Type, 4 | 5 | 7..=9) => 0,
        _ => n_payload_bytes,
    }
}

fn child_of(kind: Kind, tag: u64) -> Kind {
    match (kind, tag) {
        (Kind::Model, 7) => Kind::Graph,
        (Kind::Model, 8) => Kind::OperatorSet,
        (Kind::Model, 14) | (Kind::Tensor, 13) => Kind::Entry,
        (Kind::Graph, 1) => Kind::Node,
        (Kind::Graph, 5) => Kind::Tensor,
        (Kind::Graph, 11 | 12) => Kind::Value,
        (Kind::Value, 2) => Kind::Type,
        (Kind::Type, 1) => Kind::TensorType,
        (Kind::TensorType, 2) => Kind::Shape,
        (Kind::Shape, 1) => Kind::Dim,
        _ => Kind::Leaf,
    }
}

fn size_of_kind(kind: Kind) -> u64 {
    let n_bytes = match kind {
        Kind::Graph => size_of::<GraphProto>(),
        Kind::Tensor => size_of::<TensorProto>(),
        Kind::Value => size_of::<ValueInfoProto>(),
        Kind::Type => size_of::<TypeProto>(),
        Kind::Dim => size_of::<DimensionProto>(),
        Kind::Entry => size_of::<StringStringEntryProto>(),
        Kind::OperatorSet => size_of::<OperatorSetIdProto>(),
        Kind::Model | Kind::Node | Kind::TensorType | Kind::Shape | Kind::Leaf => 0,
    };
    n_bytes as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{ModelProto, NodeProto};
    use prost::Message;

    fn model(graph: GraphProto) -> Vec<u8> {
        ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec()
    }

    #[test]
    fn a_million_empty_nodes_are_refused() {
        let node = vec![Bytes::new(); 1_000_000];
        assert!(!fits(&model(GraphProto { node, ..GraphProto::default() })));
    }

    #[test]
    fn a_million_empty_names_are_refused() {
        let input = vec![String::new(); 1_000_000];
        let node = NodeProto { input, ..NodeProto::default() }.encode_to_vec();
        let node = vec![node.into()];
        assert!(!fits(&model(GraphProto { node, ..GraphProto::default() })));
    }

    #[test]
    fn weights_cost_nothing() {
        let weight = TensorProto { raw_data: Some(vec![7; 1 << 20].into()), ..Default::default() };
        let bytes = model(GraphProto { initializer: vec![weight; 4], ..GraphProto::default() });
        assert!(count(&bytes, Kind::Model) < 10_000, "{}", count(&bytes, Kind::Model));
    }
}
