//! The whole decoder: from token ids to logits.

use std::collections::{BTreeMap, BTreeSet};

use lapwing_formats::ir::{Dim, ElementType, Node};
use lapwing_model::{Architecture, RopeKind, Transformer};

use super::activation::gated;
use super::attention::{Shared, State, attention};
use super::experts::mixture;
use super::graph::Graph;
use super::mask::{MaskInputs, causal_mask};
use super::norm::rms_norm;
use super::rope::RotaryAngles;
use super::source::Matrices;
use super::weight::{biased, stored, weight};
use crate::error::ExportError;
use crate::plan::{FINE_HEAD, PlannedWeight};

/// Write the decoder.
///
/// # Errors
///
/// When a weight cannot be read or written, or the caller stops.
pub(super) fn write(
    graph: &mut Graph,
    architecture: &Architecture<Transformer>,
    source: &mut Matrices<'_>,
) -> Result<(), ExportError> {
    let input_ids = graph.parameter("input_ids", ElementType::I64, 2);
    let attention_mask = graph.parameter("attention_mask", ElementType::I64, 2);
    let position_ids = graph.parameter("position_ids", ElementType::I64, 2);
    let beam_idx = graph.parameter("beam_idx", ElementType::I32, 1);

    let embedding_name = "model.embed_tokens.weight";
    let embedding =
        weight(graph, source, embedding_name, [architecture.n_vocab, architecture.hidden_size])?;
    graph.set_scope("embedding/");
    let ids = graph.convert(&input_ids, ElementType::I32);
    let hidden = graph.gather(&embedding, &ids, 0)?;
    let mut hidden = scaled(graph, hidden, architecture.family.embedding_factor)?;

    let n_batch = batch_size(graph, &input_ids)?;
    let kinds = (0..architecture.n_layers).filter_map(|idx| architecture.rope_kind(idx));
    let ropes: BTreeMap<RopeKind, _> = kinds.map(|kind| (kind, architecture.rope(kind))).collect();
    let angles = RotaryAngles::write(graph, (&n_batch, &position_ids), &ropes)?;
    let mut states = Vec::with_capacity(architecture.n_layers);
    for layer_idx in 0..architecture.n_layers {
        let mut state =
            |which| State::read(graph, architecture, (&n_batch, &beam_idx), layer_idx, which);
        states.push([state("key")?, state("value")?]);
    }
    let inputs = MaskInputs {
        attention_mask: &attention_mask,
        position_ids: &position_ids,
        input_ids: &input_ids,
        past_keys: &states[0][0].past,
    };
    let windows: BTreeSet<Option<usize>> =
        (0..architecture.n_layers).map(|layer_idx| architecture.window(layer_idx)).collect();
    let masks =
        windows.into_iter().map(|window| Ok((window, causal_mask(graph, &inputs, window)?)));
    let masks: BTreeMap<Option<usize>, Node> = masks.collect::<Result<_, ExportError>>()?;
    for (layer_idx, states) in states.iter().enumerate() {
        let mask = &masks[&architecture.window(layer_idx)];
        let rope = architecture.rope_kind(layer_idx).map(|kind| &angles[&kind]);
        let shared = Shared { architecture, rope, mask };
        hidden = layer(graph, source, &shared, hidden, layer_idx, states)?;
    }

    graph.set_scope("head/");
    let hidden = norm(graph, source, architecture, &hidden, "model.norm.weight")?;
    let head = match architecture.family.tied_head {
        true => embedding,
        false => weight(
            graph,
            source,
            "lm_head.weight",
            [architecture.n_vocab, architecture.hidden_size],
        )?,
    };
    let constant = source.logits_constant()?;
    let family = &architecture.family;
    let is_last = constant.is_none() && family.logit_divisor == 1.0 && family.logit_cap.is_none();
    let mut logits = match source.fine_head()? {
        Some(fine) => split_product(graph, &hidden, &head, &fine, is_last)?,
        None => graph.matmul(&hidden, &head, true, is_last.then_some(LOGITS)),
    };
    if let Some(constant) = constant {
        let constant = graph.floats("self.lm_head.bias", &[1, 1, constant.len()], &constant)?;
        let is_last = family.logit_divisor == 1.0 && family.logit_cap.is_none();
        logits = named_binary(graph, "Add", [&logits, &constant], is_last);
    }
    if family.logit_divisor != 1.0 {
        let divisor = graph.float(family.logit_divisor, 0)?;
        logits = named_binary(graph, "Divide", [&logits, &divisor], family.logit_cap.is_none());
    }
    if let Some(cap) = family.logit_cap {
        let limit = graph.float(cap, 0)?;
        let share = graph.binary("Divide", &logits, &limit);
        let share = graph.unary("Tanh", "opset1", &share);
        logits = named_binary(graph, "Multiply", [&share, &limit], true);
    }
    graph.result(&logits);
    Ok(())
}

