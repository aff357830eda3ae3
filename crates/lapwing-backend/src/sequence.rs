//! One sequence: what every decoder checks, cuts up, times and counts, over what a library does.

use std::time::{Duration, Instant};

use lapwing_model::TokenId;

use crate::{Decoder, Limits, Model, RewindError, Row, Source, StepError};

/// What a library does for one sequence: the part of a [`Decoder`] that a backend writes.
/// [`Sequence`] is the other part.
pub trait Inference: Send + 'static {
    /// Run the tokens of `chunk` behind the positions that were run before, and give the row of
    /// each of its last tokens to [`Chunk::give`], in order, as many as are wanted.
    ///
    /// # Errors
    ///
    /// What the library said. Nothing is called again then, but where the run was broken off and
    /// [`Inference::outlives_stops`].
    fn run(&mut self, chunk: &mut Chunk<'_>) -> Result<(), Source>;

    /// Forget every position from `n_positions` on, which are at least one.
    ///
    /// # Errors
    ///
    /// Why that cannot be; nothing has changed then.
    fn forget(&mut self, n_positions: usize) -> Result<(), &'static str>;

    /// Whether a run that was broken off ([`Chunk::time_while`]) leaves everything as it was before.
    fn outlives_stops(&self) -> bool {
        false
    }
}

/// Tokens that go into the library at once, and what is wanted of them.
pub struct Chunk<'a> {
    /// The tokens: one or more of the vocabulary, as many as [`Limits`] allow there.
    pub tokens: &'a [TokenId],
    /// Positions before them.
    pub n_past: usize,
    /// Rows that are wanted, those of the last tokens: one or more.
    pub n_rows: usize,
    n_vocab: usize,
    n_given: usize,
    /// The length of a row that was none.
    n_found: Option<usize>,
    inference: Option<Duration>,
    /// Asked while the library works: on the first `false` it is broken off.
    is_wanted: Option<&'a mut dyn FnMut() -> bool>,
    on_row: &'a mut dyn FnMut(Row<'_>),
}

impl Chunk<'_> {
    /// Call the library. Time in here is the library's own, the rest of [`Inference::run`] is our
    /// work; where this is never called, all of it is the library's.
    pub fn time<T>(&mut self, infer: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let outcome = infer();
        *self.inference.get_or_insert_default() += started.elapsed();
        outcome
    }

    /// The same for a call that can be broken off: `infer` asks every few milliseconds what it is
    /// given, where there is anybody to ask, and fails soon after it said no.
    pub fn time_while<T>(
        &mut self,
        infer: impl FnOnce(Option<&mut dyn FnMut() -> bool>) -> T,
    ) -> T {
        match self.is_wanted.take() {
            Some(is_wanted) => self.time(|| infer(Some(is_wanted))),
            None => self.time(|| infer(None)),
        }
    }

    /// Give the next of the rows that are wanted. One of another length is an error of the run: the
    /// graph promised rows that the library does not give.
    ///
    /// Shapes: `logits [n_vocab]`, `hidden [n_hidden]`.
    pub fn give(&mut self, logits: &[f32], hidden: Option<&[f32]>) {
        if logits.len() != self.n_vocab {
            self.n_found = Some(logits.len());
        } else if self.n_given < self.n_rows {
            let token_idx = self.tokens.len() - self.n_rows + self.n_given;
            (self.on_row)(Row { token_idx, logits, hidden });
        }
        self.n_given += 1;
    }
}

/// A [`Decoder`] over an [`Inference`]: it lets in only what [`Limits`] allow, in chunks of their
/// sizes, and keeps the time and the count of positions.
pub struct Sequence<I> {
    inference: I,
    /// The backend's name.
    backend: &'static str,
    n_vocab: usize,
    limits: Limits,
    n_positions: usize,
    /// The tokens of the positions, where they may have to go in anew.
    seen: Vec<TokenId>,
    /// What the library holds is not known: a run failed, or was broken off and not outlived.
    is_lost: bool,
    /// Time in the library during the last step or score.
    last_inference: Duration,
}

impl<I: Inference> Sequence<I> {
    /// A sequence without positions of `model`, which `backend` opened.
    pub fn new(backend: &'static str, model: &dyn Model, inference: I) -> Sequence<I> {
        Sequence {
            inference,
            backend,
            n_vocab: model.n_vocab(),
            limits: model.limits(),
            n_positions: 0,
            seen: Vec::new(),
            is_lost: false,
            last_inference: Duration::ZERO,
        }
    }

