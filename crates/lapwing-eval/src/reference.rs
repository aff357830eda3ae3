//! What a reference must be: another model, which means the same by a token.

use lapwing_model::TokenId;
use lapwing_text::{EncodeError, Tokenizer};

use crate::score_error::Side;

/// Why a reference cannot be compared with a model: their tokens mean different things.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum TokenizerMismatch {
    /// The first difference.
    #[error("the reference has another tokenizer: {0}")]
    Differs(String),
    /// A tokenizer cannot express the text.
    #[error("the tokenizer of the {side} cannot be compared")]
    Encode { side: Side, source: EncodeError },
}

/// Check that both tokenizers give every id the same meaning and cut `probe` into the same tokens.
///
/// # Errors
///
/// The first difference: vocabulary size, an id's spelling, a token of `probe`.
pub fn require_same_tokenizer(
    reference: &Tokenizer,
    model: &Tokenizer,
    probe: &str,
) -> Result<(), TokenizerMismatch> {
    let (n_reference, n_model) = (reference.n_vocab(), model.n_vocab());
    if n_reference != n_model {
        let difference = format!("{n_reference} tokens, expected {n_model}");
        return Err(TokenizerMismatch::Differs(difference));
    }
    for id in 0..TokenId::try_from(n_model).unwrap_or(TokenId::MAX) {
        let (reference, model) = (reference.piece(id), model.piece(id));
        if reference != model {
            let difference = format!("token {id} is {reference:?}, expected {model:?}");
            return Err(TokenizerMismatch::Differs(difference));
        }
    }
    let encode = |tokenizer: &Tokenizer, side: Side| {
        let encoded = tokenizer.encode(probe, true);
        encoded.map_err(|source| TokenizerMismatch::Encode { side, source })
    };
    let reference = encode(reference, Side::Reference)?;
    let model = encode(model, Side::Model)?;
    let n_tokens = reference.len().max(model.len());
    let differing = (0..n_tokens).find(|&idx| reference.get(idx) != model.get(idx));
    differing.map_or(Ok(()), |token_idx| {
        let at = |tokens: &[TokenId]| tokens.get(token_idx).copied();
        Err(TokenizerMismatch::Differs(format!(
            "the text becomes {:?} at token {token_idx}, expected {:?}",
            at(&reference),
            at(&model)
        )))
    })
}

/// Nothing can be learned from a reference that is the model itself.
#[derive(Debug, thiserror::Error)]
#[error("the reference is the model itself: both have sha256 {sha256}")]
pub struct SameModelError {
    /// Of the files of both.
    pub sha256: String,
}

/// Refuse a reference whose files are the model's.
///
/// # Errors
///
/// When the hashes are the same.
pub fn require_other(model_sha256: &str, reference_sha256: &str) -> Result<(), SameModelError> {
    match model_sha256 == reference_sha256 {
        true => Err(SameModelError { sha256: model_sha256.to_owned() }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_no_reference_of_itself() {
        let error = require_other("ab", "ab").unwrap_err().to_string();
        assert_eq!(error, "the reference is the model itself: both have sha256 ab");
        assert!(require_other("ab", "ac").is_ok());
    }
}
