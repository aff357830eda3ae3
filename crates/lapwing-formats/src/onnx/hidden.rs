//! Showing what goes into the output head.
//!
//! A correction of the head is fitted to the values that really enter it, so they are taken at the
//! head's matrix product itself, behind every choice of rows:
//!
//! ```text
//! hidden [b, n, h] ──┬── head ── elementwise ── logits [b, n, vocabulary]
//!                    └── Cast to f32 ── lapwing_hidden_states [b, n, h]
//! ```
//!
//! Where a graph quantises the activation on the fly, codes enter the head; then the values that
//! they stand for are shown (a `DequantizeLinear` instead of the `Cast`).

use prost::{DecodeError, Message as _};

use super::edit::check_names;
use super::head::{HeadPath, Search};
use super::proto::{AttributeProto, NodeProto};
use super::{Dim, EditError, ElementType, OnnxModel, SLICED_DIM, Value};

/// The output that [`expose_hidden`] adds, `f32 [batch, rows, size]`: what enters the head, in as
/// many rows as the logits have.
pub const HIDDEN_STATES: &str = "lapwing_hidden_states";

/// What [`expose_hidden`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HiddenEdit {
    /// The graph has the output [`HIDDEN_STATES`] now.
    Exposed {
        /// The value that it shows: the head's activation, or its codes.
        hidden: String,
    },
    /// No head was found, or what enters it cannot be shown; the graph is unchanged.
    NotFound {
        /// Where the search ended.
        reason: String,
    },
}

/// Make the graph also give what enters the head of `logits_output`, as [`HIDDEN_STATES`].
///
/// To be called after [`super::slice_before_head`], so that both outputs have the same rows.
///
/// # Errors
///
/// When there is no such output, a name is taken or the graph is malformed; see [`EditError`].
pub fn expose_hidden(model: &mut OnnxModel, logits_output: &str) -> Result<HiddenEdit, EditError> {
    if !model.outputs().iter().any(|value| value.name == logits_output) {
        return Err(EditError::NoOutput { name: logits_output.to_owned() });
    }
    let search = Search::new(model.graph(), logits_output)?;
    let path = match search.head() {
        Ok(path) => path,
        Err(reason) => return Ok(HiddenEdit::NotFound { reason }),
    };
    check_names(&search, &[HIDDEN_STATES])?;
    let (hidden, shown) = match shown(&search, &path)? {
        Ok(found) => found,
        Err(reason) => return Ok(HiddenEdit::NotFound { reason }),
    };
    let graph = model.graph_mut();
    graph.node.insert(path.head_idx, shown.encoded());
    let dims = [Dim::Unknown, Dim::symbol(SLICED_DIM), Dim::Unknown];
    graph.output.push(Value::to_proto(HIDDEN_STATES, ElementType::F32, &dims));
    Ok(HiddenEdit::Exposed { hidden })
}

/// The head's activation and the node that shows it, or why there is none.
fn shown(
    search: &Search<'_>,
    path: &HeadPath,
) -> Result<Result<(String, NodeProto), String>, DecodeError> {
    let head = NodeProto::decode(search.graph.node[path.head_idx].clone())?;
    let hidden = head.input.first().cloned().unwrap_or_default();
    let mut node = if head.op_type().starts_with("MatMulInteger") {
        let Some(quantiser) = quantiser(search, &hidden) else {
            let reason = format!("{} multiplies codes of an unknown scale", head.op_type());
            return Ok(Err(reason));
        };
        let [_, scale, zero_point] = quantiser.output.as_slice() else {
            return Ok(Err("DynamicQuantizeLinear without scale and zero point".to_owned()));
        };
        NodeProto::new("", "DequantizeLinear", &[&hidden, scale, zero_point], &[HIDDEN_STATES])
    } else {
        let to_f32 = AttributeProto::int("to", ElementType::F32.number().into());
        NodeProto::new("", "Cast", &[&hidden], &[HIDDEN_STATES]).with(to_f32)
    };
    node.name = Some("lapwing_show_hidden".to_owned());
    Ok(Ok((hidden, node)))
}

