//! Computing the logits of the last positions only.
//!
//! Most exports compute the logits of every position of a prompt, which nobody reads but for the
//! last. The head is a large matrix product over positions that are independent of each other, so
//! taking the last positions before it gives the same numbers for less work:
//!
//! ```text
//! hidden [b, s, h] ── Slice(axis 1, from lapwing_logits_start) ── head ── elementwise ── logits
//! ```
//!
//! A head may be several products of one activation whose rows of the vocabulary are put together
//! (`Slice` and `Concat` along the last axis).

use std::collections::HashSet;

use bytes::Bytes;
use prost::{DecodeError, Message};

use super::head::{HeadPath, Search};
use super::proto::{GraphProto, NodeProto, TensorProto, ValueInfoProto};
use super::{Dim, ElementType, OnnxModel, Value};

/// The input that [`slice_before_head`] adds, `i64 [1]`: feed `-n` to get the last `n` positions
/// (all of them when there are fewer).
pub const LOGITS_START: &str = "lapwing_logits_start";

/// The symbolic size of the logits' position axis after [`slice_before_head`].
pub const SLICED_DIM: &str = "lapwing_n_logits";

/// Inputs by which exporters themselves let a caller choose how many logits to compute.
const SELECTING_INPUTS: [&str; 2] = ["num_logits_to_keep", "logits_to_keep"];

/// What [`slice_before_head`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SliceEdit {
    /// The graph has the input [`LOGITS_START`] now, and the logits' position axis is
    /// [`SLICED_DIM`].
    Inserted {
        /// The value that is sliced: the head's activation.
        hidden: String,
    },
    /// The export has an input of its own for this; the graph is unchanged.
    AlreadySelective {
        /// That input.
        input: String,
    },
    /// The export computes one position only; the graph is unchanged.
    OnePosition,
    /// No head was found; the graph is unchanged and computes the logits of every position.
    NotFound {
        /// Where the search ended.
        reason: String,
    },
}

/// Why a graph cannot be edited. The graph is unchanged then.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum EditError {
    /// The graph has no such output.
    #[error("the graph has no output {name}")]
    NoOutput { name: String },
    /// A value with a name that the edit needs is already there.
    #[error("the graph already has a value {name}")]
    NameTaken { name: String },
    /// A part of the graph that the edit must read is malformed.
    #[error("a part of the graph cannot be decoded")]
    Decode(#[from] DecodeError),
}

/// Make the graph compute `logits_output` (shape `[batch, positions, vocabulary]`) for the last
/// positions only; how many is said with every run through the new input [`LOGITS_START`].
///
/// The head's activation is sliced, at the matrix product itself. Where the activation is
/// quantised on the fly, its codes are sliced, so that the scale still covers the whole prompt.
///
/// # Errors
///
/// When there is no such output, a name is taken or the graph is malformed; see [`EditError`].
pub fn slice_before_head(
    model: &mut OnnxModel,
    logits_output: &str,
) -> Result<SliceEdit, EditError> {
    let Some(logits) = model.outputs().into_iter().find(|value| value.name == logits_output) else {
        return Err(EditError::NoOutput { name: logits_output.to_owned() });
    };
    let inputs = model.inputs();
    if let Some(input) = inputs.iter().find(|i| SELECTING_INPUTS.contains(&i.name.as_str())) {
        return Ok(SliceEdit::AlreadySelective { input: input.name.clone() });
    }
    match logits.dims.as_deref() {
        Some([_, Dim::Fixed(1), _]) => return Ok(SliceEdit::OnePosition),
        Some([_, _, _]) | None => {}
        Some(dims) => {
            let reason = format!("{logits_output} has {} axes instead of 3", dims.len());
            return Ok(SliceEdit::NotFound { reason });
        }
    }
    let search = Search::new(model.graph(), logits_output)?;
    let path = match search.head() {
        Ok(path) => path,
        Err(reason) => return Ok(SliceEdit::NotFound { reason }),
    };
    check_names(&search, &[LOGITS_START, SLICE_ENDS, SLICE_AXES, SLICED])?;
    let stale = stale_value_infos(model.graph(), &path)?;
    let hidden = insert(model.graph_mut(), &path, logits_output)?;
    let mut value_idx = 0;
    model.graph_mut().value_info.retain(|_| {
        value_idx += 1;
        !stale.contains(&(value_idx - 1))
    });
    Ok(SliceEdit::Inserted { hidden })
}

