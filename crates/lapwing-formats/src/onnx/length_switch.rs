//! Where an ONNX graph computes otherwise once a sequence is longer than so many positions.

use std::collections::HashMap;

use bytes::Bytes;
use prost::{DecodeError, Message};

use super::OnnxModel;
use super::head::GRAPH_NODE;
use super::proto::{NodeProto, TensorProto};
use super::tensors::N_LEVELS_MAX;
use super::wire;
use crate::length_switch::{Comparison, Known, MASK, POSITIONS, Step, sorted};

/// `TensorProto.data_type` of the constants that lengths are compared with.
const FLOAT: i32 = 1;
const INT32: i32 = 6;
const INT64: i32 = 7;

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
    Ok(sorted(switches))
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
        let comparison = comparison(node.op_type());
        switches.extend(comparison.and_then(|compare| compare.switch(|| input(0), || input(1))));
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
    let step = match node.op_type() {
        "Constant" => return Ok(constant(node)?.map(Known::Constant)),
        "Shape" => match node.attribute("start")?.map(|start| start.i()) {
            None | Some(0) => Step::Sizes,
            Some(_) => Step::LastSize,
        },
        "Gather" | "Slice" => Step::Entry,
        "ReduceSum" => Step::Sum,
        "ReduceMax" => Step::Largest,
        "Cast" | "Identity" | "Squeeze" | "Unsqueeze" | "Reshape" => Step::Same,
        "Add" => Step::Add,
        "Sub" => Step::Subtract,
        _ => return Ok(None),
    };
    Ok(step.result(|| input(0), || input(1)))
}

fn comparison(op_type: &str) -> Option<Comparison> {
    Some(match op_type {
        "Greater" => Comparison::Greater,
        "GreaterOrEqual" => Comparison::GreaterEqual,
        "Less" => Comparison::Less,
        "LessOrEqual" => Comparison::LessEqual,
        _ => return None,
    })
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
