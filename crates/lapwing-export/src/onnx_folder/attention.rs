//! One layer's attention as a single `GroupQueryAttention` node, or in standard operators.

mod plain;

use lapwing_formats::onnx::ElementType;
use lapwing_formats::onnx::proto::AttributeProto;
use lapwing_model::{Architecture, Transformer};

use super::graph::Graph;
use crate::error::ExportError;

/// Head sizes that `GroupQueryAttention` takes with rotary inside are multiples of this.
const HEAD_SIZE_STEP: usize = 16;

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
    /// The fastest kind that takes this head size.
    pub(super) fn for_head_size(head_size: usize) -> AttentionKind {
        if head_size.is_multiple_of(HEAD_SIZE_STEP) {
            AttentionKind::Fused
        } else {
            AttentionKind::Plain
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
    /// Last index of each sequence `i32 [batch]`; length with the past `i32`.
    Fused {
        last_idx: String,
        n_total: String,
    },
    Plain(plain::Shared),
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
        store_angles(graph, architecture)?;
        let shared = match kind {
            AttentionKind::Fused => fused_lengths(graph),
            AttentionKind::Plain => Shared::Plain(plain::Shared::new(graph, architecture)),
        };
        Ok(Attention { architecture, shared })
    }

    /// Attend over past and new positions; gives `[batch, positions, n_heads * head_size]`.
    pub(super) fn layer(
        &self,
        graph: &mut Graph,
        layer_idx: usize,
        projections: &Projections,
    ) -> String {
        let (last_idx, n_total) = match &self.shared {
            Shared::Fused { last_idx, n_total } => (last_idx, n_total),
            Shared::Plain(shared) => {
                return shared.layer(graph, self.architecture, layer_idx, projections);
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
        let inputs = [
            query,
            key,
            value,
            &past_key,
            &past_value,
            last_idx,
            n_total,
            "cos_cache",
            "sin_cache",
        ];
        let name = format!("/model/layers.{layer_idx}/attn/GroupQueryAttention");
        let output = format!("{name}/output_0");
        let present_key = format!("present.{layer_idx}.key");
        let present_value = format!("present.{layer_idx}.value");
        let window = architecture.window(layer_idx).and_then(|window| i64::try_from(window).ok());
        let attributes = [
            AttributeProto::int("num_heads", architecture.n_heads as i64),
            AttributeProto::int("kv_num_heads", architecture.n_kv_heads as i64),
            AttributeProto::float("scale", 1.0 / (architecture.head_size as f32).sqrt()),
            AttributeProto::int("local_window_size", window.unwrap_or(-1)),
            AttributeProto::int("do_rotary", 1),
            AttributeProto::int("rotary_interleaved", 0),
        ];
        let outputs = [output.as_str(), &present_key, &present_value];
        graph.node_to(&name, "GroupQueryAttention", &inputs, &outputs, attributes);
        output
    }
}

/// What the operator wants to know of the mask.
fn fused_lengths(graph: &mut Graph) -> Shared {
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
    let n_total = graph.node(&node("Gather/Cast"), "Cast", &[&n_total], [to_i32()]);
    Shared::Fused { last_idx, n_total }
}

/// Store `cos_cache` and `sin_cache`, `[n_positions_max, head_size / 2]`.
fn store_angles(
    graph: &mut Graph,
    architecture: &Architecture<Transformer>,
) -> Result<(), ExportError> {
    let n_positions = architecture.n_positions_max;
    if n_positions > N_POSITIONS_MAX {
        return Err(ExportError::Unsupported {
            target: "ONNX",
            expected: format!("a context of at most {N_POSITIONS_MAX} positions"),
            found: n_positions.to_string(),
        });
    }
    let frequencies = architecture.inverse_frequencies();
    let dims = [n_positions, frequencies.len()];
    for (name, function) in [("cos_cache", f64::cos as fn(f64) -> f64), ("sin_cache", f64::sin)] {
        let mut values = Vec::with_capacity(n_positions * frequencies.len());
        for position in 0..n_positions {
            // The angle is rounded to f32 as in the models' own code; what follows is exact.
            let angles = frequencies.iter().map(|frequency| position as f32 * frequency);
            values.extend(angles.map(|angle| function(f64::from(angle)) as f32));
        }
        graph.f32_weight(name, &dims, &values)?;
    }
    Ok(())
}