const SLICE_ENDS: &str = "lapwing_slice_ends";
const SLICE_AXES: &str = "lapwing_slice_axes";
const SLICED: &str = "lapwing_last_hidden";

pub(super) fn check_names(search: &Search<'_>, names: &[&'static str]) -> Result<(), EditError> {
    let inputs: HashSet<&str> = search.graph.input.iter().map(|input| input.name()).collect();
    let is_taken = |name: &&&'static str| {
        inputs.contains(**name)
            || search.weights.contains(**name)
            || search.writers.contains_key(**name)
    };
    match names.iter().find(is_taken) {
        Some(&name) => Err(EditError::NameTaken { name: name.to_owned() }),
        None => Ok(()),
    }
}

/// Indices of the value infos that would say a wrong number of positions after the edit.
fn stale_value_infos(graph: &GraphProto, path: &HeadPath) -> Result<HashSet<usize>, DecodeError> {
    let mut stale = HashSet::new();
    for (value_idx, encoded) in graph.value_info.iter().enumerate() {
        if path.values.contains(ValueInfoProto::decode(encoded.clone())?.name()) {
            stale.insert(value_idx);
        }
    }
    Ok(stale)
}

/// Put the slice before the head; gives the name of what is sliced.
fn insert(graph: &mut GraphProto, path: &HeadPath, logits: &str) -> Result<String, DecodeError> {
    let mut hidden = String::new();
    for &head_idx in &path.head_idxs {
        let mut head = NodeProto::decode(graph.node[head_idx].clone())?;
        hidden = std::mem::replace(&mut head.input[0], SLICED.to_owned());
        graph.node[head_idx] = head.encode_to_vec().into();
    }
    let inputs = [hidden.as_str(), LOGITS_START, SLICE_ENDS, SLICE_AXES];
    let mut slice = NodeProto::new("", "Slice", &inputs, &[SLICED]);
    slice.name = Some("lapwing_slice_before_head".to_owned());
    graph.node.insert(path.head_idx, slice.encode_to_vec().into());
    graph.initializer.push(i64_tensor(SLICE_ENDS, i64::MAX));
    graph.initializer.push(i64_tensor(SLICE_AXES, 1));
    graph.input.push(Value::to_proto(LOGITS_START, ElementType::I64, &[Dim::Fixed(1)]));
    let output = graph.output.iter_mut().find(|output| output.name() == logits);
    let shape = output
        .and_then(|output| output.r#type.as_mut())
        .and_then(|r#type| r#type.tensor_type.as_mut())
        .and_then(|tensor| tensor.shape.as_mut());
    if let Some(positions) = shape.and_then(|shape| shape.dim.get_mut(1)) {
        *positions = Dim::symbol(SLICED_DIM).to_proto();
    }
    Ok(hidden)
}

fn i64_tensor(name: &str, value: i64) -> TensorProto {
    TensorProto {
        dims: vec![1],
        data_type: Some(ElementType::I64.number()),
        name: Some(name.to_owned()),
        raw_data: Some(Bytes::copy_from_slice(&value.to_le_bytes())),
        ..TensorProto::default()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::proto::{AttributeProto, ModelProto};
    use super::*;

    const FIXTURE: &[u8] = include_bytes!("../../tests/data/inline.onnx");

    fn model(proto: &ModelProto) -> OnnxModel {
        let bytes = proto.encode_to_vec().into();
        OnnxModel::decode(Path::new("model.onnx"), bytes).expect("the test's graph decodes")
    }

    /// A graph `x [b, s, 4]` → `nodes` → `logits [b, positions, 6]` with a weight `w`.
    fn graph(nodes: &[NodeProto], positions: Dim) -> ModelProto {
        let dims = |n| [Dim::symbol("b"), Dim::symbol("s"), Dim::Fixed(n)];
        let logits = [Dim::symbol("b"), positions, Dim::Fixed(6)];
        let weight = |name: &str| TensorProto { dims: vec![4, 6], ..i64_tensor(name, 0) };
        let axes = i64_tensor;
        let graph = GraphProto {
            node: nodes.iter().map(|node| node.encode_to_vec().into()).collect(),
            initializer: vec![weight("w"), weight("cap"), axes("last", -1), axes("middle", 1)],
            input: vec![Value::to_proto("x", ElementType::F32, &dims(4))],
            output: vec![Value::to_proto("logits", ElementType::F32, &logits)],
            value_info: ["product", "h"]
                .map(|name| Value::to_proto(name, ElementType::F32, &dims(6)))
                .map(|info| info.encode_to_vec().into())
                .to_vec(),
            ..GraphProto::default()
        };
        ModelProto { graph: Some(graph), ..ModelProto::default() }
    }

    fn node(op_type: &str, input: &[&str], output: &[&str]) -> NodeProto {
        NodeProto::new("", op_type, input, output)
    }

    fn inserted(hidden: &str) -> SliceEdit {
        SliceEdit::Inserted { hidden: hidden.to_owned() }
    }

    fn check(nodes: &[NodeProto], expected: Result<&str, &str>) {
        let mut model = model(&graph(nodes, Dim::symbol("s")));
        let before = model.encode();
        match (slice_before_head(&mut model, "logits").unwrap(), expected) {
            (SliceEdit::Inserted { hidden }, Ok(expected)) => assert_eq!(hidden, expected),
            (SliceEdit::NotFound { reason }, Err(expected)) => {
                assert!(reason.contains(expected), "{reason}");
                assert_eq!(model.encode(), before, "the graph was changed");
            }
            (outcome, expected) => panic!("{outcome:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn heads_and_what_may_follow() {
        let head = |output: &str| node("MatMul", &["x", "w"], &[output]);
        check(&[head("logits")], Ok("x"));
        check(&[NodeProto::new("com.microsoft", "MatMulNBits", &["x", "w"], &["logits"])], Ok("x"));
        let cap = [
            head("product"),
            node("Cast", &["product"], &["f32"]),
            node("Div", &["f32", "cap"], &["divided"]),
            node("Tanh", &["divided"], &["tanh"]),
            node("Mul", &["cap", "tanh"], &["logits"]),
        ];
        check(&cap, Ok("x"));
        let transposed =
            [node("Transpose", &["w"], &["wt"]), node("MatMul", &["x", "wt"], &["logits"])];
        check(&transposed, Ok("x"));
    }

    #[test]
    fn what_is_no_head() {
        let head = node("MatMul", &["x", "w"], &["product"]);
        let identity = node("Identity", &["product"], &["logits"]);
        check(&[], Err("not computed"));
        check(&[node("MatMul", &["x", "x"], &["logits"])], Err("two activations"));
        check(&[node("MatMul", &["w", "cap"], &["logits"])], Err("constant"));
        check(&[node("Gemm", &["x", "w"], &["logits"])], Err("not [b, s, h]"));
        check(&[head.clone(), node("Reshape", &["product", "w"], &["logits"])], Err("Reshape"));
        check(&[head.clone(), node("Mul", &["product", "x"], &["logits"])], Err("Mul"));
        check(&[head.clone(), node("Div", &["cap", "product"], &["logits"])], Err("Div"));
        let transposed = NodeProto::new("com.microsoft", "FusedMatMul", &["x", "w"], &["logits"])
            .with(AttributeProto::int("transA", 1));
        check(&[transposed], Err("not [b, s, h]"));
        check(&[node("Tanh", &["logits"], &["logits"])], Err("within 64 nodes"));
        let reader = node("Identity", &["product"], &["other"]);
        check(&[head.clone(), identity.clone(), reader.clone()], Err("product is also used"));
        let body = GraphProto {
            node: vec![reader.encode_to_vec().into()],
            output: vec![Value::to_proto("other", ElementType::F32, &[])],
            ..GraphProto::default()
        };
        let mut branch = AttributeProto::int("then_branch", 0);
        branch.g = Some(body.encode_to_vec().into());
        let inside = node("If", &["flag"], &["other"]).with(branch);
        check(&[head, identity, inside], Err("product is also used"));
    }

    #[test]
    fn a_head_in_parts_of_the_vocabulary() {
        let concat = |axis| {
            node("Concat", &["common", "rest"], &["logits"]).with(AttributeProto::int("axis", axis))
        };
        let rest = |axes| node("Slice", &["product", "w", "w", axes], &["rest"]);
        let head = |input: &str, output: &str| node("MatMul", &[input, "w"], &[output]);
        let parts =
            |input: &str| [head("x", "product"), head(input, "common"), rest("last"), concat(2)];
        check(&parts("x"), Ok("x"));
        let mut edited = model(&graph(&parts("x"), Dim::symbol("s")));
        slice_before_head(&mut edited, "logits").unwrap();
        let nodes: Vec<NodeProto> = edited.nodes().map(Result::unwrap).collect();
        let inputs: Vec<&str> = nodes
            .iter()
            .filter(|node| node.op_type() == "MatMul")
            .map(|node| node.input[0].as_str())
            .collect();
        assert_eq!((nodes[0].op_type(), inputs), ("Slice", vec![SLICED, SLICED]));

        let mut other = vec![node("Tanh", &["x"], &["y"])];
        other.extend(parts("y"));
        check(&other, Err("multiply both"));
        let [first, second, ..] = parts("x");
        let positions = [first.clone(), second.clone(), rest("middle"), concat(2)];
        check(&positions, Err("written by Slice"));
        check(&[first, second, rest("last"), concat(1)], Err("written by Concat"));
    }

    #[test]
    fn codes_are_sliced_so_that_the_scale_covers_the_prompt() {
        let mut model = OnnxModel::decode(Path::new("m.onnx"), FIXTURE.into()).unwrap();
        assert_eq!(slice_before_head(&mut model, "logits").unwrap(), inserted("codes"));
        let nodes: Vec<NodeProto> = model.nodes().map(Result::unwrap).collect();
        let slice_idx = nodes.iter().position(|node| node.op_type() == "Slice").unwrap();
        assert_eq!(nodes[slice_idx].input[..2], ["codes", LOGITS_START]);
        assert_eq!(nodes[slice_idx + 1].op_type(), "MatMulInteger");
        assert_eq!(nodes[slice_idx + 1].input[0], nodes[slice_idx].output[0]);
        let start = model.inputs().into_iter().find(|input| input.name == LOGITS_START).unwrap();
        assert_eq!(start.dims, Some(vec![Dim::Fixed(1)]));
        assert_eq!(model.outputs()[0].dims.as_ref().unwrap()[1], Dim::symbol(SLICED_DIM));
        let infos = model.graph().value_info.iter();
        let names: Vec<String> =
            infos.map(|info| ValueInfoProto::decode(info.clone()).unwrap().name.unwrap()).collect();
        assert_eq!(names, ["hidden"], "`scaled` has fewer positions now");
    }

    #[test]
    fn exports_that_need_no_slice() {
        let head = [node("MatMul", &["x", "w"], &["logits"])];
        let mut one = model(&graph(&head, Dim::Fixed(1)));
        assert_eq!(slice_before_head(&mut one, "logits").unwrap(), SliceEdit::OnePosition);
        let mut proto = graph(&head, Dim::symbol("s"));
        let input = Value::to_proto("num_logits_to_keep", ElementType::I64, &[]);
        proto.graph.as_mut().unwrap().input.push(input);
        let outcome = slice_before_head(&mut model(&proto), "logits").unwrap();
        let input = "num_logits_to_keep".to_owned();
        assert_eq!(outcome, SliceEdit::AlreadySelective { input });
    }

    #[test]
    fn refusals() {
        let mut edited = model(&graph(&[node("MatMul", &["x", "w"], &["logits"])], Dim::Unknown));
        let missing = slice_before_head(&mut edited, "scores").unwrap_err();
        assert!(matches!(missing, EditError::NoOutput { name } if name == "scores"));
        slice_before_head(&mut edited, "logits").unwrap();
        let twice = slice_before_head(&mut edited, "logits").unwrap_err();
        assert!(matches!(twice, EditError::NameTaken { .. }));
    }
}
