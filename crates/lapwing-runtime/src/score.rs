//! How probable a model finds a given text.

use lapwing_backend::{Decoder, Model, OpenError, Row, StepError};
use lapwing_logits::{Level, log_probability};
use lapwing_model::TokenId;

/// The likelihood of a sequence, position by position.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// `-ln p(token | all before it)` in nats, for every token but the first.
    ///
    /// Shapes: `[n_tokens - 1]`. `+inf` for a token the model excludes.
    pub negative_log_likelihoods: Vec<f64>,
}

impl Score {
    /// The sum over all positions, in nats.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.negative_log_likelihoods.iter().sum()
    }

    /// `exp` of the mean over all positions.
    #[must_use]
    pub fn perplexity(&self) -> f64 {
        (self.sum() / self.negative_log_likelihoods.len() as f64).exp()
    }
}

/// Why a sequence could not be scored.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// There is no token that follows another.
    #[error("cannot score {n_tokens} tokens: expected at least 2")]
    TooShort {
        /// Tokens given.
        n_tokens: usize,
    },
    /// The sequence does not fit.
    #[error("cannot score {n_tokens} tokens: the context holds {n_positions_max} before the last")]
    TooLong {
        /// Tokens given.
        n_tokens: usize,
        /// Positions the model has room for.
        n_positions_max: usize,
    },
    /// The sequence is not of this model.
    #[error("token {token} at position {position} is not in the vocabulary of {n_vocab}")]
    NoSuchToken {
        /// The token.
        token: TokenId,
        /// Its place in the sequence.
        position: usize,
        /// Tokens the model has.
        n_vocab: usize,
    },
    /// There was no room for a new sequence.
    #[error("cannot start a new sequence")]
    Decoder(#[source] OpenError),
    /// The model failed.
    #[error("cannot score {n_tokens} tokens")]
    Step {
        /// Tokens given.
        n_tokens: usize,
        /// What failed.
        #[source]
        source: StepError,
    },
    /// The model's logits are no distribution.
    #[error("logits after position {position} are not a distribution: NaN, +inf or all -inf")]
    NoDistribution {
        /// Place in the sequence of the token whose logits these are.
        position: usize,
    },
}

/// The likelihood of every token of `tokens` but the first, given those before it.
///
/// A decoder of its own is used and dropped. Where the device gives only the last position's
/// logits the tokens are stepped one by one: slower, with the same result.
///
/// # Errors
///
/// Before any work when the sequence is too short, too long or of another vocabulary; later when
/// the model fails or its logits are no distribution.
pub fn score(model: &dyn Model, level: Level, tokens: &[TokenId]) -> Result<Score, ScoreError> {
    check(model, tokens)?;
    let n_tokens = tokens.len();
    let mut decoder = model.decoder().map_err(ScoreError::Decoder)?;
    let mut negative_log_likelihoods = Vec::with_capacity(n_tokens - 1);
    let mut broken = None;
    let mut on_row = |row: Row<'_>| {
        let next = tokens[row.token_idx + 1];
        match log_probability(level, row.logits, next) {
            Some(log_probability) => negative_log_likelihoods.push(-log_probability),
            None => broken = broken.or(Some(row.token_idx)),
        }
    };
    let scored = score_rows(model, &mut *decoder, &tokens[..n_tokens - 1], &mut on_row);
    scored.map_err(|source| ScoreError::Step { n_tokens, source })?;
    if let Some(position) = broken {
        return Err(ScoreError::NoDistribution { position });
    }
    Ok(Score { negative_log_likelihoods })
}

fn check(model: &dyn Model, tokens: &[TokenId]) -> Result<(), ScoreError> {
    let n_tokens = tokens.len();
    let n_positions_max = model.limits().n_positions_max;
    let n_vocab = model.n_vocab();
    if n_tokens < 2 {
        return Err(ScoreError::TooShort { n_tokens });
    }
    if n_positions_max < n_tokens - 1 {
        return Err(ScoreError::TooLong { n_tokens, n_positions_max });
    }
    match tokens.iter().position(|&token| n_vocab <= token as usize) {
        Some(position) => {
            Err(ScoreError::NoSuchToken { token: tokens[position], position, n_vocab })
        }
        None => Ok(()),
    }
}

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
