//! Rotary position embedding, as the plugins recognise it.

use std::collections::BTreeMap;

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
    /// Turn positions into angles, for each kind.
    ///
    /// Angles are positions times frequencies, of which f16 has no fraction left beyond 2048. An NPU
    /// computes in f16; but NPUW puts a table, made in f32, in place of the one cosine and the one
    /// sine that it finds, if their frequencies are broadcast over the batch. So all kinds share
    /// these.
    ///
    /// Shapes: `n_batch [1]`, `position_ids [batch, n_tokens]`.
    ///
    /// # Errors
    ///
    /// When a constant cannot be written.
    pub(super) fn write(
        graph: &mut Graph,
        (n_batch, position_ids): (&Node, &Node),
        ropes: &BTreeMap<RopeKind, &Rope>,
    ) -> Result<BTreeMap<RopeKind, RotaryAngles>, ExportError> {
        graph.set_scope("rotary/");
        let n_of = |rope: &Rope| rope.n_rotated / 2;
        let n_frequencies: usize = ropes.values().map(|rope| n_of(rope)).sum();
        if n_frequencies == 0 {
            return Ok(BTreeMap::new());
        }
        let frequencies = frequencies(graph, position_ids, ropes)?;
        let sizes = [graph.integers(&[n_frequencies as i64])?, graph.integers(&[1])?];
        let shape = graph.concat(&[n_batch, &sizes[0], &sizes[1]], 0, Dim::Fixed(3));
        let output = vec![Dim::ANY, Dim::Fixed(n_frequencies as u64), Dim::Fixed(1)];
        let frequencies = graph.operator(
            ("Broadcast", "opset3"),
            &[("mode", "numpy")],
            &[&frequencies, &shape],
            (ElementType::F32, output),
        );
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
        let (cos, sin) = (graph.unary("Cos", "opset1", &both), graph.unary("Sin", "opset1", &both));
        let (mut found, mut start) = (BTreeMap::new(), 0);
        for (kind, rope) in ropes {
            let n = n_of(rope);
            let mut of = |all: &Node| {
                let values = graph.unsqueeze(all, &[1])?;
                let values = match n == n_frequencies {
                    true => values,
                    false => {
                        let end = (start + n) as i64;
                        let half = slice(graph, &values, start as i64, end, n as u64)?;
                        graph.concat(&[&half, &half], 3, Dim::Fixed(2 * n as u64))
                    }
                };
                if rope.magnitude() == 1.0 {
                    return Ok(values);
                }
                let magnitude = graph.float(rope.magnitude(), 0)?;
                Ok::<Node, ExportError>(graph.binary("Multiply", &values, &magnitude))
            };
            let (cos, sin) = (of(&cos)?, of(&sin)?);
            found.insert(*kind, RotaryAngles { n_rotated: rope.n_rotated, cos, sin });
            start += n;
        }
        Ok(found)
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

/// The frequencies of all kinds, one behind the other.
///
/// Shapes: `[1, n_frequencies, 1]`.
fn frequencies(
    graph: &mut Graph,
    position_ids: &Node,
    ropes: &BTreeMap<RopeKind, &Rope>,
) -> Result<Node, ExportError> {
    let stored = |graph: &mut Graph, name: &str, frequencies: &[f32]| {
        graph.floats(&format!("rotary/{name}"), &[1, frequencies.len(), 1], frequencies)
    };
    let short: Vec<f32> = ropes.values().flat_map(|rope| rope.inverse_frequencies()).collect();
    let short = stored(graph, "inverse_frequencies", &short)?;
    let Some((n_original, _)) = ropes.values().find_map(|rope| rope.long_frequencies()) else {
        return Ok(short);
    };
    let long = ropes.values().flat_map(|rope| match rope.long_frequencies() {
        Some((_, long)) => long,
        None => rope.inverse_frequencies(),
    });
    let long = stored(graph, "long_inverse_frequencies", &long.collect::<Vec<f32>>())?;
    let is_short = is_within(graph, position_ids, n_original)?;
    let output = (ElementType::F32, short.dims.clone());
    let attributes = [("auto_broadcast", "numpy")];
    let inputs = [&is_short, &short, &long];
    Ok(graph.operator(("Select", "opset1"), &attributes, &inputs, output))
}

/// Whether the sequence so far has at most this many positions, by the last of them.
fn is_within(
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
    // The first position is 0. NPUW looks for a sum here, too.
    let one = graph.integer(1)?;
    let n_seen = graph.binary("Add", &last, &one);
    let n_positions = graph.integer(n_positions as i64)?;
    Ok(graph.condition("LessEqual", &n_seen, &n_positions))
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
