//! Root mean square normalisation, as the plugins recognise it.

use lapwing_formats::ir::{Dim, Node};

use super::graph::Graph;
use crate::error::ExportError;

/// `x / sqrt(mean(x²) + epsilon) * weight`, over the last dimension.
///
/// Shapes: `x [… , n]`, `weight [n]`. Source: Zhang and Sennrich, "Root Mean Square Layer
/// Normalization".
///
/// # Errors
///
/// When a constant cannot be written.
pub(super) fn rms_norm(
    graph: &mut Graph,
    x: &Node,
    name: &str,
    weight: &[f32],
    epsilon: f32,
) -> Result<Node, ExportError> {
    let rank = x.dims.len();
    let mut dims = vec![1; rank];
    dims[rank - 1] = weight.len();
    let weight = graph.floats(&format!("self.{name}"), &dims, weight)?;
    let (one, two) = (graph.float(1.0, rank)?, graph.float(2.0, rank)?);
    let epsilon = graph.float(epsilon, rank)?;
    let square = graph.binary("Power", x, &two);
    let last = graph.integers(&[-1])?;
    let mut mean_dims = x.dims.clone();
    mean_dims[rank - 1] = Dim::Fixed(1);
    let mean = graph.operator(
        ("ReduceMean", "opset1"),
        &[("keep_dims", "true")],
        &[&square, &last],
        (x.element_type, mean_dims),
    );
    let sum = graph.binary("Add", &mean, &epsilon);
    let root = graph.unary("Sqrt", "opset1", &sum);
    let inverse = graph.binary("Divide", &one, &root);
    let normalised = graph.binary("Multiply", x, &inverse);
    Ok(graph.binary("Multiply", &weight, &normalised))
}
