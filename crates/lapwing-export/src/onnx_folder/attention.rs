//! One layer's attention as a single `GroupQueryAttention` node, or in standard operators.

mod plain;

use std::collections::BTreeSet;

use lapwing_formats::onnx::ElementType;
use lapwing_formats::onnx::proto::AttributeProto;
use lapwing_model::{Architecture, Rope, RopeKind, Transformer};

use super::graph::Graph;
use crate::error::ExportError;

/// Head sizes, and parts of heads that turn, that `GroupQueryAttention` takes with rotary inside are
/// multiples of this.
const HEAD_SIZE_STEP: usize = 16;

/// Which input of `GroupQueryAttention` has the heads' sinks, counted from 0.
const SINKS_INPUT: usize = 11;

/// Longest table of rotary angles: half a gigabyte at a head size of 128.
const N_POSITIONS_MAX: usize = 1 << 20;

/// Which operators compute attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttentionKind {
    /// `GroupQueryAttention`, rotary inside.
    Fused,
    /// Standard operators, and an input `position_ids`.
    Plain,
}

impl AttentionKind {
    /// The fastest kind that takes these heads, and the part of them that turns.
    pub(super) fn of(architecture: &Architecture<Transformer>) -> AttentionKind {
        let parts =
            rope_kinds(architecture).into_iter().map(|kind| architecture.rope(kind).n_rotated);
        let mut sizes = std::iter::once(architecture.head_size).chain(parts);
        match sizes.all(|size| size.is_multiple_of(HEAD_SIZE_STEP)) {
            true => AttentionKind::Fused,
            false => AttentionKind::Plain,
        }
    }
}

/// Query, key and value of one layer.
pub(super) enum Projections {
    /// `[batch, positions, (n_heads + 2 * n_kv_heads) * head_size]`.
    Packed(String),
    /// `[batch, positions, n_heads * head_size]`, then two of `n_kv_heads * head_size`.
    Separate([String; 3]),
}

/// What attention needs once a graph.
pub(super) struct Attention<'a> {
    architecture: &'a Architecture<Transformer>,
    shared: Shared,
}

enum Shared {
    Fused(Fused),
    Plain(plain::Shared),
}

/// What the fused operator wants to know.
struct Fused {
    /// Last index of each sequence, `i32 [batch]`.
    last_idx: String,
    /// Length with the past, `i32`.
    n_total: String,
    /// Rows of the general table of angles, `i64 [batch, positions]`, where these are not the
    /// positions.
    rows: Option<String>,
}

