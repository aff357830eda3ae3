//! Attention over keys and values that live in the model.

use lapwing_formats::ir::{Dim, ElementType, Node};
use lapwing_model::{Architecture, Transformer};

use super::graph::Graph;
use super::norm::rms_norm;
use super::rope::RotaryAngles;
use super::source::Matrices;
use super::weight::biased;
use crate::error::ExportError;

/// The keys or the values of one layer, from one call to the next.
pub(super) struct State {
    variable_id: String,
    /// What earlier calls left, in the order of `beam_idx`.
    ///
    /// Shapes: `[batch, n_kv_heads, n_past, head_size]`.
    pub(super) past: Node,
}

impl State {
    /// Read the state of `layer_idx`; `which` is `key` or `value`.
    ///
    /// Shapes: `n_batch [1]`, `beam_idx [batch]`.
    ///
    /// # Errors
    ///
    /// When a constant cannot be written.
    pub(super) fn read(
        graph: &mut Graph,
        architecture: &Architecture<Transformer>,
        (n_batch, beam_idx): (&Node, &Node),
        layer_idx: usize,
        which: &str,
    ) -> Result<State, ExportError> {
        graph.set_scope(&format!("layers.{layer_idx}.{which}_state/"));
        let input_name = format!("past_key_values.{layer_idx}.{which}");
        let variable_id = format!("{input_name}present.{layer_idx}.{which}");
        let (n_heads, head_size) = (architecture.n_kv_heads, architecture.head_size);
        let parts = [
            graph.integers(&[n_heads as i64])?,
            graph.integers(&[0])?,
            graph.integers(&[head_size as i64])?,
        ];
        let empty_shape =
            graph.concat(&[n_batch, &parts[0], &parts[1], &parts[2]], 0, Dim::Fixed(4));
        let nothing = graph.float(0.0, 0)?;
        let dims = |n_past| {
            vec![Dim::ANY, Dim::Fixed(n_heads as u64), n_past, Dim::Fixed(head_size as u64)]
        };
        let empty = graph.operator(
            ("Broadcast", "opset3"),
            &[("mode", "numpy")],
            &[&nothing, &empty_shape],
            (ElementType::F32, dims(Dim::Fixed(0))),
        );
        let stored = graph.named_operator(
            ("ReadValue", "opset6"),
            &[
                ("variable_id", &variable_id),
                ("variable_type", "f32"),
                ("variable_shape", &format!("?,{n_heads},?,{head_size}")),
            ],
            &[&empty],
            (ElementType::F32, dims(Dim::ANY)),
            Some(&input_name),
        );
        let past = graph.gather(&stored, beam_idx, 0)?;
        Ok(State { variable_id, past })
    }

    /// Append the new positions, and keep the whole for the next call.
    ///
    /// Shapes: `new [batch, n_kv_heads, n_tokens, head_size]`.
    fn append(&self, graph: &mut Graph, new: &Node) -> Node {
        let whole = graph.concat(&[&self.past, new], 2, Dim::ANY);
        let output = (ElementType::F32, whole.dims.clone());
        graph.operator(
            ("Assign", "opset6"),
            &[("variable_id", &self.variable_id)],
            &[&whole],
            output,
        );
        whole
    }
}

/// What layers share.
pub(super) struct Shared<'a> {
    pub(super) architecture: &'a Architecture<Transformer>,
    /// None where the layer has no rotary embedding.
    pub(super) rope: Option<&'a RotaryAngles>,
    pub(super) mask: &'a Node,
}

/// Attention of one layer, without the residual.
///
/// Shapes: `x [batch, n_tokens, hidden_size]`, and so is the result.
///
/// # Errors
///
/// When a weight cannot be read or written.
pub(super) fn attention(
    graph: &mut Graph,
    source: &mut Matrices<'_>,
    shared: &Shared<'_>,
    x: &Node,
    layer: &str,
    [key_state, value_state]: [&State; 2],
) -> Result<Node, ExportError> {
    let Shared { architecture, rope, mask } = shared;
    let query = heads(graph, source, architecture, x, layer, ("q", architecture.n_heads))?;
    let query = rotated(graph, *rope, query)?;
    let key = heads(graph, source, architecture, x, layer, ("k", architecture.n_kv_heads))?;
    let key = rotated(graph, *rope, key)?;
    let value = heads(graph, source, architecture, x, layer, ("v", architecture.n_kv_heads))?;
    let key = key_state.append(graph, &key);
    let value = value_state.append(graph, &value);
    let key = repeat_heads(graph, architecture, &key)?;
    let value = repeat_heads(graph, architecture, &value)?;
    let scale = graph.float(architecture.family.attention_scale, 0)?;
    let sinks = match architecture.family.has_sinks {
        true => Some(sinks(graph, source, architecture, layer)?),
        false => None,
    };
    let attended = match (architecture.family.attention_cap, &sinks) {
        (None, sinks) => {
            let output = (ElementType::F32, query.dims.clone());
            let inputs: [&Node; 5] = [&query, &key, &value, mask, &scale];
            let inputs = inputs.into_iter().chain(sinks);
            graph.operator(
                ("ScaledDotProductAttention", "opset13"),
                &[("causal", "false")],
                &inputs.collect::<Vec<&Node>>(),
                output,
            )
        }
        (Some(cap), None) => capped_attention(graph, [&query, &key, &value], mask, &scale, cap)?,
        (Some(_), Some(_)) => {
            return Err(ExportError::Unsupported {
                target: "OpenVINO",
                expected: "sinks, or a limit of scores".to_owned(),
                found: "both".to_owned(),
            });
        }
    };
    let attended = graph.transpose(&attended, &[0, 2, 1, 3])?;
    let n_columns = architecture.n_heads * architecture.head_size;
    let dims = vec![Dim::ANY, Dim::ANY, Dim::Fixed(n_columns as u64)];
    let attended = graph.reshape(&attended, &[0, 0, n_columns as i64], dims)?;
    let name = format!("{layer}.self_attn.o_proj");
    let shape = [architecture.hidden_size, n_columns];
    biased(graph, source, &attended, &name, shape, architecture.family.biases.output)
}

