//! The output head of a graph: the products that the logits come from.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use prost::{DecodeError, Message};

use super::proto::{GraphProto, NodeProto, TensorProto, ValueInfoProto};
use super::tensors::N_LEVELS_MAX;
use super::{ElementType, wire};

/// Matrix products that a head can be; input 0 is the activation. `Gemm` is named to be refused with
/// its reason: it takes two axes, not `[b, s, h]`.
const HEADS: [&str; 7] = [
    "MatMul",
    "Gemm",
    "MatMulNBits",
    "FusedMatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "MatMulBnb4",
];

/// The names of the vocabulary's axis in `[b, s, v]`.
const LAST_AXES: [i64; 2] = [2, -1];

/// Field numbers of an encoded [`GraphProto`].
pub(super) const GRAPH_NODE: u64 = 1;
const GRAPH_OUTPUT: u64 = 12;

/// Nodes between the head and the logits, and weights' ancestors, are few; a longer walk is a
/// graph made to be long.
const N_STEPS_MAX: usize = 64;

/// From the head to the logits.
pub(super) struct HeadPath {
    /// The head's index among the nodes; of several products that of the first.
    pub(super) head_idx: usize,
    /// All products that are the head.
    pub(super) head_idxs: Vec<usize>,
    /// Values that lose positions: the head's output, …, the logits.
    pub(super) values: HashSet<String>,
}

/// The walk from the logits back to the head.
pub(super) struct Search<'a> {
    pub(super) graph: &'a GraphProto,
    logits: &'a str,
    pub(super) weights: HashSet<&'a str>,
    /// Which node writes a value.
    pub(super) writers: HashMap<String, usize>,
}

