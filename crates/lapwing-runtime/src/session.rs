//! A conversation: one decoder and the tokens it has seen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing_backend::{Decoder, Model, OpenError, RewindError, Step, StepError};
use lapwing_logits::{CorrectRowError, Correction, Corrector, Level};
use lapwing_model::TokenId;

use crate::generated::StepTimings;

/// So many inferences of single tokens take no longer than one of a whole prompt, roughly: the
/// weights are read once in each.
const N_INFERENCES_OF_A_PREFILL: usize = 8;

/// A conversation with a model: what a follow-up prompt repeats is not computed again.
pub struct Session {
    model: Arc<dyn Model>,
    level: Level,
    decoder: Box<dyn Decoder>,
    /// Exactly the tokens at the decoder's positions.
    seen: Vec<TokenId>,
    /// After a failed step the decoder has seen an unknown part of its tokens.
    is_broken: bool,
    /// The row of the last step; allocated once.
    logits: Vec<f32>,
    /// What is done to rows before a token is chosen.
    corrector: Option<Corrector>,
}

impl Session {
    /// A session that has seen nothing.
    ///
    /// # Errors
    ///
    /// When the model cannot make room for one more sequence.
    pub fn new(model: Arc<dyn Model>, level: Level) -> Result<Session, OpenError> {
        let decoder = model.decoder()?;
        let logits = vec![0.0; model.n_vocab()];
        Ok(Session {
            model,
            level,
            decoder,
            seen: Vec::new(),
            is_broken: false,
            logits,
            corrector: None,
        })
    }

    /// Correct the rows of all answers from now on, or of none.
    pub fn set_correction(&mut self, correction: Option<Arc<Correction>>) {
        self.corrector = correction.map(|correction| Corrector::new(correction, self.level));
    }

    /// The model this session talks to.
    #[must_use]
    pub fn model(&self) -> &Arc<dyn Model> {
        &self.model
    }

    /// The SIMD level at which tokens are chosen.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// The tokens the decoder has seen: prompt and answer, without an answer's last token.
    #[must_use]
    pub fn seen(&self) -> &[TokenId] {
        &self.seen
    }

    /// Make the decoder hold a beginning of `prompt`, as long as possible but not all of it: the
    /// last token has to be stepped for its logits. Returns that beginning's length.
    ///
    /// A decoder that refuses to forget is replaced by a new one.
    pub(crate) fn align(&mut self, prompt: &[TokenId]) -> Result<usize, OpenError> {
        let pairs = self.seen.iter().zip(prompt);
        let n_common = pairs.take_while(|(seen, wanted)| seen == wanted).count();
        let n_reused = n_common.min(prompt.len().saturating_sub(1));
        if self.seen.is_empty() && !self.is_broken {
            return Ok(0);
        }
        let is_worth_it = !self.is_broken && self.is_worth_reusing(n_reused, prompt.len());
        if n_reused == self.seen.len() && is_worth_it {
            return Ok(n_reused);
        }
        if is_worth_it {
            match self.decoder.rewind(n_reused) {
                Ok(()) => {
                    self.seen.truncate(n_reused);
                    return Ok(n_reused);
                }
                Err(error) => tracing::debug!(n_reused, %error, "new decoder: rewind refused"),
            }
        }
        self.decoder = self.model.decoder()?;
        self.seen.clear();
        self.is_broken = false;
        Ok(0)
    }

    /// Forget all but the first `n_tokens` that were seen.
    ///
    /// # Errors
    ///
    /// When the decoder does not forget; what it knows is then as it was.
    pub fn forget_behind(&mut self, n_tokens: usize) -> Result<(), RewindError> {
        if n_tokens < self.seen.len() {
            self.decoder.rewind(n_tokens)?;
            self.seen.truncate(n_tokens);
        }
        Ok(())
    }

    /// Whether to go on behind `n_reused` positions is quicker than to start anew, or the only way.
    fn is_worth_reusing(&self, n_reused: usize, n_prompt: usize) -> bool {
        let limits = self.model.limits();
        let n_inferences = (n_prompt - n_reused).div_ceil(limits.n_follow_tokens_max.max(1));
        let n_anew = n_prompt.div_ceil(limits.n_chunk_tokens_max.max(1));
        let can_start = limits.n_prompt_tokens_max.is_none_or(|n_max| n_prompt <= n_max);
        !can_start || n_inferences <= n_anew.max(N_INFERENCES_OF_A_PREFILL)
    }

    /// How much of `n_left` tokens of a prompt to read, where `n_wanted` is enough for a turn: all
    /// where parts behind others would take longer than the whole.
    pub(crate) fn n_readable(&self, n_left: usize, n_wanted: usize) -> usize {
        let limits = self.model.limits();
        let is_whole =
            limits.n_prompt_tokens_max.is_some() || limits.n_follow_tokens_max < n_wanted;
        if is_whole { n_left } else { n_left.min(n_wanted) }
    }

    /// Append `tokens` as long as that `is_wanted`; the last one's row is then in
    /// [`Session::logits`]. After [`StepError::Stopped`] the session
    /// holds what the decoder can go on behind.
    pub(crate) fn step_while(
        &mut self,
        tokens: &[TokenId],
        is_wanted: &mut dyn FnMut() -> bool,
    ) -> Result<StepTimings, StepError> {
        let started = Instant::now();
        let step = self.begin_step(tokens);
        let stepped = step.decoder.step_while(step.tokens, step.logits, is_wanted);
        self.end_step(tokens, stepped, started.elapsed())
    }

    /// A step that appends `tokens`, for [`Model::step_many`] or alone; [`Session::end_step`] is
    /// told what came of it.
    pub(crate) fn begin_step<'a>(&'a mut self, tokens: &'a [TokenId]) -> Step<'a> {
        Step { decoder: &mut *self.decoder, tokens, logits: &mut self.logits }
    }

    /// Take note of what came of a step over `tokens`, which took `elapsed`.
    pub(crate) fn end_step(
        &mut self,
        tokens: &[TokenId],
        stepped: Result<(), StepError>,
        elapsed: Duration,
    ) -> Result<StepTimings, StepError> {
        self.is_broken = stepped.is_err();
        if let Err(StepError::Stopped { n_positions: Some(n_positions) }) = stepped {
            self.is_broken = false;
            self.seen.extend_from_slice(&tokens[..n_positions - self.seen.len()]);
        }
        stepped?;
        self.seen.extend_from_slice(tokens);
        Ok(StepTimings { elapsed, inference: self.decoder.last_inference() })
    }

    /// Forget the rows of the answer before: a prompt is a border that no smoothing crosses.
    pub(crate) fn begin_answer(&mut self) {
        if let Some(corrector) = &mut self.corrector {
            corrector.reset();
        }
    }

    /// Correct the row of the last step in place; call it once for each. Returns the time it took,
    /// `None` without a correction.
    pub(crate) fn correct(&mut self) -> Result<Option<Duration>, CorrectRowError> {
        let Some(corrector) = &mut self.corrector else { return Ok(None) };
        let started = Instant::now();
        corrector.apply(&mut self.logits)?;
        Ok(Some(started.elapsed()))
    }

    /// The row of the last step, corrected if that was asked for.
    pub(crate) fn logits(&mut self) -> &mut [f32] {
        &mut self.logits
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Session")
            .field("level", &self.level)
            .field("n_seen", &self.seen.len())
            .field("is_broken", &self.is_broken)
            .finish_non_exhaustive()
    }
}
