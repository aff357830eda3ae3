//! An OpenVINO folder: the IR, as optimum-intel lays it out, its configuration and the text assets.
//!
//! ```text
//! input_ids ─ embedding ─ [ layer … ] ─ norm ─ head ─ logits
//! layer:      x + attention(norm(x)), then x + down(silu(gate(norm(x))) * up(norm(x)))
//! attention:
//!   q ─ rope ───────────────────────────────────────────┐
//!   k ─ rope ─ Concat ─┬─ heads repeated ───────────────┼─ ScaledDotProductAttention ─ o
//!   v ──────── Concat ─┤                                │
//!                      └─ Assign                        │
//!   attention_mask ─ one mask for layers of a kind ─────┘
//! ReadValue ─ Gather by beam_idx ─ the other input of each Concat
//! position_ids ─ cosines and sines for all layers
//! ```
//!
//! Keys and values are variables with the names that optimum-intel gives, so a caller gives tokens
//! and never the past. Every group of layers has the form that OpenVINO's plugins fuse into one of
//! their own operations: normalisation, rope, attention with its cache, and a matrix with codes.
//!
//! There is no `openvino_tokenizer.xml`: our runtime reads `tokenizer.json`. OpenVINO GenAI needs
//! that file as well, and this export does not make it.

mod graph;
mod source;

mod decoder;

mod activation;
mod attention;
mod experts;
mod mask;
mod norm;
mod rope;

mod weight;

mod notes;

use std::path::Path;

use serde_json::json;

use lapwing_weights::Checkpoint;

use crate::error::ExportError;
use crate::plan::Weights;
use crate::progress::OnProgress;
use crate::source::Source;
use graph::Graph;
use source::Matrices;

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
    let mut graph = Graph::create(&out.join("openvino_model.xml"))?;
    let n_tensors = architecture.expected_tensors().count();
    let mut source = Matrices::new(Source::new(weights, on_progress, n_tensors));
    decoder::write(&mut graph, architecture, &mut source)?;
    graph.finish(&notes::rt_info(architecture, source.written()))?;
    let generation_config = crate::sidecar::generation_config_json(checkpoint);
    crate::sidecar::write_json(
        &out.join("config.json"),
        &crate::sidecar::config_json(checkpoint, architecture),
    )?;
    crate::sidecar::write_json(&out.join("generation_config.json"), &generation_config)?;
    crate::sidecar::write_json(
        &out.join("openvino_config.json"),
        &json!({ "dtype": notes::openvino_config_dtype(source.written()) }),
    )?;
    crate::sidecar::write_text_assets(checkpoint, out)
}

#[cfg(test)]
mod tests;
