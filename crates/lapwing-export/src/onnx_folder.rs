//! An onnxruntime-genai folder: the graph, its weights, `genai_config.json` and the text assets.
//!
//! ```text
//! input_ids ─ embedding ─┬─ [ norm ─ q,k,v ─ attention ─ o ─(+)─ norm ─ gate,up ─ down ─(+)─ ] ─ norm ─ head ─ logits
//!                        └──────────────────────────────────┘ skip, fused with the norms
//! ```
//!
//! Attention is one `GroupQueryAttention` node a layer, with rotary embedding inside and past and
//! present that a caller may bind to one buffer. That operator takes head sizes that are multiples
//! of 16 (ONNX Runtime 1.31.1 on CPU, found by trying 2 … 512); others get standard operators.

mod genai_config;

mod decoder;

mod attention;

mod embedding;
mod experts;
mod matrix;

mod blocks;
mod graph;

use std::path::Path;

use lapwing_weights::Checkpoint;

use crate::error::ExportError;
use crate::plan::Weights;
use crate::progress::OnProgress;
use crate::source::Source;
use attention::AttentionKind;
use graph::Graph;

/// Write the folder's files into `out`, which exists and is empty.
///
/// # Errors
///
/// When a weight cannot be read or expressed, a file cannot be written, or the caller stops.
pub(crate) fn write(
    checkpoint: &Checkpoint,
    weights: &mut Weights<'_>,
    out: &Path,
    on_progress: OnProgress<'_>,
) -> Result<(), ExportError> {
    let architecture = &weights.architecture();
    let kind = AttentionKind::of(architecture);
    let mut graph = Graph::create(&out.join("model.onnx"))?;
    let mut source = Source::new(weights, on_progress, architecture.expected_tensors().count());
    decoder::write(&mut graph, architecture, kind, &mut source)?;
    graph.finish()?;
    let genai_config = genai_config::genai_config(
        architecture,
        &checkpoint.tokens,
        checkpoint.generation_config.as_ref(),
        kind,
    );
    crate::sidecar::write_json(&out.join("genai_config.json"), &genai_config)?;
    crate::sidecar::write_text_assets(checkpoint, out)
}

#[cfg(test)]
mod tests;
