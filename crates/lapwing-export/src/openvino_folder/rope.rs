//! Rotary position embedding, as the plugins recognise it.

use lapwing_formats::ir::{Dim, ElementType, Node};
use lapwing_model::{Rope, RopeKind};

use super::graph::Graph;
use crate::error::ExportError;

/// Cosines and sines of every position of a step, for all layers of a kind.
///
/// Shapes: `[batch, 1, n_tokens, n_rotated]` both.
pub(super) struct RotaryAngles {
    n_rotated: usize,
    cos: Node,
    sin: Node,
}

impl RotaryAngles {
    /// Turn positions into angles.
    ///
    /// Shapes: `position_ids [batch, n_tokens]`.
    ///
    /// # Errors
    ///
    /// When a constant cannot be written.
    pub(super) fn write(
        graph: &mut Graph,
        position_ids: &Node,
        kind: RopeKind,
        rope: &Rope,
    ) -> Result<RotaryAngles, ExportError> {
        let scope = match kind {
            RopeKind::General => "rotary/",
            RopeKind::Window => "window_rotary/",
        };
        graph.set_scope(scope);
        let n_frequencies = rope.n_rotated / 2;
        let stored = |graph: &mut Graph, name: &str, frequencies: &[f32]| {
            graph.floats(&format!("{scope}{name}"), &[1, n_frequencies, 1], frequencies)
        };
        let mut frequencies = stored(graph, "inverse_frequencies", &rope.inverse_frequencies())?;
        if let Some((n_original, long)) = rope.long_frequencies() {
            let long = stored(graph, "long_inverse_frequencies", &long)?;
            let is_long = is_longer(graph, position_ids, n_original)?;
            let output = (ElementType::F32, frequencies.dims.clone());
            let attributes = [("auto_broadcast", "numpy")];
            let inputs = [&is_long, &long, &frequencies];
            frequencies = graph.operator(("Select", "opset1"), &attributes, &inputs, output);
        }
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
        let mut of = |function: &str| {
            let values = graph.unary(function, "opset1", &both);
            if rope.magnitude() == 1.0 {
                return Ok(values);
            }
            let magnitude = graph.float(rope.magnitude(), 0)?;
            Ok::<Node, ExportError>(graph.binary("Multiply", &values, &magnitude))
        };
        let (cos, sin) = (of("Cos")?, of("Sin")?);
        let (cos, sin) = (graph.unsqueeze(&cos, &[1])?, graph.unsqueeze(&sin, &[1])?);
        Ok(RotaryAngles { n_rotated: rope.n_rotated, cos, sin })
    }

    /// Rotate the heads of queries or keys: `x * cos + (-second half, first half) * sin`.
    ///
    /// Shapes: `x [batch, n_heads, n_tokens, head_size]`; what is beyond `n_rotated` stays.
    ///
    /// # Errors
    ///
    /// When a constant cannot be written.
    pub(super) fn rotate(&self, graph: &mut Graph, x: &Node) -> Result<Node, ExportError> {
        let n_elements = x.dims[3].fixed().unwrap_or_default() as usize;
        if self.n_rotated == n_elements {
            return self.turn(graph, x);
        }
        let n_rotated = self.n_rotated as u64;
        let turning = slice(graph, x, 0, n_rotated as i64, n_rotated)?;
        let resting = slice(graph, x, n_rotated as i64, i64::MAX, n_elements as u64 - n_rotated)?;
        let turned = self.turn(graph, &turning)?;
        Ok(graph.concat(&[&turned, &resting], 3, x.dims[3]))
    }

    fn turn(&self, graph: &mut Graph, x: &Node) -> Result<Node, ExportError> {
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

/// Whether the sequence so far has more positions than this, by the last of them.
fn is_longer(
    graph: &mut Graph,
    position_ids: &Node,
    n_positions: usize,
) -> Result<Node, ExportError> {
    let axes = graph.integers(&[0, 1])?;
    let last = graph.operator(
        ("ReduceMax", "opset1"),
        &[("keep_dims", "false")],
        &[position_ids, &axes],
        (ElementType::I64, Vec::new()),
    );
    // The first position is 0.
    let n_positions = graph.integer(n_positions as i64 - 1)?;
    Ok(graph.condition("Greater", &last, &n_positions))
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