/// A score for each head, which takes a share and gives nothing: `[1, n_heads, 1, 1]`.
fn sinks(
    graph: &mut Graph,
    source: &mut Matrices<'_>,
    architecture: &Architecture<Transformer>,
    layer: &str,
) -> Result<Node, ExportError> {
    let name = format!("{layer}.{}", Transformer::SINKS);
    let values = source.vector(&name)?;
    graph.floats(&format!("self.{name}"), &[1, architecture.n_heads, 1, 1], &values)
}

fn rotated(graph: &mut Graph, rope: Option<&RotaryAngles>, x: Node) -> Result<Node, ExportError> {
    match rope {
        Some(rope) => rope.rotate(graph, &x),
        None => Ok(x),
    }
}

/// Attention whose scores have a limit, which the fused operator knows nothing of.
///
/// Shapes: `[batch, n_heads, n_tokens or n_past + n_tokens, head_size]`.
fn capped_attention(
    graph: &mut Graph,
    [query, key, value]: [&Node; 3],
    mask: &Node,
    scale: &Node,
    cap: f32,
) -> Result<Node, ExportError> {
    let scores = graph.matmul(query, key, true, None);
    let scores = graph.binary("Multiply", &scores, scale);
    let limit = graph.float(cap, 0)?;
    let scores = graph.binary("Divide", &scores, &limit);
    let scores = graph.unary("Tanh", "opset1", &scores);
    let scores = graph.binary("Multiply", &scores, &limit);
    let scores = graph.binary("Add", &scores, mask);
    let output = (scores.element_type, scores.dims.clone());
    let shares = graph.operator(("Softmax", "opset8"), &[("axis", "-1")], &[&scores], output);
    Ok(graph.matmul(&shares, value, false, None))
}

/// Queries, keys or values by head: `[batch, n_heads, n_tokens, head_size]`.
fn heads(
    graph: &mut Graph,
    source: &mut Matrices<'_>,
    architecture: &Architecture<Transformer>,
    x: &Node,
    layer: &str,
    (which, n_heads): (&str, usize),
) -> Result<Node, ExportError> {
    let n_rows = n_heads * architecture.head_size;
    let name = format!("{layer}.self_attn.{which}_proj");
    let shape = [n_rows, architecture.hidden_size];
    let projected = biased(graph, source, x, &name, shape, architecture.family.biases.qkv)?;
    let sizes = [n_heads, architecture.head_size];
    let dims = [Dim::ANY, Dim::ANY].into_iter().chain(sizes.map(|size| Dim::Fixed(size as u64)));
    let pattern = [0, 0, n_heads as i64, architecture.head_size as i64];
    let mut by_head = graph.reshape(&projected, &pattern, dims.collect())?;
    if architecture.family.qk_norm && which != "v" {
        let norm_name = format!("{layer}.self_attn.{which}_norm.weight");
        let weight = source.vector(&norm_name)?;
        by_head = rms_norm(graph, &by_head, &norm_name, &weight, architecture.family.rms_epsilon)?;
    }
    graph.transpose(&by_head, &[0, 2, 1, 3])
}

/// Each head of keys or values as often as query heads share it.
fn repeat_heads(
    graph: &mut Graph,
    architecture: &Architecture<Transformer>,
    x: &Node,
) -> Result<Node, ExportError> {
    let n_times = architecture.n_heads / architecture.n_kv_heads;
    if n_times == 1 {
        return Ok(x.clone());
    }
    let single = graph.unsqueeze(x, &[2])?;
    let mut dims = single.dims.clone();
    dims[2] = Dim::Fixed(n_times as u64);
    let times = graph.integers(&[1, 1, n_times as i64, 1, 1])?;
    let repeated = graph.operator(
        ("Broadcast", "opset3"),
        &[("mode", "bidirectional")],
        &[&single, &times],
        (x.element_type, dims),
    );
    let (n_heads, head_size) = (architecture.n_heads as i64, architecture.head_size as i64);
    let dims = vec![Dim::ANY, Dim::Fixed(architecture.n_heads as u64), Dim::ANY, x.dims[3]];
    graph.reshape(&repeated, &[0, n_heads, -1, head_size], dims)
}
