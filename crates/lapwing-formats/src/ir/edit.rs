//! Logits of chosen positions only: a `Gather` before the output head.
//!
//! Exports compute the logits of every position of a step, and for a long prompt that costs more
//! than all layers together. The edit puts the choice of positions in front of the head's `MatMul`:
//!
//! ```text
//! before:  hidden [batch, n_tokens, size] ─────────────────────────► MatMul ► … ► logits
//! after:   hidden [batch, n_tokens, size] ► Gather (axis 1) ───────► MatMul ► … ► logits
//!          LOGITS_POSITIONS [n_positions] ──┘
//! ```
//!
//! The axis needs a constant; it points at bytes that the BIN holds anyway.

use std::fmt;

use super::cursor::{Cursor, Fault};
use super::element_type::ElementType;
use super::layer::{Layer, Port};
use super::shape::Dim;
use super::{IrModel, OpenIrError, invalid};

/// The input that [`slice_before_head`] adds: i64 `[n_positions]`, the positions of this step
/// (0 is the step's first token) whose logits are wanted, in the order wanted.
///
/// The last one alone: `[n_tokens - 1]`. All: `[0, 1, …, n_tokens - 1]`. The logits' shape is then
/// `[batch, n_positions, n_vocab]`. The input must always be given, and is the model's last.
pub const LOGITS_POSITIONS: &str = "lapwing_logits_positions";

/// What [`slice_before_head`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SliceEdit {
    /// The model takes [`LOGITS_POSITIONS`] now.
    Sliced {
        /// The name of the head's `MatMul`.
        head: String,
    },
    /// The model is as it was.
    NotFound(NotFound),
}

/// Why there was nothing to slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// No output named `logits`, and not exactly one output.
    NoLogits,
    /// The way back from the logits meets a layer that is no head and not known to leave positions
    /// apart from each other.
    UnknownLayer {
        /// Its name.
        name: String,
        /// Its operation.
        kind: String,
    },
    /// The head's input is not `[batch, n_tokens, size]` with a free number of tokens: the export
    /// is static, or computes the last position only already.
    FixedPositions {
        /// The sizes found.
        dims: Vec<Dim>,
    },
    /// The head's input comes from a `Gather` or a `Slice` already.
    AlreadySliced,
    /// Another layer or output uses what lies between the head and the logits.
    Shared {
        /// The name of the layer with two users.
        name: String,
    },
    /// The BIN holds no integer 1 for the axis.
    NoAxis,
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotFound::NoLogits => f.write_str("there is no output `logits`"),
            NotFound::UnknownLayer { name, kind } => {
                write!(f, "`{name}` ({kind}) on the way back from the logits is no head")
            }
            NotFound::FixedPositions { dims } => {
                write!(f, "the head takes {dims:?}, expected a free number of positions")
            }
            NotFound::AlreadySliced => f.write_str("positions are chosen already"),
            NotFound::Shared { name } => write!(f, "`{name}` behind the head has another user"),
            NotFound::NoAxis => f.write_str("no constant holds an integer 1"),
        }
    }
}

/// Why an edit failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot edit the graph")]
pub struct EditError {
    /// Why the edited text is no IR.
    pub source: Box<OpenIrError>,
}

/// Make the model compute logits only for the positions given as [`LOGITS_POSITIONS`].
///
/// The way back from the logits may pass conversions and element-wise operations with constants
/// (bias, soft cap, scale).
///
/// # Errors
///
/// When the edited text does not pass the checks of [`IrModel::open`]; the model is then as it was.
pub fn slice_before_head(model: &mut IrModel) -> Result<SliceEdit, EditError> {
    let (head, text) = match sliced(model) {
        Ok(sliced) => sliced,
        Err(why) => return Ok(SliceEdit::NotFound(why)),
    };
    let edited = text.and_then(|text| IrModel::from_text(&model.xml_path, text, model.bin.clone()));
    match edited {
        Ok(edited) => *model = edited,
        Err(fault) => {
            return Err(EditError { source: Box::new(invalid(&model.xml_path, fault)) });
        }
    }
    Ok(SliceEdit::Sliced { head })
}

