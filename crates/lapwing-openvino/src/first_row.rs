//! The first row of a compiled model: for tokens that are always the same, before anything else is
//! asked of it.
//!
//! What comes out of the compile cache is compared by it with what went in, and an NPU shows by it
//! that it can infer at all: some weights NPUW unpacks in the first run only.

use std::sync::Arc;

use lapwing_backend::Limits;
use lapwing_model::TokenId;

use crate::inference::OpenVinoInference;
use crate::native::NativeError;
use crate::npu_inference::NpuInference;
use crate::shared::Shared;

/// Ids that nearly every vocabulary has.
const TOKENS: [TokenId; 3] = [1, 2, 3];

/// The logits behind [`TOKENS`], in a sequence of their own.
///
/// Shapes: `[n_vocab]`.
///
/// # Errors
///
/// What the library says.
pub(crate) fn row(shared: &Arc<Shared>, is_npu: bool) -> Result<Vec<f32>, NativeError> {
    let Limits { n_positions_max, n_chunk_tokens_max, n_follow_tokens_max, .. } = shared.limits;
    let tokens = TOKENS.map(|token| token.min(shared.graph.n_vocab as TokenId - 1));
    let tokens = &tokens[..tokens.len().min(n_positions_max).max(1)];
    // An NPU has one graph for prompts and one for tokens: both are asked.
    let n_first = if is_npu { n_chunk_tokens_max.min(2) } else { n_chunk_tokens_max };
    let (first, rest) = tokens.split_at(n_first.clamp(1, tokens.len()));
    let mut pieces = std::iter::once(first).chain(rest.chunks(n_follow_tokens_max.max(1)));
    let shared = Arc::clone(shared);
    match is_npu {
        true => {
            let mut npu = NpuInference::new(shared, Arc::default())?;
            pieces.try_fold(Vec::new(), |_, piece| npu.row(piece))
        }
        false => {
            let mut inference = OpenVinoInference::new(shared)?;
            pieces.try_fold(Vec::new(), |_, piece| inference.row(piece))
        }
    }
}
