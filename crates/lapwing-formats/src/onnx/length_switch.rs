//! Where a graph computes otherwise once a sequence is longer than so many positions.
//!
//! LongRoPE has two sets of rotary factors, and the length of the *whole* sequence chooses between
//! them. Its graphs compare that length with a constant:
//!
//! ```text
//! attention_mask ── Shape ── Gather(1) ─┐
//! attention_mask ── ReduceSum ──────────┼─ Cast, Add 1, … ── Greater(4096) ── If or Where
//! position_ids ─── ReduceMax ───────────┘
//! ```
//!
//! Such graphs are found by this computation, whatever their values are called. Who runs one must
//! know: keys that were computed on one side of the switch do not fit queries of the other.

use std::collections::HashMap;

use bytes::Bytes;
use prost::{DecodeError, Message};

use super::OnnxModel;
use super::edit::GRAPH_NODE;
use super::proto::{NodeProto, TensorProto};
use super::tensors::N_LEVELS_MAX;
use super::wire;

/// Inputs that tell the length of the whole sequence: one entry a position that was ever seen, and
/// the positions of the new tokens.
const MASK: &str = "attention_mask";
const POSITIONS: &str = "position_ids";

/// `TensorProto.data_type` of the constants that lengths are compared with.
const FLOAT: i32 = 1;
const INT32: i32 = 6;
const INT64: i32 = 7;

/// A value, as far as it is about the length of the sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    /// The input [`MASK`], `[batch, length]`.
    Mask,
    /// The input [`POSITIONS`].
    Positions,
    /// The sizes of the mask: `[batch, length]`.
    MaskSizes,
    /// The length of the sequence and this much.
    Length(f64),
    /// One number.
    Constant(f64),
}

/// The lengths at which `model` changes what it computes: a sequence of more positions than one of
/// these is computed otherwise than one of as many. Sorted; usually none.
///
/// # Errors
///
/// When a part of the graph is malformed.
pub fn length_switches(model: &OnnxModel) -> Result<Vec<u64>, DecodeError> {
    let mut known = HashMap::new();
    for input in model.inputs() {
        let meaning = match input.name.as_str() {
            MASK => Known::Mask,
            POSITIONS => Known::Positions,
            _ => continue,
        };
        known.insert(input.name, meaning);
    }
    let constants = model.graph().initializer.iter().filter_map(|weight| {
        Some((weight.name().to_owned(), Known::Constant(only_number(weight)?)))
    });
    known.extend(constants);
    let mut switches = Vec::new();
    walk(&mut model.graph().node.iter().cloned(), &mut known, 0, &mut switches)?;
    switches.sort_unstable();
    switches.dedup();
    Ok(switches)
}

/// Follow what is known through nodes, which are sorted, and through their bodies, which see all that
/// is outside of them. Bodies side by side may use one name for two values.
fn walk(
    nodes: &mut dyn Iterator<Item = Bytes>,
    known: &mut HashMap<String, Known>,
    level: usize,
    switches: &mut Vec<u64>,
) -> Result<(), DecodeError> {
    for encoded in nodes {
        let node = NodeProto::decode(encoded)?;
        let input = |index: usize| node.input.get(index).and_then(|name| known.get(name)).copied();
        switches.extend(switch(node.op_type(), input(0), input(1)));
        let mut meaning = meaning(&node, &input)?;
        for output in &node.output {
            match meaning.take() {
                Some(meaning) => known.insert(output.clone(), meaning),
                None => known.remove(output),
            };
        }
        // `OnnxModel::open` refuses deeper bodies.
        if level == N_LEVELS_MAX {
            continue;
        }
        for body in node.encoded_subgraphs() {
            let mut inner = wire::payloads(&body, GRAPH_NODE).map(|node| body.slice_ref(node));
            walk(&mut inner, known, level + 1, switches)?;
        }
    }
    Ok(())
}

