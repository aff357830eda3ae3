//! Showing what goes into the output head.
//!
//! A correction of the head is fitted to the values that really enter it, so they are taken at the
//! head's `MatMul` itself, behind every choice of positions:
//!
//! ```text
//! hidden [batch, n_rows, size] ──┬──► MatMul ► … ► logits
//!                                └──► Convert ► Result, named HIDDEN_STATES
//! ```
//!
//! The type of the new output is the caller's choice, for it is no matter of taste: a plugin that
//! computes in fewer bits keeps everything before an f32 output in f32, up to the last matrix
//! products, and the hidden states would be others than those of the model without the output. An
//! output of the plugin's own type changes nothing.

use super::edit::{dims_text, find_heads, free_ids, new_edge, splice, unknown};
use super::layer::Port;
use super::{EditError, ElementType, IrModel, NotFound, invalid};

/// The output that [`expose_hidden`] adds: `[batch, n_rows, size]`, what enters the head, in as
/// many rows as the logits have. It is the model's last.
pub const HIDDEN_STATES: &str = "lapwing_hidden_states";

/// What [`expose_hidden`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HiddenEdit {
    /// The model gives [`HIDDEN_STATES`] now.
    Exposed {
        /// The name of the head's `MatMul`.
        head: String,
    },
    /// No head was found; the model is as it was.
    NotFound(NotFound),
}

/// Make the model also give what enters the head, as [`HIDDEN_STATES`] of `element_type`.
///
/// To be called after [`super::slice_before_head`], so that both outputs have the same rows.
///
/// # Errors
///
/// When the edited text does not pass the checks of [`IrModel::open`]; the model is then as it was.
pub fn expose_hidden(
    model: &mut IrModel,
    element_type: ElementType,
) -> Result<HiddenEdit, EditError> {
    let (head, text) = match exposed(model, element_type) {
        Ok(exposed) => exposed,
        Err(why) => return Ok(HiddenEdit::NotFound(why)),
    };
    match IrModel::from_text(&model.xml_path, text, model.bin.clone()) {
        Ok(edited) => *model = edited,
        Err(fault) => {
            return Err(EditError { source: Box::new(invalid(&model.xml_path, fault)) });
        }
    }
    Ok(HiddenEdit::Exposed { head })
}

/// The head's name and the new text.
fn exposed(model: &IrModel, element_type: ElementType) -> Result<(String, String), NotFound> {
    let head = find_heads(model)?[0];
    let edge = model.index.edges_into(head.id()).first().copied();
    let edge = edge.ok_or_else(|| unknown(head))?;
    let (hidden, _) = head.source_of(edge.to_port).ok_or_else(|| unknown(head))?;
    let port = hidden.outputs().find(|port| port.id == edge.from_port);
    let port = port.ok_or_else(|| unknown(hidden))?;
    let ids = free_ids::<2>(model);
    let edges = [(edge.from_layer, edge.from_port, ids[0], 0), (ids[0], 1, ids[1], 0)];
    let text = splice(
        &model.text,
        vec![
            (model.index.layers_end..model.index.layers_end, new_layers(ids, &port, element_type)),
            (model.index.edges_end..model.index.edges_end, edges.map(new_edge).concat()),
        ],
    );
    Ok((head.name().into_owned(), text))
}

fn new_layers(ids: [u32; 2], data: &Port<'_>, element_type: ElementType) -> String {
    let [convert_id, result_id] = ids;
    let precision = quick_xml::escape::escape(data.precision.as_ref());
    let dims = dims_text(&data.dims);
    let (destination, given) = (element_type.name(), element_type.port_name());
    format!(
        r#"	<layer id="{convert_id}" name="{HIDDEN_STATES}" type="Convert" version="opset1">
			<data destination_type="{destination}" />
			<input>
				<port id="0" precision="{precision}">{dims}
				</port>
			</input>
			<output>
				<port id="1" precision="{given}" names="{HIDDEN_STATES}">{dims}
				</port>
			</output>
		</layer>
		<layer id="{result_id}" name="lapwing_hidden_result" type="Result" version="opset1">
			<input>
				<port id="0" precision="{given}">{dims}
				</port>
			</input>
		</layer>
	"#
    )
}