    /// Let in `tokens`, of which `n_first` go in at once: they are of the vocabulary and fit.
    fn let_in(&mut self, tokens: &[TokenId], n_first: usize) -> Result<(), StepError> {
        assert!(!tokens.is_empty(), "a step needs at least one token");
        let (n_positions, n_new) = (self.n_positions, tokens.len());
        if self.is_lost {
            return Err(StepError::Lost { backend: self.backend, n_positions });
        }
        let Limits { n_positions_max: n_max, n_prompt_tokens_max, .. } = self.limits;
        if n_max < n_positions + n_new {
            return Err(StepError::ContextFull { n_positions, n_new, n_max });
        }
        let n_vocab = self.n_vocab;
        if let Some(&token) = tokens.iter().find(|&&token| n_vocab <= token as usize) {
            return Err(StepError::NoSuchToken { token, n_vocab });
        }
        match n_prompt_tokens_max {
            Some(n_prompt_tokens_max) if n_positions == 0 && n_prompt_tokens_max < n_first => {
                Err(StepError::PromptTooLong { n_tokens: n_first, n_prompt_tokens_max })
            }
            _ => {
                self.last_inference = Duration::ZERO;
                Ok(())
            }
        }
    }

    /// Append `tokens`, as long as they are wanted where somebody can say so.
    fn step_chunks(
        &mut self,
        tokens: &[TokenId],
        logits: &mut [f32],
        mut is_wanted: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<(), StepError> {
        assert_eq!(logits.len(), self.n_vocab, "one logit a token");
        self.let_in(tokens, tokens.len())?;
        let (n_before, switch) = (self.n_positions, self.switch_within(tokens.len()));
        let whole;
        let tokens = match switch {
            Some(_) if 0 < self.n_positions => {
                whole = [&self.seen[..self.n_positions], tokens].concat();
                self.start_anew()?;
                &whole
            }
            _ => tokens,
        };
        let mut rest = tokens;
        while !rest.is_empty() {
            if let Some(is_wanted) = &mut is_wanted
                && rest.len() < tokens.len()
                && !is_wanted()
            {
                // One that was to be read anew, and was not, is of no use.
                self.is_lost = self.n_positions < n_before;
                let n_positions = (!self.is_lost).then_some(self.n_positions);
                return Err(StepError::Stopped { n_positions });
            }
            let n_at_once = match self.n_positions {
                // What goes in first must make the sequence long.
                0 => self.limits.n_chunk_tokens_max.max(switch.map_or(0, |n_switch| n_switch + 1)),
                _ => self.limits.n_follow_tokens_max,
            };
            let (chunk, behind) = rest.split_at(n_at_once.clamp(1, rest.len()));
            let mut on_row = |row: Row<'_>| {
                if behind.is_empty() {
                    logits.copy_from_slice(row.logits);
                }
            };
            match &mut is_wanted {
                // One token is soon done.
                Some(is_wanted) if 1 < chunk.len() => {
                    self.run_while(chunk, &mut on_row, is_wanted, n_before)?;
                }
                _ => self.run(chunk, 1, &mut on_row, None)?,
            }
            rest = behind;
        }
        Ok(())
    }

    /// [`Limits::n_positions_switch`], where `n_new` tokens would reach from one side of it to the
    /// other.
    fn switch_within(&self, n_new: usize) -> Option<usize> {
        let is_within = |&n: &usize| (self.n_positions..self.n_positions + n_new).contains(&n);
        self.limits.n_positions_switch.filter(is_within)
    }

    /// Forget all positions in order to read them anew.
    fn start_anew(&mut self) -> Result<(), StepError> {
        let (backend, n_positions) = (self.backend, self.n_positions);
        self.inference.forget(0).map_err(|reason| StepError::Library {
            backend,
            n_positions,
            source: format!("the sequence cannot be read anew: {reason}").into(),
        })?;
        self.n_positions = 0;
        Ok(())
    }

