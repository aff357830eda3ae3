//! Whether a model answers a prompt in pieces as it answers the same at once.
//!
//! Long prompts go in in pieces, and behind what a conversation repeats only what is new goes in. Some
//! exports compute that otherwise, without an error: their makers traced the branch of a first prompt
//! only, or the graph chooses by what it sees of the sequence. So every model is asked once, at its
//! first opening with a library and a device, with a few tokens; the [ledger](crate::ledger) remembers
//! the answer.

use lapwing_backend::{Limits, Model, Source};
use lapwing_model::TokenId;

use crate::attempt::{PROMPT, difference};
use crate::ledger::Configuration;
use crate::trial::{Failure, How, Stage};

/// Tokens of the first piece; the rest of [`PROMPT`] is the second.
const N_FIRST: usize = 5;

/// A larger difference of a logit, as a share of the range of the row, is no matter of rounding: of 41
/// exports none gave more than 0.05, where OpenVINO computes in bf16 with quantised activations, and
/// the graph of `tests/pieces.rs`, which turns its heads wrongly, gives 0.9.
const DIFFERENCE_MAX: f64 = 0.2;

/// What the ledger remembers the answer by.
pub(crate) fn configuration(of_model: Configuration) -> Configuration {
    Configuration { options: format!("in pieces {}", of_model.options), ..of_model }
}

/// Ask `model`: how it fails, if it does. `None` where nothing ever goes in in pieces, or where the
/// answer is not to be had.
pub(crate) fn compare(model: &dyn Model) -> Option<Result<(), Failure>> {
    match difference_in_pieces(model) {
        Ok(found) => found.map(|found| match found <= DIFFERENCE_MAX {
            true => Ok(()),
            false => Err(Failure {
                stage: Stage::Run,
                how: How::Refused {
                    message: format!(
                        "a prompt in pieces gives other logits than at once: {:.0} % of their \
                         range",
                        found * 100.0
                    ),
                },
                last_lines: Vec::new(),
            }),
        }),
        Err(error) => {
            // Whoever runs it hears why.
            tracing::debug!(%error, "not compared in pieces");
            None
        }
    }
}

fn difference_in_pieces(model: &dyn Model) -> Result<Option<f64>, Source> {
    let limits = model.limits();
    let Limits { n_positions_max, n_chunk_tokens_max, n_follow_tokens_max, .. } = limits;
    let in_vocabulary = |token: &TokenId| (*token as usize) < model.n_vocab();
    let prompt: Vec<TokenId> = PROMPT.into_iter().filter(in_vocabulary).collect();
    let n_pieces_min = prompt.len() - N_FIRST.min(prompt.len());
    let fits = prompt.len() <= n_positions_max.min(n_chunk_tokens_max);
    if n_pieces_min < 2 || !fits || n_follow_tokens_max < n_pieces_min {
        return Ok(None);
    }
    let logits = |pieces: &[&[TokenId]]| -> Result<Vec<f32>, Source> {
        let mut logits = vec![0.0; model.n_vocab()];
        let mut decoder = model.decoder()?;
        for piece in pieces {
            decoder.step(piece, &mut logits)?;
        }
        Ok(logits)
    };
    let (first, second) = prompt.split_at(N_FIRST);
    let (at_once, in_pieces) = (logits(&[&prompt])?, logits(&[first, second])?);
    let found = difference(&in_pieces, &at_once);
    tracing::debug!(found, "a prompt in pieces beside the same at once");
    Ok(Some(found))
}
