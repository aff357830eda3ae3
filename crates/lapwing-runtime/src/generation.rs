//! One answer while it grows, a token at a time.
//!
//! ```text
//! reuse what the session still knows of the prompt, step the rest
//! loop:
//!     correct the logits, choose a token from them, make text of it
//!     stop on: stop string, stop token, limit, full context
//!     step the token
//! ```
//!
//! Between two turns of the loop nothing is held but the session: a generation can wait, be taken
//! up by another thread, go on in turn with others, or end early.

use std::borrow::BorrowMut;
use std::time::{Duration, Instant};

use lapwing_backend::{Step, StepError};
use lapwing_logits::{Choice, Details, Sampler, top_logits};
use lapwing_model::TokenId;
use lapwing_text::{Reply, ReplyEvent};

use crate::constraint::Constraint;
use crate::generated::{Event, Finish, Generated, StepTimings, TokenTimings, Usage};
use crate::request::{GenerateError, Request, sampler};
use crate::session::Session;
use crate::text_stream::TextStream;

/// An answer while it grows: owns what it needs of its [`Request`], and its session as `S`, a
/// [`Session`] or a `&mut Session`. Nobody else can move the session meanwhile.
pub struct Generation<S> {
    session: S,
    prompt: Vec<TokenId>,
    details: Details,
    n_tokens_max: usize,
    stop_ids: Vec<TokenId>,
    stop_texts: Vec<String>,
    n_first_step_top: usize,
    started: Instant,
    sampler: Sampler,
    stream: TextStream,
    /// The step that gave the present logits; `None` before the prompt was read.
    last_step: Option<StepTimings>,
    /// The newest token, which was not stepped yet.
    newest: Option<Choice>,
    reply: Reply,
    /// What became certain with the newest token, and where its text begins.
    newest_parts: Vec<ReplyEvent>,
    newest_text: usize,
    /// Whether the session holds what it still knew of the prompt, and nothing else.
    is_aligned: bool,
    is_over: bool,
    constraint: Option<Box<dyn Constraint>>,
    /// Cancelled unless it ends by itself.
    generated: Generated,
}

impl<S: BorrowMut<Session>> Generation<S> {
    /// Check the request; nothing is computed yet.
    ///
    /// # Errors
    ///
    /// When the prompt or an option is wrong; the session comes back with the reason.
    pub fn new(session: S, request: &Request<'_>) -> Result<Generation<S>, (S, GenerateError)> {
        let started = Instant::now();
        let sampler = match sampler(session.borrow(), request) {
            Ok(sampler) => sampler,
            Err(error) => return Err((session, error)),
        };
        let Request { prompt, tokenizer, special, reply, stop_ids, stop_texts, .. } = *request;
        Ok(Generation {
            session,
            prompt: prompt.to_vec(),
            details: request.details,
            n_tokens_max: request.n_tokens_max,
            stop_ids: if request.ignore_stop_ids { Vec::new() } else { stop_ids.to_vec() },
            stop_texts: stop_texts.to_vec(),
            n_first_step_top: request.n_first_step_top,
            started,
            sampler,
            stream: TextStream::new(tokenizer, special, reply, prompt, stop_texts),
            last_step: None,
            newest: None,
            reply: Reply::default(),
            newest_parts: Vec::new(),
            newest_text: 0,
            is_aligned: false,
            is_over: false,
            constraint: None,
            generated: Generated::nothing(prompt.len()),
        })
    }

    /// Let `constraint` say which tokens may be chosen.
    #[must_use]
    pub fn constrained(self, constraint: Option<Box<dyn Constraint>>) -> Generation<S> {
        Generation { constraint, ..self }
    }