/// The head's name and the new text.
fn sliced(model: &IrModel) -> Result<(String, Result<String, Fault>), NotFound> {
    let heads = find_heads(model)?;
    let head = heads[0];
    let edges_of_heads = heads
        .iter()
        .map(|&head| {
            model.index.edges_into(head.id()).first().copied().ok_or_else(|| unknown(head))
        })
        .collect::<Result<Vec<_>, NotFound>>()?;
    let edge = edges_of_heads[0];
    let (hidden, _) = head.source_of(edge.to_port).ok_or_else(|| unknown(head))?;
    let port = hidden.outputs().find(|port| port.id == edge.from_port);
    let port = port.ok_or_else(|| unknown(hidden))?;
    match port.dims[..] {
        [_, Dim::Dynamic { .. }, _] => {}
        _ => return Err(NotFound::FixedPositions { dims: port.dims }),
    }
    if matches!(&*hidden.kind(), "Gather" | "Slice" | "StridedSlice") {
        return Err(NotFound::AlreadySliced);
    }
    let (axis_type, axis_offset) = find_one(model).ok_or(NotFound::NoAxis)?;
    let ids = free_ids::<3>(model);
    let edges = [
        (edge.from_layer, edge.from_port, ids[2], 0),
        (ids[0], 0, ids[2], 1),
        (ids[1], 0, ids[2], 2),
    ];
    let into_heads = edges_of_heads.iter().map(|edge| (ids[2], 3, edge.to_layer, edge.to_port));
    let edge_text: String = edges.into_iter().chain(into_heads).map(new_edge).collect();
    let layer_text = new_layers(ids, axis_type, axis_offset, &port);
    let old_edges = edges_of_heads.iter().map(|edge| old_edge(model, edge.to_layer, edge.to_port));
    let text = old_edges.collect::<Result<Vec<_>, Fault>>().map(|old_edges| {
        let mut changes = vec![
            (model.index.layers_end..model.index.layers_end, layer_text),
            (model.index.edges_end..model.index.edges_end, edge_text),
        ];
        changes.extend(old_edges.into_iter().map(|old_edge| (old_edge, String::new())));
        splice(&model.text, changes)
    });
    Ok((head.name().into_owned(), text))
}

/// Walk back from the logits to the `MatMul` that makes them: to several of one activation where
/// parts of the vocabulary are put together (`Slice` and `Concat` along the last axis). At least one.
pub(super) fn find_heads(model: &IrModel) -> Result<Vec<Layer<'_>>, NotFound> {
    let results: Vec<Layer<'_>> = model.layers().filter(|layer| layer.kind() == "Result").collect();
    let names = model.results();
    let named = names.iter().position(|result| result.names.iter().any(|name| name == "logits"));
    let logits = match (named, &results[..]) {
        (Some(result_idx), _) => results[result_idx],
        (None, &[only]) => only,
        _ => return Err(NotFound::NoLogits),
    };
    let mut heads: Vec<Layer<'_>> = Vec::new();
    let mut pending = vec![logits];
    // A chain longer than the graph would be a cycle.
    for _ in 0..model.index.layers.len() {
        let Some(layer) = pending.pop() else { break };
        if layer.kind() == "MatMul" && is_head(layer) {
            if heads.first().is_some_and(|first| activation(*first) != activation(layer)) {
                return Err(unknown(layer));
            }
            heads.push(layer);
            continue;
        }
        let before = carried(model, layer).ok_or_else(|| unknown(layer))?;
        for &source in &before {
            let users = model.edges().iter().filter(|edge| edge.from_layer == source.id());
            if users.count() > 1 {
                return Err(NotFound::Shared { name: source.name().into_owned() });
            }
        }
        pending.extend(before);
    }
    match pending.first() {
        None if !heads.is_empty() => Ok(heads),
        left => Err(unknown(left.copied().unwrap_or(logits))),
    }
}

/// The layers before this one that come from a head; none where the way ends.
fn carried<'a>(model: &IrModel, layer: Layer<'a>) -> Option<Vec<Layer<'a>>> {
    let mut sources = layer.sources();
    let one = match &*layer.kind() {
        "Result" | "Convert" | "Tanh" | "Clamp" => sources.next(),
        "Add" | "Subtract" | "Multiply" | "Divide" => {
            let mut varying = sources.filter(|source| !is_constant(*source));
            varying.next().filter(|_| varying.next().is_none())
        }
        "Slice" => {
            let whole = sources.next();
            let others: Vec<Layer<'_>> = sources.collect();
            let axes = others.get(3).filter(|_| others.iter().all(|other| is_constant(*other)));
            whole.filter(|_| axes.is_some_and(|axes| is_last_axis(model, *axes)))
        }
        "Concat" => {
            let axis = layer.attribute("axis")?;
            let parts: Vec<Layer<'a>> = sources.collect();
            return (matches!(&*axis, "2" | "-1") && !parts.is_empty()).then_some(parts);
        }
        _ => None,
    };
    one.map(|one| vec![one])
}

/// Which layer's output a head multiplies.
fn activation(head: Layer<'_>) -> Option<(u32, u32)> {
    head.source_of(0).map(|(layer, port_id)| (layer.id(), port_id))
}

/// Whether a constant is the one number of the last axis of `[batch, positions, vocabulary]`.
fn is_last_axis(model: &IrModel, axes: Layer<'_>) -> bool {
    axes.constant().is_some_and(|constant| {
        let bytes = model.constant_bytes(&constant);
        constant.element_type == ElementType::I64
            && [2i64, -1].iter().any(|axis| bytes == axis.to_le_bytes())
    })
}

pub(super) fn unknown(layer: Layer<'_>) -> NotFound {
    NotFound::UnknownLayer { name: layer.name().into_owned(), kind: layer.kind().into_owned() }
}

/// Rows of the first input are positions when it is not transposed.
fn is_head(layer: Layer<'_>) -> bool {
    layer.attribute("transpose_a").is_none_or(|value| matches!(&*value, "false" | "0"))
}