impl<'a> Search<'a> {
    pub(super) fn new(graph: &'a GraphProto, logits: &'a str) -> Result<Search<'a>, DecodeError> {
        let mut writers = HashMap::new();
        for (node_idx, node) in graph.node.iter().enumerate() {
            let node = NodeProto::decode(node.clone())?;
            writers.extend(node.output.into_iter().map(|output| (output, node_idx)));
        }
        let weights = graph.initializer.iter().map(TensorProto::name).collect();
        Ok(Search { graph, logits, weights, writers })
    }

    /// The head and the values behind it, or where the search ended.
    pub(super) fn head(&self) -> Result<HeadPath, String> {
        let mut values = HashSet::new();
        let mut chain = HashSet::new();
        let mut heads: Vec<(usize, String)> = Vec::new();
        let mut pending = vec![self.logits.to_owned()];
        for _ in 0..N_STEPS_MAX {
            let Some(value) = pending.pop() else { break };
            let Some((node_idx, node)) = self.writer(&value) else {
                return Err(format!("{value} is not computed by a node"));
            };
            values.insert(value);
            if HEADS.contains(&node.op_type()) {
                self.check_head(&node)?;
                heads.push((node_idx, first(&node.input).to_owned()));
                continue;
            }
            chain.insert(node_idx);
            pending.extend(self.previous(&node)?.into_iter().map(str::to_owned));
        }
        if !pending.is_empty() {
            return Err(format!("no head within {N_STEPS_MAX} nodes of {}", self.logits));
        }
        if let Some(pair) = heads.windows(2).find(|pair| pair[0].1 != pair[1].1) {
            return Err(format!("the heads multiply both {} and {}", pair[0].1, pair[1].1));
        }
        self.check_readers(&values, &chain)?;
        let head_idxs: Vec<usize> = heads.into_iter().map(|(head_idx, _)| head_idx).collect();
        match head_idxs.iter().copied().min() {
            Some(head_idx) => Ok(HeadPath { head_idx, head_idxs, values }),
            None => Err(format!("no head before {}", self.logits)),
        }
    }

    /// The node that writes a value.
    pub(super) fn writer(&self, value: &str) -> Option<(usize, NodeProto)> {
        let &node_idx = self.writers.get(value)?;
        Some((node_idx, NodeProto::decode(self.graph.node[node_idx].clone()).ok()?))
    }

    /// The inputs that come from the head: one of an elementwise node, all parts of a vocabulary.
    fn previous<'n>(&self, node: &'n NodeProto) -> Result<Vec<&'n str>, String> {
        let ended = || format!("{} is written by {}", first(&node.output), node.op_type());
        if !node.domain().is_empty() && node.domain() != "ai.onnx" {
            return Err(ended());
        }
        let carried = match (node.op_type(), node.input.as_slice()) {
            ("Cast" | "Identity" | "Tanh", [only]) => only,
            ("Div", [left, right]) if self.spans_no_positions(right) => left,
            ("Mul" | "Add", [left, right]) if self.spans_no_positions(right) => left,
            ("Mul" | "Add", [left, right]) if self.spans_no_positions(left) => right,
            ("Slice", [whole, _, _, axes]) if self.is_last_axis(axes) => whole,
            ("Concat", parts) if !parts.is_empty() => {
                let axis = node.attribute("axis").ok().flatten().map(|axis| axis.i());
                if !axis.is_some_and(|axis| LAST_AXES.contains(&axis)) {
                    return Err(ended());
                }
                return Ok(parts.iter().map(String::as_str).collect());
            }
            _ => return Err(ended()),
        };
        Ok(vec![carried])
    }

    /// Whether a weight is the one number of the last axis of `[b, s, v]`.
    fn is_last_axis(&self, name: &str) -> bool {
        let weight = self.graph.initializer.iter().find(|weight| weight.name() == name);
        let is_i64 = |weight: &&TensorProto| {
            weight.data_type() == ElementType::I64.number() && weight.dims == [1]
        };
        let bytes = weight.filter(is_i64).and_then(|weight| weight.raw_data.as_deref());
        bytes.is_some_and(|bytes| LAST_AXES.iter().any(|axis| bytes == axis.to_le_bytes()))
    }

    /// The head must multiply an activation by weights, and have it to itself in this position.
    fn check_head(&self, head: &NodeProto) -> Result<(), String> {
        let [activation, weight, ..] = head.input.as_slice() else {
            return Err(format!("{} has fewer than two inputs", head.op_type()));
        };
        if !self.spans_no_positions(weight) {
            return Err(format!("{} multiplies two activations", head.op_type()));
        }
        if self.spans_no_positions(activation) {
            return Err(format!("the activation {activation} of {} is constant", head.op_type()));
        }
        // A transposed or rank-2 activation has its positions on another axis.
        let transposed = |name: &str| match head.attribute(name) {
            Ok(attribute) => attribute.is_some_and(|attribute| attribute.i() != 0),
            Err(_) => true,
        };
        if head.op_type() == "Gemm" || transposed("transA") || transposed("transBatchA") {
            return Err(format!("the activation of {} is not [b, s, h]", head.op_type()));
        }
        // Zero points with one entry a row of the activation would have to be sliced too.
        let others = head.input.iter().skip(2).filter(|name| !name.is_empty());
        match others.into_iter().find(|name| !self.spans_no_positions(name)) {
            Some(name) => Err(format!("{} also reads {name}", head.op_type())),
            None => Ok(()),
        }
    }

    /// Nobody but the way to the logits may read a value that loses positions.
    fn check_readers(
        &self,
        values: &HashSet<String>,
        chain: &HashSet<usize>,
    ) -> Result<(), String> {
        let elsewhere = |name: &str| Err(format!("{name} is also used elsewhere"));
        for (node_idx, node) in self.graph.node.iter().enumerate() {
            if chain.contains(&node_idx) {
                continue;
            }
            match reads(node, values, 0) {
                Ok(None) => {}
                Ok(Some(name)) => return elsewhere(&name),
                Err(error) => return Err(format!("a subgraph cannot be read: {error}")),
            }
        }
        let mut outputs = self.graph.output.iter().map(|output| output.name());
        match outputs.find(|&name| name != self.logits && values.contains(name)) {
            Some(name) => elsewhere(name),
            None => Ok(()),
        }
    }

    /// Whether a value is built from weights, and from the scales and zero points of activations
    /// that are quantised as a whole: it has no position axis to slice.
    fn spans_no_positions(&self, name: &str) -> bool {
        let mut pending = vec![name.to_owned()];
        for _ in 0..N_STEPS_MAX {
            let Some(name) = pending.pop() else { return true };
            if name.is_empty() || self.weights.contains(name.as_str()) {
                continue;
            }
            let Some((_, node)) = self.writer(&name) else { return false };
            if node.encoded_subgraphs().next().is_some() || node.op_type().starts_with("Random") {
                return false;
            }
            let is_codes = first(&node.output) == name;
            if node.op_type() != "DynamicQuantizeLinear" || is_codes {
                pending.extend(node.input);
            }
        }
        false
    }
}

fn first(names: &[String]) -> &str {
    names.first().map_or("", String::as_str)
}

/// The first of `names` that an encoded node, or a body in it, reads.
fn reads(
    node: &Bytes,
    names: &HashSet<String>,
    level: usize,
) -> Result<Option<String>, DecodeError> {
    let node = NodeProto::decode(node.clone())?;
    if let Some(name) = node.input.iter().find(|name| names.contains(*name)) {
        return Ok(Some(name.clone()));
    }
    // `OnnxModel::open` refuses deeper bodies.
    if level == N_LEVELS_MAX {
        return Ok(None);
    }
    for body in node.encoded_subgraphs() {
        for inner in wire::payloads(&body, GRAPH_NODE) {
            if let Some(name) = reads(&body.slice_ref(inner), names, level + 1)? {
                return Ok(Some(name));
            }
        }
        // A body may also hand an outer value on as its result.
        for output in wire::payloads(&body, GRAPH_OUTPUT) {
            let output = ValueInfoProto::decode(body.slice_ref(output))?;
            if names.contains(output.name()) {
                return Ok(Some(output.name().to_owned()));
            }
        }
    }
    Ok(None)
}
