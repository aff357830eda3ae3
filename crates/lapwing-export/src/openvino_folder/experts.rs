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
//!
//! Of gpt-oss they look for another form: gate and up are one product whose columns are theirs in
//! turn, and the shares are the softmax of the largest scores.

use lapwing_formats::ir::{Dim, ElementType, Node};
use lapwing_model::{Activation, Architecture, Experts, Transformer};

use super::activation::gated;
use super::graph::Graph;
use super::source::Matrices;
use super::weight::{biased, stored};
use crate::error::ExportError;
use crate::plan::{alternating, in_turn, stacked};

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
    let activation = architecture.family.activation;
    let form = Form::of(activation);
    let fixed = |size: usize| Dim::Fixed(size as u64);
    let tokens = graph.reshape(x, &[-1, outer as i64], vec![Dim::ANY, fixed(outer)])?;
    let shares = shares(graph, source, (experts, form), &tokens, layer, outer)?;

    let n_experts = experts.n_experts as i64;
    let times = graph.integers(&[n_experts, 1])?;
    let output = (ElementType::F32, tokens.dims.clone());
    let tiled = graph.operator(("Tile", "opset1"), &[], &[&tokens, &times], output);
    let dims = vec![fixed(experts.n_experts), Dim::ANY, fixed(outer)];
    let tiled = graph.reshape(&tiled, &[n_experts, -1, outer as i64], dims.clone())?;
    let mut projected = |graph: &mut Graph, x: &Node, parts: &[&str], shape: [usize; 2]| {
        projection(graph, source, experts, layer, parts, (x, shape))
    };
    let [gate, up] = match form {
        Form::Apart => [
            projected(graph, &tiled, &["gate"], [inner, outer])?,
            projected(graph, &tiled, &["up"], [inner, outer])?,
        ],
        Form::InTurn => {
            let both = projected(graph, &tiled, &["gate", "up"], [inner, outer])?;
            [every_other(graph, &both, 0)?, every_other(graph, &both, 1)?]
        }
    };
    let gated = gated(graph, activation, &gate, &up)?;
    let down = projected(graph, &gated, &["down"], [outer, inner])?;
    let (down, mixed_dims) = match form {
        Form::Apart => {
            (graph.reshape(&down, &[n_experts, 0, outer as i64], dims)?, tokens.dims.clone())
        }
        Form::InTurn => {
            let dims = vec![fixed(experts.n_experts), Dim::ANY, Dim::ANY, fixed(outer)];
            let mixed_dims = dims[1..].to_vec();
            (graph.reshape(&down, &[n_experts, 0, -1, outer as i64], dims)?, mixed_dims)
        }
    };

    let weighted = graph.binary("Multiply", &down, &shares);
    let mixed = sum(graph, &weighted, 0, mixed_dims, false)?;
    let shape = graph.shape_of(x);
    let output = (ElementType::F32, x.dims.clone());
    let attributes = [("special_zero", "false")];
    Ok(graph.operator(("Reshape", "opset1"), &attributes, &[&mixed, &shape], output))
}

/// What plugins know a layer of experts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Gate and up are two products.
    Apart,
    /// Gate and up are one product, in turn.
    InTurn,
}

impl Form {
    fn of(activation: Activation) -> Form {
        match activation {
            Activation::ClampedSilu => Form::InTurn,
            Activation::Silu | Activation::GeluTanh => Form::Apart,
        }
    }
}

/// What each expert counts for each token, 0 where the token does not use it.
///
/// Shapes: `tokens [n_tokens, hidden_size]`, the result `[n_experts, n_tokens, 1]`, with one more 1
/// behind it where gate and up are in turn.
fn shares(
    graph: &mut Graph,
    source: &mut Matrices<'_>,
    (experts, form): (Experts, Form),
    tokens: &Node,
    layer: &str,
    hidden_size: usize,
) -> Result<Node, ExportError> {
    let fixed = |size: usize| Dim::Fixed(size as u64);
    let module = format!("{layer}.{}", Experts::ROUTER);
    let module = module.trim_end_matches(".weight");
    let shape = [experts.n_experts, hidden_size];
    let scores = biased(graph, source, tokens, module, shape, experts.has_bias)?;
    let softmax = |graph: &mut Graph, scores: &Node| {
        let output = (ElementType::F32, scores.dims.clone());
        graph.operator(("SoftMax", "opset8"), &[("axis", "-1")], &[scores], output)
    };
    // Of the largest alone it is the same as of all, divided by the sum of the largest.
    let is_of_largest = form == Form::InTurn && experts.normalises_shares;
    let scores = if is_of_largest { scores } else { softmax(graph, &scores) };
    let [mut largest, indices] = graph.top_k(&scores, experts.n_used)?;
    let indices = graph.convert(&indices, ElementType::I32);
    if is_of_largest {
        largest = softmax(graph, &largest);
    } else if experts.normalises_shares {
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
    let places: &[i64] = if form == Form::InTurn { &[2, 3] } else { &[2] };
    graph.unsqueeze(&by_expert, places)
}

/// `x` through one projection of all experts, or through two whose columns are then in turn.
///
/// Shapes: `x [n_experts, n_tokens, n_columns]`, a projection of one expert `[n_rows, n_columns]`.
fn projection(
    graph: &mut Graph,
    source: &mut Matrices<'_>,
    experts: Experts,
    layer: &str,
    parts: &[&str],
    (x, [n_rows, n_columns]): (&Node, [usize; 2]),
) -> Result<Node, ExportError> {
    let (mut matrices, mut biases) = (Vec::new(), Vec::new());
    for part in parts {
        for expert_idx in 0..experts.n_experts {
            let name = format!("{layer}.{}", Experts::projection(expert_idx, part));
            matrices.push(source.matrix(&name, [n_rows, n_columns])?);
            if experts.has_bias {
                let name = format!("{layer}.{}", Experts::projection_bias(expert_idx, part));
                biases.extend(source.vector(&name)?);
            }
        }
    }
    let name = format!("{layer}.mlp.experts.{}_proj", parts.join("_"));
    let unlike = |_| ExportError::unlike_experts("OpenVINO", &name);
    let mut whole = stacked(matrices).map_err(unlike)?;
    if parts.len() == 2 {
        whole = alternating(whole, n_columns);
        biases = in_turn(&biases, 1);
    }
    let n_rows = n_rows * parts.len();
    let dims = [experts.n_experts, n_rows, n_columns];
    let weights = stored(graph, &format!("self.{name}"), &whole, &dims)?;
    let product = graph.matmul(x, &weights, true, None);
    if !experts.has_bias {
        return Ok(product);
    }
    let dims = [experts.n_experts, 1, n_rows];
    let bias = graph.floats(&format!("self.{name}_bias"), &dims, &biases)?;
    Ok(graph.binary("Add", &product, &bias))
}

/// Every other column of `[n_experts, n_tokens, 2 * n]`, from this one on.
fn every_other(graph: &mut Graph, x: &Node, first: i64) -> Result<Node, ExportError> {
    let mut dims = x.dims.clone();
    dims[2] = Dim::Fixed(dims[2].fixed().unwrap_or_default() / 2);
    let (start, stop) = (graph.integers(&[first])?, graph.integers(&[i64::MAX])?);
    let (step, axis) = (graph.integers(&[2])?, graph.integers(&[2])?);
    let inputs = [x, &start, &stop, &step, &axis];
    Ok(graph.operator(("Slice", "opset8"), &[], &inputs, (x.element_type, dims)))
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
