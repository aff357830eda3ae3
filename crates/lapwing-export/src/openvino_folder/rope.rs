//! Rotary position embedding, as the plugins recognise it.

use lapwing_formats::ir::{Dim, ElementType, Node};

use super::graph::Graph;
use crate::error::ExportError;

/// Cosines and sines of every position of a step, for all layers.
///
/// Shapes: `[batch, 1, n_tokens, head_size]` both.
pub(super) struct Rope {
    cos: Node,
    sin: Node,
}

impl Rope {
    /// Turn positions into angles.
    ///
    /// Shapes: `position_ids [batch, n_tokens]`, `inverse_frequencies [head_size / 2]`.
    ///
    /// # Errors
    ///
    /// When a constant cannot be written.
    pub(super) fn write(
        graph: &mut Graph,
        position_ids: &Node,
        inverse_frequencies: &[f32],
    ) -> Result<Rope, ExportError> {
        graph.set_scope("rotary/");
        let n_frequencies = inverse_frequencies.len();
        let frequencies = graph.floats(
            "rotary/inverse_frequencies",
            &[1, n_frequencies, 1],
            inverse_frequencies,
        )?;
        let positions = graph.unsqueeze(position_ids, &[1])?;
        let positions = graph.convert(&positions, ElementType::F32);
        let angles = graph.operator(
            ("MatMul", "opset1"),
            &[("transpose_a", "false"), ("transpose_b", "false")],
            &[&frequencies, &positions],
            (ElementType::F32, vec![Dim::ANY, Dim::Fixed(n_frequencies as u64), Dim::ANY]),
        );
        let angles = graph.transpose(&angles, &[0, 2, 1])?;
        let both = graph.concat(&[&angles, &angles], 2, Dim::Fixed(2 * n_frequencies as u64));
        let cos = graph.unary("Cos", "opset1", &both);
        let sin = graph.unary("Sin", "opset1", &both);
        Ok(Rope { cos: graph.unsqueeze(&cos, &[1])?, sin: graph.unsqueeze(&sin, &[1])? })
    }

    /// Rotate the heads of queries or keys: `x * cos + (-second half, first half) * sin`.
    ///
    /// Shapes: `x [batch, n_heads, n_tokens, head_size]`.
    ///
    /// # Errors
    ///
    /// When a constant cannot be written.
    pub(super) fn rotate(&self, graph: &mut Graph, x: &Node) -> Result<Node, ExportError> {
        let head_dim = x.dims[3];
        let half = head_dim.fixed().unwrap_or_default() / 2;
        let second = slice(graph, x, half as i64, i64::MAX, half)?;
        let first = slice(graph, x, 0, half as i64, half)?;
        let minus_one = graph.float(-1.0, 0)?;
        let negated = graph.binary("Multiply", &second, &minus_one);
        let turned = graph.concat(&[&negated, &first], 3, head_dim);
        let straight = graph.binary("Multiply", x, &self.cos);
        let across = graph.binary("Multiply", &turned, &self.sin);
        Ok(graph.binary("Add", &straight, &across))
    }
}

fn slice(
    graph: &mut Graph,
    x: &Node,
    start: i64,
    stop: i64,
    n_columns: u64,
) -> Result<Node, ExportError> {
    let mut dims = x.dims.clone();
    dims[3] = Dim::Fixed(n_columns);
    let (start, stop) = (graph.integers(&[start])?, graph.integers(&[stop])?);
    let (step, axis) = (graph.integers(&[1])?, graph.integers(&[3])?);
    let inputs = [x, &start, &stop, &step, &axis];
    Ok(graph.operator(("Slice", "opset8"), &[], &inputs, (x.element_type, dims)))
}
