//! Layers of several experts.
//!
//! ```text
//! x [tokens, hidden] ─┬─ router ─ SoftMax ─ TopK ─┬─ shares ─┐
//!                     │                           └─ indices ┴─ ScatterElementsUpdate into zeros
//!                     │                        [tokens, experts] ─ Transpose [experts, tokens, 1]
//!                     └─ Tile [experts, tokens, hidden] ─ gate, up, down ─ Multiply ─ ReduceSum
//! ```
//!
//! As it is written, every expert sees every token. It is the form that optimum-intel gives such
//! layers, with one constant for a projection of all experts: plugins look for it, and let a token
//! meet only the experts that it uses.

use lapwing_formats::ir::{Dim, ElementType, Node};
use lapwing_model::{Architecture, Experts, Transformer};

use super::activation::activated;
use super::graph::Graph;
use super::source::Matrices;
use super::weight::{stored, weight};
use crate::error::ExportError;
use crate::plan::stacked;

/// What the experts of a layer give together.
///
/// Shapes: `x [batch, n_tokens, hidden_size]`, and so is the result.
///
/// # Errors
///
/// When a weight cannot be read or written, or experts are stored in different ways.
pub(super) fn mixture(
    graph: &mut Graph,
    source: &mut Matrices<'_>,
    architecture: &Architecture<Transformer>,
    experts: Experts,
    x: &Node,
    layer: &str,
) -> Result<Node, ExportError> {
    let (outer, inner) = (architecture.hidden_size, architecture.family.intermediate_size);
    let fixed = |size: usize| Dim::Fixed(size as u64);
    let tokens = graph.reshape(x, &[-1, outer as i64], vec![Dim::ANY, fixed(outer)])?;
    let shares = shares(graph, source, experts, &tokens, layer, outer)?;

    let n_experts = experts.n_experts as i64;
    let times = graph.integers(&[n_experts, 1])?;
    let output = (ElementType::F32, tokens.dims.clone());
    let tiled = graph.operator(("Tile", "opset1"), &[], &[&tokens, &times], output);
    let dims = |size: usize| vec![fixed(experts.n_experts), Dim::ANY, fixed(size)];
    let tiled = graph.reshape(&tiled, &[n_experts, -1, outer as i64], dims(outer))?;
    let mut projected = |graph: &mut Graph, x: &Node, part: &str, shape: [usize; 2]| {
        let weights = projections(graph, source, experts, layer, part, shape)?;
        Ok::<Node, ExportError>(graph.matmul(x, &weights, true, None))
    };
    let gate = projected(graph, &tiled, "gate", [inner, outer])?;
    let gate = activated(graph, architecture.family.activation, &gate);
    let up = projected(graph, &tiled, "up", [inner, outer])?;
    let gated = graph.binary("Multiply", &gate, &up);
    let down = projected(graph, &gated, "down", [outer, inner])?;
    let down = graph.reshape(&down, &[n_experts, 0, outer as i64], dims(outer))?;

    let weighted = graph.binary("Multiply", &down, &shares);
    let mixed = sum(graph, &weighted, 0, tokens.dims.clone(), false)?;
    let shape = graph.shape_of(x);
    let output = (ElementType::F32, x.dims.clone());
    let attributes = [("special_zero", "false")];
    Ok(graph.operator(("Reshape", "opset1"), &attributes, &[&mixed, &shape], output))
}

/// What each expert counts for each token, 0 where the token does not use it.
///
/// Shapes: `tokens [n_tokens, hidden_size]`, the result `[n_experts, n_tokens, 1]`.
fn shares(
    graph: &mut Graph,
    source: &mut Matrices<'_>,
    experts: Experts,
    tokens: &Node,
    layer: &str,
    hidden_size: usize,
) -> Result<Node, ExportError> {
    let fixed = |size: usize| Dim::Fixed(size as u64);
    let name = format!("{layer}.{}", Experts::ROUTER);
    let router = weight(graph, source, &name, [experts.n_experts, hidden_size])?;
    let scores = graph.matmul(tokens, &router, true, None);
    let output = (ElementType::F32, scores.dims.clone());
    let scores = graph.operator(("SoftMax", "opset8"), &[("axis", "-1")], &[&scores], output);
    let [mut largest, indices] = graph.top_k(&scores, experts.n_used)?;
    let indices = graph.convert(&indices, ElementType::I32);
    if experts.normalises_shares {
        let total = sum(graph, &largest, -1, vec![Dim::ANY, fixed(1)], true)?;
        largest = graph.binary("Divide", &largest, &total);
    }

    let shape = graph.shape_of(&indices);
    let first = graph.integers(&[0])?;
    let n_tokens = graph.gather(&shape, &first, 0)?;
    let n_experts = graph.integers(&[experts.n_experts as i64])?;
    let all = graph.concat(&[&n_tokens, &n_experts], 0, Dim::Fixed(2));
    let nothing = graph.float(0.0, 0)?;
    let output = (ElementType::F32, vec![Dim::ANY, fixed(experts.n_experts)]);
    let zeros =
        graph.operator(("Broadcast", "opset3"), &[("mode", "numpy")], &[&nothing, &all], output);
    // The whole, as optimum-intel says it.
    let bounds = [graph.integers(&[0, 0])?, graph.integers(&[1, 1])?, graph.integers(&[0, 1])?];
    let slice = [&largest, &bounds[0], &shape, &bounds[1], &bounds[2]];
    let output = (ElementType::F32, largest.dims.clone());
    let largest = graph.operator(("Slice", "opset8"), &[], &slice, output);
    let axis = graph.integer(1)?;
    let attributes = [("reduction", "none"), ("use_init_val", "true")];
    let inputs = [&zeros, &indices, &largest, &axis];
    let output = (ElementType::F32, zeros.dims.clone());
    let kind = ("ScatterElementsUpdate", "opset12");
    let scattered = graph.operator(kind, &attributes, &inputs, output);

    let by_expert = graph.transpose(&scattered, &[1, 0])?;
    let dims = vec![fixed(experts.n_experts), Dim::ANY];
    let by_expert = graph.reshape(&by_expert, &[experts.n_experts as i64, 0], dims)?;
    graph.unsqueeze(&by_expert, &[2])
}

/// One projection of all experts.
///
/// Shapes: `[n_experts, n_rows, n_columns]`.
fn projections(
    graph: &mut Graph,
    source: &mut Matrices<'_>,
    experts: Experts,
    layer: &str,
    part: &str,
    shape: [usize; 2],
) -> Result<Node, ExportError> {
    let mut matrices = Vec::new();
    for expert_idx in 0..experts.n_experts {
        let name = format!("{layer}.{}", Experts::projection(expert_idx, part));
        matrices.push(source.matrix(&name, shape)?);
    }
    let name = format!("{layer}.mlp.experts.{part}_proj");
    let whole = stacked(matrices).map_err(|_| ExportError::unlike_experts("OpenVINO", &name))?;
    let [n_rows, n_columns] = shape;
    stored(graph, &format!("self.{name}"), &whole, &[experts.n_experts, n_rows, n_columns])
}

fn sum(
    graph: &mut Graph,
    x: &Node,
    axis: i64,
    dims: Vec<Dim>,
    keeps_axis: bool,
) -> Result<Node, ExportError> {
    let axes = graph.integers(&[axis])?;
    let keeps_axis = if keeps_axis { "true" } else { "false" };
    let output = (x.element_type, dims);
    Ok(graph.operator(("ReduceSum", "opset1"), &[("keep_dims", keeps_axis)], &[x, &axes], output))
}