/// The product with a head whose first rows have more bits beside those that the whole has.
///
/// Shapes: `hidden [batch, positions, columns]`, `head [n_vocab, columns]`, `fine` fewer rows of as
/// many columns; gives `[batch, positions, n_vocab]`.
fn split_product(
    graph: &mut Graph,
    hidden: &Node,
    head: &Node,
    fine: &PlannedWeight,
    is_last: bool,
) -> Result<Node, ExportError> {
    let PlannedWeight::Quantized(quantized) = fine else {
        unreachable!("these rows have codes, found {fine:?}");
    };
    let (n_rows, n_columns) = (quantized.n_rows(), quantized.n_columns);
    let weight = stored(graph, &format!("self.{FINE_HEAD}"), fine, &[n_rows, n_columns])?;
    let common = graph.matmul(hidden, &weight, true, None);
    let whole = graph.matmul(hidden, head, true, None);
    let [start, end] = [graph.integers(&[n_rows as i64])?, graph.integers(&[i64::MAX])?];
    let [step, axis] = [graph.integers(&[1])?, graph.integers(&[2])?];
    let dims = |n_rest: Dim| [&whole.dims[..2], &[n_rest]].concat();
    let n_vocab = head.dims[0];
    let n_rest = n_vocab.fixed().map(|n_vocab| Dim::Fixed(n_vocab - n_rows as u64));
    let inputs = [&whole, &start, &end, &step, &axis];
    let output = (whole.element_type, dims(n_rest.unwrap_or(Dim::ANY)));
    let rest = graph.operator(("Slice", "opset8"), &[], &inputs, output);
    let output = (whole.element_type, dims(n_vocab));
    let name = is_last.then_some(LOGITS);
    let inputs = [&common, &rest];
    Ok(graph.named_operator(("Concat", "opset1"), &[("axis", "2")], &inputs, output, name))
}

/// The name of the output.
const LOGITS: &str = "logits";

/// An element-wise function, whose tensor is the output where it is the last.
fn named_binary(graph: &mut Graph, kind: &str, inputs: [&Node; 2], is_last: bool) -> Node {
    let attributes = [("auto_broadcast", "numpy")];
    let output = (inputs[0].element_type, inputs[0].dims.clone());
    let name = is_last.then_some(LOGITS);
    graph.named_operator((kind, "opset1"), &attributes, &inputs, output, name)
}

/// `x` times a number; itself where that is 1.
fn scaled(graph: &mut Graph, x: Node, factor: f32) -> Result<Node, ExportError> {
    if factor == 1.0 {
        return Ok(x);
    }
    let factor = graph.float(factor, 0)?;
    Ok(graph.binary("Multiply", &x, &factor))
}

fn layer(
    graph: &mut Graph,
    source: &mut Matrices<'_>,
    shared: &Shared<'_>,
    hidden: Node,
    layer_idx: usize,
    [key_state, value_state]: &[State; 2],
) -> Result<Node, ExportError> {
    let name = format!("model.layers.{layer_idx}");
    let architecture = shared.architecture;
    graph.set_scope(&format!("layers.{layer_idx}.attention/"));
    let x = norm(graph, source, architecture, &hidden, &format!("{name}.input_layernorm.weight"))?;
    let attended = attention(graph, source, shared, &x, &name, [key_state, value_state])?;
    let behind = format!("{name}.post_attention_layernorm.weight");
    let attended = branch(graph, source, architecture, attended, &behind)?;
    let hidden = graph.binary("Add", &hidden, &attended);

    graph.set_scope(&format!("layers.{layer_idx}.mlp/"));
    let norm_name = format!("{name}.{}.weight", architecture.feed_forward_norm());
    let x = norm(graph, source, architecture, &hidden, &norm_name)?;
    let down = match architecture.family.experts {
        Some(experts) => mixture(graph, source, architecture, experts, &x, &name)?,
        None => feed_forward(graph, source, architecture, &x, &name)?,
    };
    let behind = format!("{name}.post_feedforward_layernorm.weight");
    let down = branch(graph, source, architecture, down, &behind)?;
    Ok(graph.binary("Add", &hidden, &down))
}

/// `down(activation(gate(x)) * up(x))`.
fn feed_forward(
    graph: &mut Graph,
    source: &mut Matrices<'_>,
    architecture: &Architecture<Transformer>,
    x: &Node,
    name: &str,
) -> Result<Node, ExportError> {
    let (outer, inner) = (architecture.hidden_size, architecture.family.intermediate_size);
    let has_bias = architecture.family.biases.feed_forward;
    let gate =
        biased(graph, source, x, &format!("{name}.mlp.gate_proj"), [inner, outer], has_bias)?;
    let up = biased(graph, source, x, &format!("{name}.mlp.up_proj"), [inner, outer], has_bias)?;
    let gated = gated(graph, architecture.family.activation, &gate, &up)?;
    let down_name = format!("{name}.mlp.down_proj");
    biased(graph, source, &gated, &down_name, [outer, inner], has_bias)
}

/// What a branch gives, as it is added: normalised where the family has a norm behind it, and scaled.
fn branch(
    graph: &mut Graph,
    source: &mut Matrices<'_>,
    architecture: &Architecture<Transformer>,
    mut x: Node,
    norm_name: &str,
) -> Result<Node, ExportError> {
    if architecture.family.norms_behind {
        x = norm(graph, source, architecture, &x, norm_name)?;
    }
    scaled(graph, x, architecture.family.residual_factor)
}

fn norm(
    graph: &mut Graph,
    source: &mut Matrices<'_>,
    architecture: &Architecture<Transformer>,
    x: &Node,
    name: &str,
) -> Result<Node, ExportError> {
    let weight = source.vector(name)?;
    rms_norm(graph, x, name, &weight, architecture.family.rms_epsilon)
}

/// How many sequences a step has. Shapes: `[1]`.
fn batch_size(graph: &mut Graph, input_ids: &Node) -> Result<Node, ExportError> {
    let shape = graph.shape_of(input_ids);
    let first = graph.integers(&[0])?;
    graph.gather(&shape, &first, 0)
}