/// What the first output of a node is.
fn meaning(
    node: &NodeProto,
    input: &dyn Fn(usize) -> Option<Known>,
) -> Result<Option<Known>, DecodeError> {
    use Known::{Constant, Length, Mask, MaskSizes, Positions};
    let is_largest = |number: Option<Known>| matches!(number, Some(Constant(1.0 | -1.0)));
    Ok(match (node.op_type(), input(0), input(1)) {
        ("Constant", ..) => constant(node)?.map(Constant),
        ("Shape", Some(Mask), _) => match node.attribute("start")?.map(|start| start.i()) {
            None | Some(0) => Some(MaskSizes),
            Some(_) => Some(Length(0.0)),
        },
        // The second of two sizes is also the last.
        ("Gather" | "Slice", Some(MaskSizes), second) if is_largest(second) => Some(Length(0.0)),
        ("ReduceSum", Some(Mask), _) => Some(Length(0.0)),
        ("ReduceMax", Some(Positions), _) => Some(Length(-1.0)),
        ("ReduceMax", length @ Some(Length(_)), _) => length,
        ("Cast" | "Identity" | "Squeeze" | "Unsqueeze" | "Reshape", known, _) => known,
        ("Add", Some(Length(by)), Some(Constant(more)))
        | ("Add", Some(Constant(more)), Some(Length(by))) => Some(Length(by + more)),
        ("Sub", Some(Length(by)), Some(Constant(less))) => Some(Length(by - less)),
        _ => None,
    })
}

/// The length behind which a comparison turns over, when it is one of the length with a number.
fn switch(op_type: &str, left: Option<Known>, right: Option<Known>) -> Option<u64> {
    use Known::{Constant, Length};
    let (op_type, by, number) = match (left, right) {
        (Some(Length(by)), Some(Constant(number))) => (op_type, by, number),
        (Some(Constant(number)), Some(Length(by))) => (mirrored(op_type), by, number),
        _ => return None,
    };
    let last = match op_type {
        "Greater" | "LessOrEqual" => (number - by).floor(),
        "GreaterOrEqual" | "Less" => (number - by).ceil() - 1.0,
        _ => return None,
    };
    // Every sequence has a position, and no one has as many as these.
    (1.0..f64::from(i32::MAX)).contains(&last).then_some(last as u64)
}

fn mirrored(op_type: &str) -> &str {
    match op_type {
        "Greater" => "Less",
        "Less" => "Greater",
        "GreaterOrEqual" => "LessOrEqual",
        "LessOrEqual" => "GreaterOrEqual",
        other => other,
    }
}

/// The number of a `Constant` node that holds one.
fn constant(node: &NodeProto) -> Result<Option<f64>, DecodeError> {
    if let Some(attribute) = node.attribute("value")? {
        return Ok(attribute.t.as_deref().and_then(only_number));
    }
    if let Some(attribute) = node.attribute("value_int")? {
        return Ok(Some(attribute.i() as f64));
    }
    Ok(node.attribute("value_float")?.map(|attribute| f64::from(attribute.f())))
}

