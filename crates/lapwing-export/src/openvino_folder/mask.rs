//! Which position may look at which: one mask for all layers of a kind.

use lapwing_formats::ir::{Dim, ElementType, Node};

use super::graph::Graph;
use crate::error::ExportError;

/// What is added to the score of a position that may not be looked at: the lowest f16, so that
/// plugins that compute in f16 keep it finite.
const HIDDEN: f32 = -65504.0;

/// What masks are made from.
///
/// Shapes: `attention_mask [batch, n_past + n_tokens]`, `position_ids` and `input_ids`
/// `[batch, n_tokens]`, `past_keys [batch, n_heads, n_past, head_size]`.
#[derive(Clone, Copy)]
pub(super) struct MaskInputs<'a> {
    pub(super) attention_mask: &'a Node,
    pub(super) position_ids: &'a Node,
    pub(super) input_ids: &'a Node,
    pub(super) past_keys: &'a Node,
}

/// Scores to add, `[batch, 1, n_tokens, n_past + n_tokens]`: 0 where a new position may look at an old or new one, [`HIDDEN`] elsewhere.
///
/// A position sees itself and those before it (not farther back than `window`) where
/// `attention_mask` is not 0.
///
/// The window counts positions and not slots of the cache: where slots are left empty, as NPUW
/// leaves them between the past and what is new, the two differ. The position of a slot is the
/// number of tokens that the mask gives before it.
///
/// # Errors
///
/// When a constant cannot be written.
pub(super) fn causal_mask(
    graph: &mut Graph,
    inputs: &MaskInputs<'_>,
    window: Option<usize>,
) -> Result<Node, ExportError> {
    let MaskInputs { attention_mask, position_ids, input_ids, past_keys } = *inputs;
    graph.set_scope(if window.is_some() { "window_mask/" } else { "mask/" });
    let n_past = size_of(graph, past_keys, 2)?;
    let n_new = size_of(graph, input_ids, 1)?;
    let n_positions = graph.binary("Add", &n_past, &n_new);
    let (zero, one) = (graph.integer(0)?, graph.integer(1)?);
    let range = |graph: &mut Graph, from: &Node| {
        let output = (ElementType::I64, vec![Dim::ANY]);
        let attributes = [("output_type", "i64")];
        graph.operator(("Range", "opset4"), &attributes, &[from, &n_positions, &one], output)
    };
    let keys = range(graph, &zero);
    let keys = graph.unsqueeze(&keys, &[0, 1, 2])?;
    let queries = range(graph, &n_past);
    let queries = graph.unsqueeze(&queries, &[0, 1, 3])?;
    let mut visible = graph.condition("LessEqual", &keys, &queries);
    if let Some(window) = window {
        let attributes = [("exclusive", "false"), ("reverse", "false")];
        let output = (ElementType::I64, attention_mask.dims.clone());
        let inputs = [attention_mask, &one];
        let n_given = graph.operator(("CumSum", "opset3"), &attributes, &inputs, output);
        let n_given = graph.unsqueeze(&n_given, &[1, 2])?;
        let window = graph.integer(i64::try_from(window).unwrap_or(i64::MAX))?;
        let queries = graph.unsqueeze(position_ids, &[1, 3])?;
        let horizon = graph.binary("Subtract", &queries, &window);
        // The first token given has position 0.
        let horizon = graph.binary("Add", &horizon, &one);
        let near = graph.condition("Greater", &n_given, &horizon);
        visible = graph.condition("LogicalAnd", &visible, &near);
    }
    let given = graph.convert(attention_mask, ElementType::Boolean);
    let given = graph.unsqueeze(&given, &[1, 2])?;
    let visible = graph.condition("LogicalAnd", &visible, &given);
    let (shown, hidden) = (graph.float(0.0, 0)?, graph.float(HIDDEN, 0)?);
    let output = (ElementType::F32, visible.dims.clone());
    Ok(graph.operator(
        ("Select", "opset1"),
        &[("auto_broadcast", "numpy")],
        &[&visible, &shown, &hidden],
        output,
    ))
}

/// One size of a node, without dimensions.
fn size_of(graph: &mut Graph, node: &Node, dim_idx: i64) -> Result<Node, ExportError> {
    let shape = graph.shape_of(node);
    let dim_idx = graph.integer(dim_idx)?;
    graph.gather(&shape, &dim_idx, 0)
}