impl<'a> Attention<'a> {
    /// Store the rotary angles and add what every layer shares.
    ///
    /// # Errors
    ///
    /// When the context is too long for a table of angles, or the data file cannot be written.
    pub(super) fn new(
        graph: &mut Graph,
        architecture: &'a Architecture<Transformer>,
        kind: AttentionKind,
    ) -> Result<Attention<'a>, ExportError> {
        for kind in rope_kinds(architecture) {
            store_angles(graph, architecture, kind)?;
        }
        let long = long_start(architecture);
        let shared = match kind {
            AttentionKind::Fused => Shared::Fused(Fused::new(graph, long)),
            AttentionKind::Plain => Shared::Plain(plain::Shared::new(graph, architecture, long)),
        };
        Ok(Attention { architecture, shared })
    }

    /// Attend over past and new positions; gives `[batch, positions, n_heads * head_size]`.
    ///
    /// `sinks` is the value of the heads' sinks, `[n_heads]`, where they have any.
    pub(super) fn layer(
        &self,
        graph: &mut Graph,
        layer_idx: usize,
        projections: &Projections,
        sinks: Option<&str>,
    ) -> String {
        let fused = match &self.shared {
            Shared::Fused(fused) => fused,
            Shared::Plain(shared) => {
                return shared.layer(graph, self.architecture, layer_idx, projections, sinks);
            }
        };
        let architecture = self.architecture;
        let (query, key, value) = match projections {
            Projections::Packed(packed) => (packed.as_str(), "", ""),
            Projections::Separate([query, key, value]) => {
                (query.as_str(), key.as_str(), value.as_str())
            }
        };
        let past_key = format!("past_key_values.{layer_idx}.key");
        let past_value = format!("past_key_values.{layer_idx}.value");
        let kind = architecture.rope_kind(layer_idx);
        let mut inputs =
            vec![query, key, value, &past_key, &past_value, &fused.last_idx, &fused.n_total];
        let tables = kind.map(table_names);
        inputs.extend(tables.into_iter().flatten());
        if let Some(rows) = fused.rows.as_deref().filter(|_| kind == Some(RopeKind::General)) {
            inputs.push(rows);
        }
        if let Some(sinks) = sinks {
            inputs.resize(SINKS_INPUT, "");
            inputs.push(sinks);
        }
        let name = format!("/model/layers.{layer_idx}/attn/GroupQueryAttention");
        let output = format!("{name}/output_0");
        let present_key = format!("present.{layer_idx}.key");
        let present_value = format!("present.{layer_idx}.value");
        let window = architecture.window(layer_idx).and_then(|window| i64::try_from(window).ok());
        let mut attributes = vec![
            AttributeProto::int("num_heads", architecture.n_heads as i64),
            AttributeProto::int("kv_num_heads", architecture.n_kv_heads as i64),
            AttributeProto::float("scale", architecture.family.attention_scale),
            AttributeProto::int("local_window_size", window.unwrap_or(-1)),
            AttributeProto::int("do_rotary", i64::from(kind.is_some())),
            AttributeProto::int("rotary_interleaved", 0),
        ];
        let outputs = [output.as_str(), &present_key, &present_value];
        let cap = architecture.family.attention_cap;
        attributes.extend(cap.map(|cap| AttributeProto::float("softcap", cap)));
        graph.node_to(&name, "GroupQueryAttention", &inputs, &outputs, attributes);
        output
    }
}

impl Fused {
    /// `long`: from which length on, and from which row, the table of angles has others.
    fn new(graph: &mut Graph, long: Option<LongStart>) -> Fused {
        let to_i32 = || AttributeProto::int("to", i64::from(ElementType::I32.number()));
        let node = |name: &str| format!("/model/attention_mask/{name}");
        let axis = graph.i64_list("/model/constants/1d/1", &[1]);
        let one = graph.i64_scalar("/model/constants/1", 1);
        let keep = AttributeProto::int("keepdims", 0);
        let sum = graph.node(&node("ReduceSum"), "ReduceSum", &["attention_mask", &axis], [keep]);
        let last_idx = graph.node(&node("Sub"), "Sub", &[&sum, &one], []);
        let last_idx = graph.node(&node("Sub/Cast"), "Cast", &[&last_idx], [to_i32()]);
        let shape = graph.node(&node("Shape"), "Shape", &["attention_mask"], []);
        let axis = AttributeProto::int("axis", 0);
        let n_total = graph.node(&node("Gather"), "Gather", &[&shape, &one], [axis]);
        let rows = long.map(|long| {
            let first = long.first_row(graph, &n_total);
            let positions = positions(graph, &n_total);
            graph.node("/model/rotary/rows", "Add", &[&positions, &first], [])
        });
        let n_total = graph.node(&node("Gather/Cast"), "Cast", &[&n_total], [to_i32()]);
        Fused { last_idx, n_total, rows }
    }
}

/// The positions of what is new, `i64 [batch, positions]`, by the mask.
fn positions(graph: &mut Graph, n_total: &str) -> String {
    let node = |name: &str| format!("/model/rotary/{name}");
    let one = graph.i64_scalar("/model/constants/1", 1);
    let zero = graph.i64_scalar("/model/constants/0", 0);
    let first_axis = graph.i64_list("/model/constants/1d/0", &[0]);
    let second_axis = graph.i64_list("/model/constants/1d/1", &[1]);
    let n_given = graph.node(&node("CumSum"), "CumSum", &["attention_mask", &one], []);
    let position = graph.node(&node("Sub"), "Sub", &[&n_given, &one], []);
    let position = graph.node(&node("Max"), "Max", &[&position, &zero], []);
    let shape = graph.node(&node("new/Shape"), "Shape", &["input_ids"], []);
    let axis = AttributeProto::int("axis", 0);
    let n_new = graph.node(&node("new"), "Gather", &[&shape, &one], [axis]);
    let n_past = graph.node(&node("past"), "Sub", &[n_total, &n_new], []);
    let start = graph.node(&node("start"), "Unsqueeze", &[&n_past, &first_axis], []);
    let end = graph.node(&node("end"), "Unsqueeze", &[n_total, &first_axis], []);
    graph.node(&node("Slice"), "Slice", &[&position, &start, &end, &second_axis], [])
}