/// The number of a tensor that holds one, in the graph file.
fn only_number(tensor: &TensorProto) -> Option<f64> {
    if tensor.is_external() || tensor.dims.iter().any(|&size| size != 1) {
        return None;
    }
    let raw = tensor.raw_data.as_deref();
    let packed = |data: &[Bytes]| wire::varint(&mut data.first()?.as_ref());
    let float = |bytes: &[u8]| Some(f32::from_le_bytes(bytes.try_into().ok()?).into());
    match (tensor.data_type(), raw) {
        (INT64, Some(raw)) => Some(i64::from_le_bytes(raw.try_into().ok()?) as f64),
        (INT64, None) => Some(packed(&tensor.int64_data)?.cast_signed() as f64),
        (INT32, Some(raw)) => Some(i32::from_le_bytes(raw.try_into().ok()?).into()),
        (INT32, None) => Some(packed(&tensor.int32_data)?.cast_signed() as f64),
        (FLOAT, Some(raw)) => float(raw),
        (FLOAT, None) => float(tensor.float_data.first()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::proto::{AttributeProto, GraphProto, ModelProto};
    use super::super::{Dim, ElementType, Value};
    use super::*;

    fn number(name: &str, value: i64) -> TensorProto {
        TensorProto {
            data_type: Some(INT64),
            name: Some(name.to_owned()),
            raw_data: Some(Bytes::copy_from_slice(&value.to_le_bytes())),
            ..TensorProto::default()
        }
    }

    fn node(op_type: &str, input: &[&str], output: &str) -> NodeProto {
        NodeProto::new("", op_type, input, &[output])
    }

    fn model(nodes: &[NodeProto]) -> OnnxModel {
        let input = |name: &str| {
            Value::to_proto(name, ElementType::I64, &[Dim::symbol("batch"), Dim::symbol("length")])
        };
        let graph = GraphProto {
            node: nodes.iter().map(NodeProto::encoded).collect(),
            initializer: vec![number("one", 1), number("limit", 256)],
            input: [MASK, POSITIONS, "input_ids"].map(input).to_vec(),
            output: vec![input("out")],
            ..GraphProto::default()
        };
        let proto = ModelProto { graph: Some(graph), ..ModelProto::default() };
        OnnxModel::decode(Path::new("model.onnx"), proto.encode_to_vec().into())
            .expect("it decodes")
    }

    fn check(nodes: &[NodeProto], expected: &[u64]) {
        assert_eq!(length_switches(&model(nodes)).expect("it is read"), expected);
    }

    #[test]
    fn lengths_that_are_compared_with_a_number_are_found() {
        let sizes = node("Shape", &[MASK], "sizes");
        let from_sizes = [sizes.clone(), node("Gather", &["sizes", "one"], "length")];
        let from_last = [node("Shape", &[MASK], "length").with(AttributeProto::int("start", 1))];
        let from_sum = [node("ReduceSum", &[MASK, "one"], "length")];
        let from_positions = [
            node("ReduceMax", &[POSITIONS], "last"),
            node("Cast", &["last"], "last_i32"),
            node("Add", &["one", "last_i32"], "length"),
        ];
        let ways: [&[NodeProto]; 4] = [&from_sizes, &from_last, &from_sum, &from_positions];
        for way in ways {
            for (op_type, expected, mirrored) in [
                ("Greater", 256, 255),
                ("GreaterOrEqual", 255, 256),
                ("Less", 255, 256),
                ("LessOrEqual", 256, 255),
            ] {
                let compared = node(op_type, &["length", "limit"], "is_long");
                check(&[way, &[compared]].concat(), &[expected]);
                let compared = node(op_type, &["limit", "length"], "is_long");
                check(&[way, &[compared]].concat(), &[mirrored]);
            }
        }
        // One less than the length.
        let last = [&from_sum[..], &[node("Sub", &["length", "one"], "last")]].concat();
        check(&[last, vec![node("Greater", &["last", "limit"], "is_long")]].concat(), &[257]);
    }

    #[test]
    fn a_body_sees_what_is_outside_of_it() {
        let inner = GraphProto {
            node: vec![node("Greater", &["length", "limit"], "is_long").encoded()],
            output: vec![Value::to_proto("is_long", ElementType::I64, &[])],
            ..GraphProto::default()
        };
        let body = AttributeProto::graph("then_branch", &inner);
        let length = node("ReduceSum", &[MASK, "one"], "length");
        check(&[length, node("If", &["use_cache_branch"], "out").with(body)], &[256]);
    }

    #[test]
    fn what_is_no_switch_is_not_taken_for_one() {
        let length = node("ReduceSum", &[MASK, "one"], "length");
        // Every sequence is longer than 0; tokens that go in now say nothing of the whole.
        check(&[length.clone(), node("Greater", &["length", "zero"], "is_there")], &[]);
        let sizes = node("Shape", &["input_ids"], "sizes");
        let new = node("Gather", &["sizes", "one"], "length");
        check(&[sizes, new, node("Greater", &["length", "limit"], "is_long")], &[]);
        // A name that a later node uses for another value.
        let other = node("Range", &["length", "limit"], "length");
        check(&[length, other, node("Greater", &["length", "limit"], "is_long")], &[]);
    }
}