/// A constant, or a conversion of one.
fn is_constant(layer: Layer<'_>) -> bool {
    match &*layer.kind() {
        "Const" => true,
        "Convert" => layer.sources().next().is_some_and(|source| source.kind() == "Const"),
        _ => false,
    }
}

/// Where the BIN holds an integer 1, and of which type.
fn find_one(model: &IrModel) -> Option<(ElementType, u64)> {
    let one = 1u64.to_le_bytes();
    let is_one = |constant: &super::Constant<'_>| match constant.element_type {
        ElementType::I64 => model.constant_bytes(constant) == one,
        ElementType::I32 => model.constant_bytes(constant) == &one[..4],
        _ => false,
    };
    if let Some(constant) = model.constants().find(is_one) {
        return Some((constant.element_type, constant.range.start));
    }
    let offset = model.bin.windows(one.len()).position(|window| window == one)?;
    Some((ElementType::I64, offset as u64))
}

/// Ids that no layer has.
pub(super) fn free_ids<const N: usize>(model: &IrModel) -> [u32; N] {
    let n_layers = u32::try_from(model.index.layers.len()).expect("the text is below 4 GiB");
    let mut free = (n_layers..=u32::MAX).chain(0..n_layers);
    std::array::from_fn(|_| {
        let id = free.find(|&id| model.layer(id).is_none());
        id.expect("there are more ids than layers")
    })
}

/// The text of an edge: from layer, its port, to layer, its port.
pub(super) fn new_edge((from_layer, from_port, to_layer, to_port): (u32, u32, u32, u32)) -> String {
    format!(
        "\t<edge from-layer=\"{from_layer}\" from-port=\"{from_port}\" \
         to-layer=\"{to_layer}\" to-port=\"{to_port}\" />\n\t"
    )
}

fn new_layers(ids: [u32; 3], axis_type: ElementType, axis_offset: u64, data: &Port<'_>) -> String {
    let [parameter_id, axis_id, gather_id] = ids;
    let (axis, axis_port) = (axis_type.name(), axis_type.port_name());
    let axis_size = axis_type.n_bytes(1).expect("an integer has a fixed size");
    let precision = quick_xml::escape::escape(data.precision.as_ref());
    let data_dims = dims_text(&data.dims);
    let out_dims = dims_text(&[data.dims[0], Dim::ANY, data.dims[2]]);
    format!(
        r#"	<layer id="{parameter_id}" name="{LOGITS_POSITIONS}" type="Parameter" version="opset1">
			<data shape="?" element_type="i64" />
			<output>
				<port id="0" precision="I64" names="{LOGITS_POSITIONS}">
					<dim>-1</dim>
				</port>
			</output>
		</layer>
		<layer id="{axis_id}" name="lapwing_logits_axis" type="Const" version="opset1">
			<data element_type="{axis}" shape="" offset="{axis_offset}" size="{axis_size}" />
			<output>
				<port id="0" precision="{axis_port}" />
			</output>
		</layer>
		<layer id="{gather_id}" name="lapwing_logits_gather" type="Gather" version="opset8">
			<data batch_dims="0" />
			<input>
				<port id="0" precision="{precision}">{data_dims}
				</port>
				<port id="1" precision="I64">
					<dim>-1</dim>
				</port>
				<port id="2" precision="{axis_port}" />
			</input>
			<output>
				<port id="3" precision="{precision}">{out_dims}
				</port>
			</output>
		</layer>
	"#
    )
}

/// The sizes of a port, as its children.
pub(super) fn dims_text(dims: &[Dim]) -> String {
    let dim = |dim: &Dim| dim.fixed().map_or("-1".to_owned(), |size| size.to_string());
    dims.iter().map(|size| format!("\n\t\t\t\t\t<dim>{}</dim>", dim(size))).collect()
}

/// Where the text of the edge into this port lies.
fn old_edge(model: &IrModel, to_layer: u32, to_port: u32) -> Result<std::ops::Range<usize>, Fault> {
    let mut cursor = Cursor::at(&model.text, model.index.edges_start);
    let edges = cursor.child()?.map_err(|end| Fault::new(end, "edges", "none"))?;
    while let Ok(tag) = cursor.child()? {
        let is_it =
            tag.number::<u32>("to-layer")? == to_layer && tag.number::<u32>("to-port")? == to_port;
        cursor.skip(&tag, &mut |_| Ok(()))?;
        if is_it {
            return Ok(tag.start..cursor.position());
        }
    }
    Err(Fault::new(edges.start, "the edge into the head", "none"))
}

/// Replace ranges that do not overlap.
pub(super) fn splice(text: &str, mut changes: Vec<(std::ops::Range<usize>, String)>) -> String {
    changes.sort_by_key(|(range, _)| range.start);
    let n_new: usize = changes.iter().map(|(_, new)| new.len()).sum();
    let mut spliced = String::with_capacity(text.len() + n_new);
    let mut end = 0;
    for (range, new) in changes {
        spliced.push_str(&text[end..range.start]);
        spliced.push_str(&new);
        end = range.end;
    }
    spliced.push_str(&text[end..]);
    spliced
}