/// Where the angles of long sequences begin.
#[derive(Clone, Copy, Debug)]
struct LongStart {
    /// Sequences of more positions are long.
    n_positions: usize,
    /// In the tables.
    row: usize,
}

impl LongStart {
    /// The first row of this sequence's angles, `i64` without axes; `n_total` is its length.
    fn first_row(self, graph: &mut Graph, n_total: &str) -> String {
        let node = |name: &str| format!("/model/rotary/{name}");
        let zero = graph.i64_scalar("/model/constants/0", 0);
        let limit = graph.i64_scalar("/model/rotary/n_original", self.n_positions as i64);
        let row = graph.i64_scalar("/model/rotary/long_row", self.row as i64);
        let is_long = graph.node(&node("Greater"), "Greater", &[n_total, &limit], []);
        graph.node(&node("Where"), "Where", &[&is_long, &row, &zero], [])
    }
}

/// Where the angles of long sequences begin, in a model that has such.
fn long_start(architecture: &Architecture<Transformer>) -> Option<LongStart> {
    let (n_positions, _) = architecture.family.rope.long_frequencies()?;
    Some(LongStart { n_positions, row: n_positions.min(architecture.n_positions_max) })
}

/// The kinds of rotary embedding that layers have.
fn rope_kinds(architecture: &Architecture<Transformer>) -> BTreeSet<RopeKind> {
    (0..architecture.n_layers).filter_map(|idx| architecture.rope_kind(idx)).collect()
}

/// The tables of cosines and sines of a kind.
fn table_names(kind: RopeKind) -> [&'static str; 2] {
    match kind {
        RopeKind::General => ["cos_cache", "sin_cache"],
        RopeKind::Window => ["window_cos_cache", "window_sin_cache"],
    }
}

/// Store cosines and sines, `[n_positions_max, n_rotated / 2]`; behind those of short sequences
/// those of long ones.
fn store_angles(
    graph: &mut Graph,
    architecture: &Architecture<Transformer>,
    kind: RopeKind,
) -> Result<(), ExportError> {
    let n_positions = architecture.n_positions_max;
    if n_positions > N_POSITIONS_MAX {
        return Err(ExportError::Unsupported {
            target: "ONNX",
            expected: format!("a context of at most {N_POSITIONS_MAX} positions"),
            found: n_positions.to_string(),
        });
    }
    let rope: &Rope = architecture.rope(kind);
    let mut parts = vec![(n_positions, rope.inverse_frequencies())];
    if let Some((n_original, long)) = rope.long_frequencies() {
        parts[0].0 = n_original.min(n_positions);
        parts.push((n_positions, long));
    }
    let n_rows = parts.iter().map(|(n_rows, _)| n_rows).sum();
    let dims = [n_rows, rope.n_rotated / 2];
    let magnitude = f64::from(rope.magnitude());
    let [cos, sin] = table_names(kind);
    for (name, function) in [(cos, f64::cos as fn(f64) -> f64), (sin, f64::sin)] {
        let mut values = Vec::with_capacity(n_rows * dims[1]);
        for (n_rows, frequencies) in &parts {
            for position in 0..*n_rows {
                // The angle is rounded to f32 as in the models' own code; what follows is exact.
                let angles = frequencies.iter().map(|frequency| position as f32 * frequency);
                values.extend(angles.map(|angle| (function(f64::from(angle)) * magnitude) as f32));
            }
        }
        graph.f32_weight(name, &dims, &values)?;
    }
    Ok(())
}