    /// Whether the prompt is not read to its end: the next [`Generation::advance`] does that.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.last_step.is_none()
    }

    /// Whether the answer has come to its end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Tokens of the prompt that the session holds; all of them once it is read.
    #[must_use]
    pub fn n_read(&self) -> usize {
        let n_prompt = self.prompt.len();
        if self.is_aligned { self.session.borrow().seen().len().min(n_prompt) } else { 0 }
    }

    /// Tokens of the prompt.
    #[must_use]
    pub fn n_prompt(&self) -> usize {
        self.prompt.len()
    }

    /// Read the prompt or, when that is done, choose one token; why the answer ends there, if it
    /// does. What was done is then in [`Generation::event`].
    ///
    /// Once the answer has ended nothing is done, and the reason stays.
    ///
    /// # Errors
    ///
    /// When the model fails. The answer is over then, as cancelled; its session stays usable.
    pub fn advance(&mut self) -> Result<Option<Finish>, GenerateError> {
        self.advance_while(&mut || true)
    }

    /// The same; `is_wanted` is asked while the prompt is read, and on its first `false` the answer
    /// ends as [`Finish::Cancelled`].
    ///
    /// # Errors
    ///
    /// As [`Generation::advance`].
    pub fn advance_while(
        &mut self,
        is_wanted: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Finish>, GenerateError> {
        if self.is_over {
            return Ok(Some(self.generated.finish.clone()));
        }
        let advanced = match (self.last_step.is_some(), self.newest.is_some()) {
            (false, _) => self.prefill(usize::MAX, is_wanted),
            (true, false) => self.choose(),
            (true, true) => self.step().and_then(|()| self.choose()),
        };
        self.settle(advanced)
    }

    /// Read about `n_tokens` more of the prompt, as [`Generation::advance_while`] reads all of it:
    /// between two parts others can have their turn. A model that takes prompts only as a whole, as
    /// NPUs do, reads the rest.
    ///
    /// # Errors
    ///
    /// As [`Generation::advance`].
    pub fn read(
        &mut self,
        n_tokens: usize,
        is_wanted: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Finish>, GenerateError> {
        if self.is_over || !self.is_reading() {
            return Ok(self.is_over.then(|| self.generated.finish.clone()));
        }
        let read = self.prefill(n_tokens.max(1), is_wanted);
        self.settle(read)
    }

    /// Take note of what a turn came to.
    pub(crate) fn settle(
        &mut self,
        advanced: Result<Option<Finish>, GenerateError>,
    ) -> Result<Option<Finish>, GenerateError> {
        self.is_over = !matches!(advanced, Ok(None));
        if let Ok(Some(finish)) = &advanced {
            self.generated.finish = finish.clone();
        }
        advanced
    }

    /// What the last [`Generation::advance`] that succeeded did; `None` before the first.
    #[must_use]
    pub fn event(&self) -> Option<Event<'_>> {
        let Generated { token_ids, timings, usage, .. } = &self.generated;
        if let (Some(newest), Some(&timings)) = (&self.newest, timings.tokens.last()) {
            let Choice { token, log_probability, ref top } = *newest;
            let text = &self.reply.content[self.newest_text..];
            let parts = &self.newest_parts;
            return Some(Event::Token { token, log_probability, top, text, parts, timings });
        }
        debug_assert!(token_ids.is_empty(), "tokens have timings");
        let (n_reused, n_prompt) = (usage.n_reused_tokens, usage.n_prompt_tokens);
        let StepTimings { elapsed, inference } = self.last_step?;
        Some(Event::Prefill { n_tokens: n_prompt - n_reused, n_reused, elapsed, inference })
    }

    /// The session that this answer is generated in.
    #[must_use]
    pub fn session(&self) -> &Session {
        self.session.borrow()
    }

    /// Give back the session, and what came of the answer: [`Finish::Cancelled`] if it had not
    /// ended. The session holds the prompt and the answer, ready for a prompt that repeats them.
    pub fn end(mut self) -> (S, Generated) {
        let Reply { content, reasoning, tool_calls } = std::mem::take(&mut self.reply);
        self.generated.text = content;
        self.generated.reasoning = reasoning;
        self.generated.tool_calls = tool_calls;
        self.generated.usage.n_completion_tokens = self.generated.token_ids.len();
        self.generated.timings.total = self.started.elapsed();
        let Usage { n_prompt_tokens, n_reused_tokens, n_completion_tokens } = self.generated.usage;
        tracing::debug!(
            n_prompt_tokens,
            n_reused_tokens,
            n_completion_tokens,
            reason = self.generated.finish.reason().name(),
            "generated"
        );
        (self.session, self.generated)
    }

    /// Step at most `n_tokens_max` of what the session does not know of the prompt.
    fn prefill(
        &mut self,
        n_tokens_max: usize,
        is_wanted: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Finish>, GenerateError> {
        let session = self.session.borrow_mut();
        if !self.is_aligned {
            let n_reused = session.align(&self.prompt).map_err(GenerateError::Decoder)?;
            let n_tokens = self.prompt.len();
            match session.model().limits().n_prompt_tokens_max {
                Some(n_prompt_tokens_max) if n_reused == 0 && n_prompt_tokens_max < n_tokens => {
                    let n_max = n_prompt_tokens_max;
                    return Err(GenerateError::PromptBeyondCompiled {
                        n_tokens,
                        n_prompt_tokens_max: n_max,
                    });
                }
                _ => {}
            }
            self.generated.usage.n_reused_tokens = n_reused;
            self.is_aligned = true;
        }
        let rest = &self.prompt[session.seen().len()..];
        let n_tokens = session.n_readable(rest.len(), n_tokens_max);
        let started = Instant::now();
        let stepped = session.step_while(&rest[..n_tokens], is_wanted);
        let prefill = &mut self.generated.timings.prefill;
        match stepped {
            Ok(step) => {
                prefill.elapsed += step.elapsed;
                prefill.inference += step.inference;
            }
            Err(StepError::Stopped { .. }) => {
                prefill.elapsed += started.elapsed();
                return Ok(Some(Finish::Cancelled));
            }
            Err(source) => return Err(GenerateError::Step { n_generated: 0, source }),
        }
        if n_tokens < rest.len() {
            return Ok(None);
        }
        session.begin_answer();
        if self.n_first_step_top != 0 {
            let level = session.level();
            self.generated.first_step_top =
                top_logits(level, session.logits(), self.n_first_step_top);
        }
        self.last_step = Some(*prefill);
        Ok((self.n_tokens_max == 0).then_some(Finish::MaxTokens))
    }

    /// Step the newest token, so that the logits are those behind it.
    fn step(&mut self) -> Result<(), GenerateError> {
        let started = Instant::now();
        let step = self.begin_step();
        let stepped = step.decoder.step(step.tokens, step.logits);
        self.end_step(stepped, started.elapsed())
    }

    /// The same for [`lapwing_backend::Model::step_many`]; [`Generation::end_step`] is told what
    /// came of it.
    pub(crate) fn begin_step(&mut self) -> Step<'_> {
        let token_ids = &self.generated.token_ids;
        self.session.borrow_mut().begin_step(&token_ids[token_ids.len().saturating_sub(1)..])
    }

    pub(crate) fn end_step(
        &mut self,
        stepped: Result<(), StepError>,
        elapsed: Duration,
    ) -> Result<(), GenerateError> {
        let n_generated = self.generated.token_ids.len();
        let newest = &self.generated.token_ids[n_generated.saturating_sub(1)..];
        let ended = self.session.borrow_mut().end_step(newest, stepped, elapsed);
        let step = ended.map_err(|source| GenerateError::Step { n_generated, source })?;
        self.last_step = Some(step);
        Ok(())
    }

    /// Whether the next turn steps a token that was chosen.
    pub(crate) fn has_newest(&self) -> bool {
        self.newest.is_some()
    }

    /// Choose a token from the present logits; why the answer ends with it, if it does.
    pub(crate) fn choose(&mut self) -> Result<Option<Finish>, GenerateError> {
        let n_generated = self.generated.token_ids.len();
        let session = self.session.borrow_mut();
        let correct =
            session.correct().map_err(|source| GenerateError::Correct { n_generated, source })?;
        let sample_started = Instant::now();
        if let Some(constraint) = &mut self.constraint {
            let forbidden = constraint.forbid(session.logits());
            forbidden.map_err(|source| GenerateError::Constrain { n_generated, source })?;
        }
        let chosen = self.sampler.choose(session.logits(), self.details);
        let chosen = chosen.map_err(|source| GenerateError::Choose { n_generated, source })?;
        let token = chosen.token;
        self.sampler.observe(token);
        self.generated.token_ids.push(token);
        let is_complete = self.constraint.as_mut().is_some_and(|constraint| constraint.take(token));
        let detokenize_started = Instant::now();
        let end = self.end_at(token).or_else(|| is_complete.then_some(Finish::Complete));
        let certain = match &end {
            None => self.stream.push(token),
            Some(Finish::StopToken { .. }) => self.stream.stop_at(token),
            Some(_) => self.stream.finish(token),
        };
        self.newest_text = self.reply.content.len();
        let timings = TokenTimings {
            step: self.last_step.unwrap_or(StepTimings::NONE),
            correct,
            sample: detokenize_started - sample_started,
            detokenize: detokenize_started.elapsed(),
        };
        self.generated.timings.time_to_first_token.get_or_insert_with(|| self.started.elapsed());
        self.generated.timings.tokens.push(timings);
        certain.parts.iter().for_each(|part| self.reply.add(part));
        self.newest_parts = certain.parts;
        self.newest = Some(chosen);
        let stop_text = certain.matched.map(|stop_idx| self.stop_texts[stop_idx].clone());
        Ok(stop_text.map(|text| Finish::StopText { text }).or(end))
    }

    /// Why `token`, the newest one, is the last; what its text may end is not known here.
    fn end_at(&self, token: TokenId) -> Option<Finish> {
        if self.stop_ids.contains(&token) {
            return Some(Finish::StopToken { token });
        }
        if self.n_tokens_max <= self.generated.token_ids.len() {
            return Some(Finish::MaxTokens);
        }
        let session = self.session.borrow();
        let n_positions_max = session.model().limits().n_positions_max;
        let is_full = n_positions_max <= session.seen().len();
        is_full.then_some(Finish::ContextFull { n_positions_max })
    }
}

impl<S> std::fmt::Debug for Generation<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Generation")
            .field("n_prompt_tokens", &self.prompt.len())
            .field("n_generated", &self.generated.token_ids.len())
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}