    /// Run `tokens` at once, as long as they are wanted, and give the last row to `on_row`.
    fn run_while(
        &mut self,
        tokens: &[TokenId],
        on_row: &mut dyn FnMut(Row<'_>),
        is_wanted: &mut dyn FnMut() -> bool,
        n_before: usize,
    ) -> Result<(), StepError> {
        let mut was_stopped = false;
        let ran = self.run(
            tokens,
            1,
            on_row,
            Some(&mut || {
                was_stopped |= !is_wanted();
                !was_stopped
            }),
        );
        match ran {
            Err(StepError::Library { .. }) if was_stopped => {
                self.is_lost = !self.inference.outlives_stops() || self.n_positions < n_before;
                let n_positions = (!self.is_lost).then_some(self.n_positions);
                Err(StepError::Stopped { n_positions })
            }
            ran => ran,
        }
    }

    /// Run `tokens` at once and give the rows of the last `n_rows` to `on_row`.
    fn run(
        &mut self,
        tokens: &[TokenId],
        n_rows: usize,
        on_row: &mut dyn FnMut(Row<'_>),
        is_wanted: Option<&mut dyn FnMut() -> bool>,
    ) -> Result<(), StepError> {
        let (backend, n_positions) = (self.backend, self.n_positions);
        let failed = |source| StepError::Library { backend, n_positions, source };
        let n_vocab = self.n_vocab;
        let (n_past, n_given, n_found, inference) = (n_positions, 0, None, None);
        let is_wanted = is_wanted.map(|is_wanted| is_wanted as &mut dyn FnMut() -> bool);
        let mut chunk = Chunk {
            tokens,
            n_past,
            n_rows,
            n_vocab,
            n_given,
            n_found,
            inference,
            is_wanted,
            on_row,
        };
        let started = Instant::now();
        // Until it is known that all went well.
        self.is_lost = true;
        let ran = self.inference.run(&mut chunk);
        self.last_inference += chunk.inference.unwrap_or_else(|| started.elapsed());
        ran.map_err(failed)?;
        if let Some(n_found) = chunk.n_found {
            let found = format!("expected rows of {n_vocab} logits, found one of {n_found}");
            return Err(failed(found.into()));
        }
        if chunk.n_given != n_rows {
            let found = format!("expected {n_rows} rows, found {}", chunk.n_given);
            return Err(failed(found.into()));
        }
        if self.limits.n_positions_switch.is_some() {
            self.seen.truncate(self.n_positions);
            self.seen.extend_from_slice(tokens);
        }
        self.is_lost = false;
        self.n_positions += tokens.len();
        Ok(())
    }
}

impl<I: Inference> Decoder for Sequence<I> {
    fn step(&mut self, tokens: &[TokenId], logits: &mut [f32]) -> Result<(), StepError> {
        self.step_chunks(tokens, logits, None)
    }

    fn step_while(
        &mut self,
        tokens: &[TokenId],
        logits: &mut [f32],
        is_wanted: &mut dyn FnMut() -> bool,
    ) -> Result<(), StepError> {
        self.step_chunks(tokens, logits, Some(is_wanted))
    }

    fn score(&mut self, tokens: &[TokenId], row: &mut dyn FnMut(Row<'_>)) -> Result<(), StepError> {
        if !self.limits.can_score {
            return Err(StepError::LastPositionOnly { backend: self.backend });
        }
        let n_at_once = self.limits.n_scored_tokens_max.max(1);
        self.let_in(tokens, n_at_once.min(tokens.len()))?;
        if let Some(n_switch) = self.switch_within(tokens.len()) {
            let (n_positions, n_new) = (self.n_positions, tokens.len());
            return Err(StepError::ScoreOverSwitch { n_positions, n_new, n_switch });
        }
        let mut n_done = 0;
        while n_done < tokens.len() {
            let n_left = tokens.len() - n_done;
            // A last row alone could go through another kernel than the rows before it.
            let would_leave_one = n_left == n_at_once + 1 && 2 < n_at_once;
            let n_new = if would_leave_one { n_at_once - 1 } else { n_at_once.min(n_left) };
            self.run(
                &tokens[n_done..n_done + n_new],
                n_new,
                &mut |given| {
                    row(Row { token_idx: n_done + given.token_idx, ..given });
                },
                None,
            )?;
            n_done += n_new;
        }
        Ok(())
    }

    fn n_positions(&self) -> usize {
        self.n_positions
    }

    fn rewind(&mut self, n_positions: usize) -> Result<(), RewindError> {
        if self.is_lost {
            let (backend, n_positions) = (self.backend, self.n_positions);
            return Err(RewindError::Lost { backend, n_positions });
        }
        if self.n_positions < n_positions {
            let n_asked = n_positions;
            return Err(RewindError::Ahead { n_asked, n_positions: self.n_positions });
        }
        if n_positions < self.n_positions {
            let refused = |reason| RewindError::Unsupported { backend: self.backend, reason };
            let is_kept = |n_switch| 0 < n_positions && n_positions <= n_switch;
            let n_switch = self.limits.n_positions_switch.filter(|&n| n < self.n_positions);
            if n_switch.is_some_and(is_kept) {
                return Err(refused("what is kept was computed as of a longer sequence"));
            }
            self.inference.forget(n_positions).map_err(refused)?;
            self.n_positions = n_positions;
        }
        Ok(())
    }

    fn last_inference(&self) -> Duration {
        self.last_inference
    }
}

#[cfg(test)]
mod tests;
