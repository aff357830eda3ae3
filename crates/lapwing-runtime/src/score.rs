//! The rows of a given text.

use lapwing_backend::{Decoder, Model, Row, StepError};
use lapwing_model::TokenId;

/// Give every row of `tokens` to `on_row`, in order, as [`Decoder::score`] does; where the device
/// gives only the last position's logits the tokens are stepped one by one, without hidden states.
///
/// `decoder` is one of `model`'s.
///
/// # Errors
///
/// As [`Decoder::score`].
pub fn score_rows(
    model: &dyn Model,
    decoder: &mut dyn Decoder,
    tokens: &[TokenId],
    on_row: &mut dyn FnMut(Row<'_>),
) -> Result<(), StepError> {
    if model.limits().can_score {
        return decoder.score(tokens, on_row);
    }
    let mut logits = vec![0.0; model.n_vocab()];
    for (token_idx, token) in tokens.iter().enumerate() {
        decoder.step(std::slice::from_ref(token), &mut logits)?;
        on_row(Row { token_idx, logits: &logits, hidden: None });
    }
    Ok(())
}