/// The node that made the codes `hidden`, directly or before rows were chosen.
fn quantiser(search: &Search<'_>, hidden: &str) -> Option<NodeProto> {
    let (_, mut node) = search.writer(hidden)?;
    if node.op_type() == "Slice" {
        node = search.writer(node.input.first()?)?.1;
    }
    (node.op_type() == "DynamicQuantizeLinear").then_some(node)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::proto::{GraphProto, ModelProto, TensorProto};
    use super::super::{LOGITS_START, slice_before_head};
    use super::*;

    const FIXTURE: &[u8] = include_bytes!("../../tests/data/inline.onnx");

    /// A graph `x [b, s, 4]` → `nodes` → `logits [b, s, 6]` with weights `w` and `b`.
    fn model(nodes: &[NodeProto]) -> OnnxModel {
        let weight = |name: &str| TensorProto {
            data_type: Some(ElementType::F32.number()),
            name: Some(name.to_owned()),
            ..TensorProto::default()
        };
        let dims = |n| [Dim::symbol("b"), Dim::symbol("s"), Dim::Fixed(n)];
        let graph = GraphProto {
            node: nodes.iter().map(NodeProto::encoded).collect(),
            initializer: vec![weight("w"), weight("b")],
            input: vec![Value::to_proto("x", ElementType::F32, &dims(4))],
            output: vec![Value::to_proto("logits", ElementType::F32, &dims(6))],
            ..GraphProto::default()
        };
        let proto = ModelProto { graph: Some(graph), ..ModelProto::default() };
        OnnxModel::decode(Path::new("model.onnx"), proto.encode_to_vec().into()).unwrap()
    }

    fn node(op_type: &str, input: &[&str], output: &[&str]) -> NodeProto {
        NodeProto::new("", op_type, input, output)
    }

    /// The node that gives the hidden states, by its operator and inputs.
    fn check(model: &mut OnnxModel, expected_kind: &str, expected_inputs: &[&str]) {
        let outcome = expose_hidden(model, "logits").unwrap();
        let hidden = expected_inputs[0].to_owned();
        assert_eq!(outcome, HiddenEdit::Exposed { hidden });
        let nodes: Vec<NodeProto> = model.nodes().map(Result::unwrap).collect();
        let shown = nodes.iter().position(|node| node.output == [HIDDEN_STATES]).unwrap();
        assert_eq!(nodes[shown].op_type(), expected_kind);
        assert_eq!(nodes[shown].input, expected_inputs);
        let head = &nodes[shown + 1];
        assert_eq!(head.input[0], expected_inputs[0], "it shows what the head reads");
        let output = model.outputs().pop().unwrap();
        assert_eq!((&*output.name, output.element), (HIDDEN_STATES, Some(ElementType::F32)));
        assert!(matches!(
            expose_hidden(model, "logits"),
            Err(EditError::NameTaken { name }) if name == HIDDEN_STATES
        ));
    }

    #[test]
    fn what_enters_the_head_is_shown_behind_the_choice_of_rows() {
        let head = node("MatMul", &["x", "w"], &["product"]);
        let nodes = [head, node("Add", &["product", "b"], &["logits"])];
        check(&mut model(&nodes), "Cast", &["x"]);
        let mut sliced = model(&nodes);
        slice_before_head(&mut sliced, "logits").unwrap();
        check(&mut sliced, "Cast", &["lapwing_last_hidden"]);
        assert!(sliced.inputs().iter().any(|input| input.name == LOGITS_START));
    }

    #[test]
    fn codes_are_shown_as_the_values_that_they_stand_for() {
        let mut fixture = OnnxModel::decode(Path::new("m.onnx"), FIXTURE.into()).unwrap();
        let is_quantiser = |node: &NodeProto| node.op_type() == "DynamicQuantizeLinear";
        let quantiser = fixture.nodes().map(Result::unwrap).find(is_quantiser).unwrap();
        let [codes, scale, zero_point] = &quantiser.output[..] else { panic!("three outputs") };
        check(&mut fixture.clone(), "DequantizeLinear", &[codes, scale, zero_point]);
        slice_before_head(&mut fixture, "logits").unwrap();
        let sliced = "lapwing_last_hidden";
        check(&mut fixture, "DequantizeLinear", &[sliced, scale, zero_point]);
    }

    #[test]
    fn what_cannot_be_shown_leaves_the_graph_as_it_was() {
        let check = |nodes: &[NodeProto], expected: &str| {
            let mut model = model(nodes);
            let before = model.encode();
            match expose_hidden(&mut model, "logits").unwrap() {
                HiddenEdit::NotFound { reason } => assert!(reason.contains(expected), "{reason}"),
                outcome @ HiddenEdit::Exposed { .. } => panic!("{outcome:?}"),
            }
            assert_eq!(model.encode(), before);
        };
        check(&[node("Softmax", &["x"], &["logits"])], "Softmax");
        check(&[node("MatMulInteger", &["x", "w"], &["logits"])], "codes of an unknown scale");
        let error = expose_hidden(&mut model(&[]), "scores").unwrap_err();
        assert!(matches!(error, EditError::NoOutput { name } if name == "scores"));
    }
}
