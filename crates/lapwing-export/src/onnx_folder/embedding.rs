//! From token ids to the residual stream, and, where the head is tied, the head's matrix.

use lapwing_formats::onnx::ElementType;
use lapwing_formats::onnx::proto::AttributeProto;
use lapwing_model::{Architecture, Transformer};
use lapwing_quant::GroupQuantized;

use super::graph::Graph;
use super::matrix::{self, Matrix};
use crate::error::ExportError;
use crate::plan::PlannedWeight;

const NODE: &str = "/model/embed_tokens";

/// Store the embedding and look up `input_ids`; gives the value `[batch, positions, hidden]` and,
/// where the head is tied, its matrix.
///
/// # Errors
///
/// When the embedding's groups fit no block size or the data file cannot be written.
pub(super) fn write(
    graph: &mut Graph,
    architecture: &Architecture<Transformer>,
    weight: PlannedWeight,
) -> Result<(String, Option<Matrix>), ExportError> {
    let name = "model.embed_tokens.weight";
    let dims = [architecture.n_vocab, architecture.hidden_size];
    match weight {
        PlannedWeight::F32(values) => {
            graph.f32_weight(name, &dims, &values)?;
            let hidden = gather(graph, name);
            let head = Matrix::Plain { name: name.to_owned() };
            Ok((hidden, architecture.family.tied_head.then_some(head)))
        }
        PlannedWeight::F16(values) => {
            graph.f16_weight(name, &dims, &values)?;
            let narrow = gather(graph, name);
            let to = AttributeProto::int("to", i64::from(ElementType::F32.number()));
            let hidden = graph.node(&format!("{NODE}/Cast"), "Cast", &[&narrow], [to]);
            let head = architecture.family.tied_head.then(|| matrix::widened(graph, name));
            Ok((hidden, head.map(|name| Matrix::Plain { name })))
        }
        PlannedWeight::Affine(codes) => Err(matrix::between_codes(name, &codes)),
        PlannedWeight::Mx(_) => Err(matrix::mxfp4(name)),
        PlannedWeight::Quantized(quantized) => {
            quantised(graph, name, &quantized, architecture.family.tied_head)
        }
    }
}

fn gather(graph: &mut Graph, name: &str) -> String {
    graph.node(&format!("{NODE}/Gather"), "Gather", &[name, "input_ids"], [])
}

/// The lookup and a tied head read the same bytes: under two names, because one wants rows and the
/// other blocks.
fn quantised(
    graph: &mut Graph,
    name: &str,
    quantized: &GroupQuantized,
    tied_head: bool,
) -> Result<(String, Option<Matrix>), ExportError> {
    let blocks = matrix::cut(name, quantized)?;
    let rows = format!("{name}_rows");
    let dims = [quantized.n_rows(), quantized.codes.ncols()];
    let head = tied_head.then(|| matrix::store_blocks(graph, name, quantized)).transpose()?;
    let scales = match &head {
        Some(Matrix::Blocks { scales, .. }) => scales.clone(),
        _ => matrix::store_scales(graph, name, &blocks)?,
    };
    if head.is_some() && quantized.n_columns.is_multiple_of(blocks.block_size) {
        graph.alias_last(&rows, &dims.map(|size| size as i64));
    } else {
        let codes: Vec<u8> = quantized.codes.iter().copied().collect();
        graph.weight(&rows, ElementType::U8, &dims, &codes)?;
    }
    let mut inputs = vec![rows.as_str(), "input_ids"];
    inputs.extend(scales.iter().map(String::as_str));
    let attributes = [
        AttributeProto::int("bits", blocks.n_bits as i64),
        AttributeProto::int("block_size", blocks.block_size as i64),
        AttributeProto::int("gather_axis", 0),
        AttributeProto::int("quantize_axis", 1),
    ];
    let name = format!("{NODE}/GatherBlockQuantized");
    let hidden = graph.node(&name, "GatherBlockQuantized", &inputs, attributes);
    Ok((hidden, head))
}
