//! The sampler: options, history and random state of one sequence.

use lapwing_kernels::{Level, log_sum_exp, row_argmax, row_find_equal, row_find_nan, row_max};

use crate::draw::Draw;
use crate::history::History;
use crate::likelihood::top_logits;
use crate::truncate::Shortlist;
use crate::{SamplerOptions, SamplerOptionsError};

/// Chooses the tokens of one sequence. A clone goes on as the original would.
#[derive(Clone, Debug)]
pub struct Sampler {
    level: Level,
    n_vocab: usize,
    options: SamplerOptions,
    history: History,
    draw: Draw,
    shortlist: Shortlist,
    /// The logits that bias and penalties replaced, so that they can be put back.
    replaced: Vec<(usize, f32)>,
}

/// What to report beside the token; it costs passes over the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Details {
    /// Report the log probability of the chosen token.
    pub log_probability: bool,
    /// Report this many of the most probable tokens.
    pub n_top: usize,
}

impl Details {
    /// Only the token.
    pub const NONE: Details = Details { log_probability: false, n_top: 0 };
}

/// One chosen token.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The token id.
    pub token: u32,
    /// Natural logarithm of its probability, in nats, when asked for.
    ///
    /// Of the distribution that the sampler was given, corrected or not: before
    /// bias, penalties, temperature and truncation. It therefore compares
    /// across sampling options, and a token that bias forced shows as improbable.
    pub log_probability: Option<f64>,
    /// The most probable tokens of the same distribution, best first, when asked for.
    pub top: Vec<Alternative>,
}

/// A token that could have been chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alternative {
    /// The token id.
    pub token: u32,
    /// Natural logarithm of its probability in the raw distribution, in nats.
    pub log_probability: f64,
}

/// Why no token could be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ChooseError {
    /// The row is not one of this vocabulary.
    #[error("cannot choose from a row of {found} logits: the vocabulary has {expected}")]
    RowLength { expected: usize, found: usize },
    /// The model computed something that is not a number.
    #[error("cannot choose from logits with NaN: first at token {token}")]
    NotANumber { token: usize },
    /// A logit is `+inf`: from the model, or from extreme penalties.
    #[error("cannot choose from logits with +inf: first at token {token}")]
    Infinite { token: usize },
    /// Every logit is `-inf`: from the model, or because bias forbids every token.
    #[error("cannot choose a token: every logit of the row is -inf")]
    NoCandidate,
}

impl Sampler {
    /// A sampler with an empty history, at the start of its seed's sequence.
    ///
    /// # Errors
    ///
    /// When an option is outside its range, or a bias names an id outside the vocabulary.
    pub fn new(
        options: SamplerOptions,
        n_vocab: usize,
        level: Level,
    ) -> Result<Sampler, SamplerOptionsError> {
        options.check()?;
        options.check_ids(n_vocab)?;
        Ok(Sampler {
            level,
            n_vocab,
            history: History::new(),
            draw: Draw::new(options.seed),
            shortlist: Shortlist::new(),
            replaced: Vec::new(),
            options,
        })
    }

    /// The SIMD level the kernels run at.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Remember a chosen token for the penalties.
    ///
    /// Constant time. An id outside the vocabulary has no logit and is ignored.
    pub fn observe(&mut self, token: u32) {
        self.remember(token, true);
    }

    /// Remember a token of the prompt, which only the repeat penalty is for.
    ///
    /// As [`Sampler::observe`].
    pub fn observe_prompt(&mut self, token: u32) {
        self.remember(token, false);
    }

    fn remember(&mut self, token: u32, is_generated: bool) {
        if (token as usize) < self.n_vocab {
            self.history.observe(&self.options, token, is_generated);
        }
    }

    /// Choose the next token; the caller then tells [`Sampler::observe`].
    ///
    /// Shapes: `logits [n_vocab]`. The row is worked on in place and holds the
    /// raw logits again on return. A choice at a temperature above 0 takes
    /// exactly one random number, also when only one candidate is left.
    ///
    /// # Errors
    ///
    /// When the row has the wrong length, holds NaN or `+inf`, or leaves nothing to choose.
    pub fn choose(&mut self, logits: &mut [f32], details: Details) -> Result<Choice, ChooseError> {
        if logits.len() != self.n_vocab {
            return Err(ChooseError::RowLength { expected: self.n_vocab, found: logits.len() });
        }
        if let Some(token) = row_find_nan(self.level, logits) {
            return Err(ChooseError::NotANumber { token });
        }
        self.adjust(logits);
        let chosen = self.choose_adjusted(logits);
        for (token_idx, logit) in self.replaced.drain(..).rev() {
            logits[token_idx] = logit;
        }
        Ok(self.describe(chosen?, logits, details))
    }

    /// Bias, then penalties.
    fn adjust(&mut self, logits: &mut [f32]) {
        let replaced = &mut self.replaced;
        let mut change = |token: u32, new: &dyn Fn(f32) -> f32| {
            let token_idx = token as usize;
            replaced.push((token_idx, logits[token_idx]));
            logits[token_idx] = new(logits[token_idx]);
        };
        for &(token, bias) in &self.options.logit_bias {
            change(token, &|logit| logit + bias);
        }
        self.history.penalise(&self.options, change);
    }

    fn choose_adjusted(&mut self, logits: &[f32]) -> Result<u32, ChooseError> {
        // A bias may have hidden it from the check of the maximum.
        let infinite = self.replaced.iter().find(|(_, raw)| *raw == f32::INFINITY);
        if let Some(&(token, _)) = infinite {
            return Err(ChooseError::Infinite { token });
        }
        if self.options.temperature == 0.0 {
            let token = row_argmax(self.level, logits).ok_or(ChooseError::NoCandidate)?;
            self.check_max(logits, logits[token])?;
            return Ok(token as u32);
        }
        let max = row_max(self.level, logits);
        self.check_max(logits, max)?;
        let unit = self.draw.unit();
        let drawn = self.shortlist.draw(self.level, &self.options, logits, max, unit);
        drawn.ok_or(ChooseError::NoCandidate)
    }

    fn check_max(&self, logits: &[f32], max: f32) -> Result<(), ChooseError> {
        if max == f32::NEG_INFINITY {
            return Err(ChooseError::NoCandidate);
        }
        if max == f32::INFINITY {
            let token = row_find_equal(self.level, logits, max).unwrap_or(0);
            return Err(ChooseError::Infinite { token });
        }
        Ok(())
    }

    /// Add what was asked for; `logits` are the raw ones.
    fn describe(&self, token: u32, logits: &[f32], details: Details) -> Choice {
        if details == Details::NONE {
            return Choice { token, log_probability: None, top: Vec::new() };
        }
        let normaliser = log_sum_exp(self.level, logits);
        let log_probability = |logit: f32| f64::from(logit) - normaliser;
        let best = top_logits(self.level, logits, details.n_top);
        let top = best.iter().map(|candidate| Alternative {
            token: candidate.token_idx,
            log_probability: log_probability(candidate.logit),
        });
        Choice {
            token,
            log_probability: details
                .log_probability
                .then(|| log_probability(logits[token as usize])),
            top: top.collect(),
        }
    }
}

#[cfg(test)]
mod tests;
