//! The whole decoder: from token ids to logits.

use std::collections::{BTreeMap, BTreeSet};

use lapwing_formats::ir::{ElementType, Node};
use lapwing_model::{Architecture, Transformer};

use super::attention::{Shared, State, attention};
use super::graph::Graph;
use super::mask::{MaskInputs, causal_mask};
use super::norm::rms_norm;
use super::rope::Rope;
use super::source::Matrices;
use super::weight::{project, weight};
use crate::error::ExportError;

/// Write the decoder of a llama-family model.
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
    let mut hidden = graph.gather(&embedding, &ids, 0)?;

    let n_batch = batch_size(graph, &input_ids)?;
    let rope = Rope::write(graph, &position_ids, &architecture.inverse_frequencies())?;
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
        let shared = Shared { architecture, rope: &rope, mask };
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
    let logits = match source.logits_constant()? {
        None => graph.matmul(&hidden, &head, true, Some("logits")),
        Some(constant) => {
            let product = graph.matmul(&hidden, &head, true, None);
            let constant = graph.floats("self.lm_head.bias", &[1, 1, constant.len()], &constant)?;
            let attributes = [("auto_broadcast", "numpy")];
            let output = (product.element_type, product.dims.clone());
            let inputs = [&product, &constant];
            graph.named_operator(("Add", "opset1"), &attributes, &inputs, output, Some("logits"))
        }
    };
    graph.result(&logits);
    Ok(())
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
    let hidden = graph.binary("Add", &hidden, &attended);

    graph.set_scope(&format!("layers.{layer_idx}.mlp/"));
    let norm_name = format!("{name}.post_attention_layernorm.weight");
    let x = norm(graph, source, architecture, &hidden, &norm_name)?;
    let (outer, inner) = (architecture.hidden_size, architecture.family.intermediate_size);
    let gate = project(graph, source, &x, &format!("{name}.mlp.gate_proj.weight"), [inner, outer])?;
    let gate = graph.unary("Swish", "opset4", &gate);
    let up = project(graph, source, &x, &format!("{name}.mlp.up_proj.weight"), [inner, outer])?;
    let gated = graph.binary("Multiply", &gate, &up);
    let down_name = format!("{name}.mlp.down_proj.weight");
    let down = project(graph, source, &gated, &down_name, [outer, inner])?;
    Ok(graph.binary("Add", &hidden, &down))
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
