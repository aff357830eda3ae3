//! The log-likelihood of continuations after a context, as lm-evaluation-harness computes it.
//!
//! ```text
//! spaces at the end of the context move to the start of the continuation
//! context tokens      = tokens of the context
//! continuation tokens = tokens of context + continuation, from the number of context tokens on
//! both together are cut on the left to what the model holds; the last is only a target
//! ```
//!
//! Continuations of one context share its pass where the decoder can go back in it; elsewhere each
//! whole sequence is scored.

use std::sync::Arc;

use lapwing_backend::Model;
use lapwing_kernels::row_argmax;
use lapwing_logits::{Correction, Corrector, Level, SavedState, log_probability};
use lapwing_model::TokenId;
use lapwing_text::Tokenizer;

use crate::failure::Failure;
use crate::sequence::Sequence;

/// What cannot be done.
pub(super) const NO_TOKENS: &str = "cannot make tokens of it";
pub(super) const NO_SEQUENCE: &str = "cannot start a new sequence";
const NO_STEP: &str = "the model failed";
const EMPTY_CONTEXT: &str = "its context has no tokens: expected at least one";
const EMPTY_CONTINUATION: &str = "a continuation has no tokens of its own: expected at least one";
const NO_DISTRIBUTION: &str =
    "logits are not a distribution over its tokens: NaN, +inf or all -inf";

/// What the model makes of one continuation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Likelihood {
    /// Sum of `ln p` over the continuation's tokens; nats.
    pub(super) log_likelihood: f64,
    /// Whether every token is the likeliest at its place.
    pub(super) is_greedy: bool,
    /// Whether the context was cut on the left.
    pub(super) is_truncated: bool,
}

/// A context and a continuation as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EncodedPair {
    pub(super) context: Vec<TokenId>,
    pub(super) continuation: Vec<TokenId>,
}

/// The tokens of `context` and of `continuation` after it, `begin` before all.
pub(super) fn encode_pair(
    tokenizer: &Tokenizer,
    begin: Option<TokenId>,
    context: &str,
    continuation: &str,
) -> Result<EncodedPair, Failure> {
    let n_kept = context.trim_end().len();
    let encode = |text: &str| tokenizer.encode(text, false).map_err(Failure::by(NO_TOKENS));
    let whole = encode(&format!("{context}{continuation}"))?;
    let mut kept = encode(&context[..n_kept])?;
    let continuation = whole.get(kept.len()..).unwrap_or_default().to_vec();
    kept.splice(0..0, begin);
    Ok(EncodedPair { context: kept, continuation })
}

/// Scores continuations on one model.
pub(super) struct LikelihoodScorer<'a> {
    sequence: Sequence<'a>,
    rows: CorrectedRows,
    level: Level,
    /// The row after the context, as the model gave it.
    raw: Vec<f32>,
    /// The same, corrected; what the correction remembers then is saved in `rows`.
    first: Vec<f32>,
}

impl<'a> LikelihoodScorer<'a> {
    pub(super) fn new(
        model: &'a dyn Model,
        level: Level,
        correction: Option<&Arc<Correction>>,
    ) -> LikelihoodScorer<'a> {
        let rows = CorrectedRows::new(correction, level);
        let raw = vec![0.0; model.n_vocab()];
        LikelihoodScorer { sequence: Sequence::new(model), rows, level, raw, first: Vec::new() }
    }

    /// The likelihood of each pair's continuation. Neighbours with one context share its pass.
    pub(super) fn score(&mut self, pairs: &[EncodedPair]) -> Result<Vec<Likelihood>, Failure> {
        let n_positions_max = self.sequence.model().limits().n_positions_max;
        let mut read: Option<&[TokenId]> = None;
        let mut likelihoods = Vec::with_capacity(pairs.len());
        for EncodedPair { context, continuation } in pairs {
            let n_tokens = continuation.len();
            let Some((&first, rest)) = continuation.split_first() else {
                return Err(Failure::new(EMPTY_CONTINUATION));
            };
            if n_positions_max < n_tokens {
                return Err(Failure::new(format!(
                    "a continuation of {n_tokens} tokens is too long: the context holds \
                     {n_positions_max}"
                )));
            }
            let n_cut = (context.len() + n_tokens - 1).saturating_sub(n_positions_max);
            let context = context.get(n_cut..).filter(|rest| !rest.is_empty());
            let context = context.ok_or_else(|| Failure::new(EMPTY_CONTEXT))?;
            if read != Some(context) {
                self.read_context(context)?;
                self.correct_first()?;
                read = Some(context);
            }
            let mut sum = Sum { level: self.level, log_likelihood: 0.0, is_greedy: true };
            sum.add(&self.first, first)?;
            if !rest.is_empty() {
                self.score_rest(context, continuation, &mut sum)?;
            }
            let Sum { log_likelihood, is_greedy, .. } = sum;
            likelihoods.push(Likelihood { log_likelihood, is_greedy, is_truncated: n_cut != 0 });
        }
        Ok(likelihoods)
    }

    fn read_context(&mut self, context: &[TokenId]) -> Result<(), Failure> {
        self.sequence.begin().map_err(Failure::by(NO_SEQUENCE))?;
        self.sequence.step(context, &mut self.raw).map_err(Failure::by(NO_STEP))
    }

    /// The correction begins with the row after the context, as it does in a generation.
    fn correct_first(&mut self) -> Result<(), Failure> {
        self.rows.reset();
        let first = self.rows.next(&self.raw)?;
        self.first.clear();
        self.first.extend_from_slice(first);
        self.rows.save();
        Ok(())
    }

    /// Add the tokens of `continuation` after its first.
    ///
    /// The context's last token goes through the model once more: some libraries multiply a single
    /// row by another kernel than several, which moves its logits as far as quantisation does. The
    /// passes here have two rows at least, as those over whole sequences have.
    fn score_rest(
        &mut self,
        context: &[TokenId],
        continuation: &[TokenId],
        sum: &mut Sum,
    ) -> Result<(), Failure> {
        let n_kept = context.len() - 1;
        let mut n_known = n_kept;
        if !self.sequence.go_back(n_kept) {
            self.sequence.begin().map_err(Failure::by(NO_SEQUENCE))?;
            n_known = 0;
        }
        let mut input = context[n_known..].to_vec();
        input.extend_from_slice(&continuation[..continuation.len() - 1]);
        let n_shown = context.len() - n_known;
        let rows = &mut self.rows;
        rows.restore();
        let mut added = Ok(());
        let scored = self.sequence.score(&input, &mut |row| {
            // Row `n_shown` follows the continuation's first token and scores its second.
            let Some(token_idx) = (row.token_idx + 1).checked_sub(n_shown) else { return };
            if token_idx != 0 && added.is_ok() {
                let corrected = rows.next(row.logits);
                added = corrected.and_then(|logits| sum.add(logits, continuation[token_idx]));
            }
        });
        scored.map_err(Failure::by(NO_STEP))?;
        added
    }
}

/// A likelihood while it grows.
struct Sum {
    level: Level,
    log_likelihood: f64,
    is_greedy: bool,
}

impl Sum {
    fn add(&mut self, row: &[f32], target: TokenId) -> Result<(), Failure> {
        let log_probability = log_probability(self.level, row, target);
        self.log_likelihood += log_probability.ok_or_else(|| Failure::new(NO_DISTRIBUTION))?;
        self.is_greedy &= row_argmax(self.level, row) == Some(target as usize);
        Ok(())
    }
}

/// Rows as the sampler would see them: after the correction, when there is one.
struct CorrectedRows {
    corrector: Option<Corrector>,
    saved: SavedState,
    row: Vec<f32>,
}

impl CorrectedRows {
    fn new(correction: Option<&Arc<Correction>>, level: Level) -> CorrectedRows {
        let corrector = correction.map(|correction| Corrector::new(correction.clone(), level));
        CorrectedRows { corrector, saved: SavedState::default(), row: Vec::new() }
    }

    /// Forget the rows before.
    fn reset(&mut self) {
        if let Some(corrector) = &mut self.corrector {
            corrector.reset();
        }
    }

    /// Keep the state for [`CorrectedRows::restore`].
    fn save(&mut self) {
        if let Some(corrector) = &self.corrector {
            corrector.save(&mut self.saved);
        }
    }

    /// Go back to the state that was kept last.
    fn restore(&mut self) {
        if let Some(corrector) = &mut self.corrector {
            corrector.restore(&self.saved);
        }
    }

    /// The next row, corrected.
    fn next<'a>(&'a mut self, raw: &'a [f32]) -> Result<&'a [f32], Failure> {
        let Some(corrector) = &mut self.corrector else { return Ok(raw) };
        self.row.clear();
        self.row.extend_from_slice(raw);
        corrector.apply(&mut self.row).map_err(Failure::by("cannot correct a row of logits"))?;
        Ok(&self.row)
    }
}
