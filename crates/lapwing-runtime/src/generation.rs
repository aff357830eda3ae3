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

use lapwing_backend::{OpenError, StepError};
use lapwing_logits::{
    Choice, ChooseError, CorrectRowError, Details, Sampler, SamplerOptions, SamplerOptionsError,
    top_logits,
};
use lapwing_model::TokenId;
use lapwing_text::{Reply, ReplyEvent, ReplyFormat, SpecialPieces, Tokenizer};

use crate::generated::{Event, Finish, Generated, StepTimings, Timings, TokenTimings, Usage};
use crate::session::Session;
use crate::text_stream::TextStream;

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The whole conversation so far, as tokens; at least one.
    pub prompt: &'a [TokenId],
    /// Makes the text; without it only tokens come out, and stop strings never match.
    pub tokenizer: Option<&'a Tokenizer>,
    /// What becomes of special tokens in the text.
    pub special: SpecialPieces,
    /// How the model marks thoughts and calls, which are then kept apart from the text. Without it,
    /// or where special tokens are shown, everything is text.
    pub reply: Option<&'a ReplyFormat>,
    /// How tokens are chosen.
    pub sampler: &'a SamplerOptions,
    /// What to report with every token.
    pub details: Details,
    /// Most tokens to choose; 0 only reads the prompt.
    pub n_tokens_max: usize,
    /// Each of these tokens ends the answer.
    pub stop_ids: &'a [TokenId],
    /// Go on after a stop token as if it were none.
    pub ignore_stop_ids: bool,
    /// Each of these strings ends the answer, across token borders; it is cut off the text. One
    /// that is spelled like a special token ends it at that token, whether or not it is shown.
    pub stop_texts: &'a [String],
    /// How many of the largest raw logits of the first position to report.
    pub n_first_step_top: usize,
}

/// Why a generation could not start or go on. Tokens before it were reported.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum GenerateError {
    /// There is nothing to go on from.
    #[error("cannot generate from an empty prompt: expected at least one token")]
    EmptyPrompt,
    /// The prompt alone does not fit.
    #[error("prompt of {n_tokens} tokens is too long: the context holds {n_positions_max}")]
    PromptTooLong { n_tokens: usize, n_positions_max: usize },
    /// The prompt starts a sequence, and the device was compiled for shorter ones.
    #[error("prompt of {n_tokens} tokens is too long: {n_prompt_tokens_max} were compiled for")]
    PromptBeyondCompiled {
        n_tokens: usize,
        /// The longest prompt of this compilation.
        n_prompt_tokens_max: usize,
    },
    /// The prompt is not of this model.
    #[error("token {token} at position {position} is not in the vocabulary of {n_vocab}")]
    NoSuchToken { token: TokenId, position: usize, n_vocab: usize },
    /// A sampling option makes no sense.
    #[error("cannot choose tokens as asked")]
    Sampler(#[source] SamplerOptionsError),
    /// There was no room for a new sequence.
    #[error("cannot start a new sequence")]
    Decoder(#[source] OpenError),
    /// The model failed.
    #[error("cannot go on after {n_generated} generated tokens")]
    Step { n_generated: usize, source: StepError },
    /// The model's logits cannot be corrected.
    #[error("cannot correct the logits of generated token {n_generated}")]
    Correct { n_generated: usize, source: CorrectRowError },
    /// The model's logits allow no choice.
    #[error("cannot choose generated token {n_generated}")]
    Choose { n_generated: usize, source: ChooseError },
}

/// An answer while it grows: owns what it needs of its [`Request`], and its session as `S`, a
/// [`Session`] or a `&mut Session`. Nobody else can move the session meanwhile.
pub struct Generation<S> {
    session: S,
    prompt: Vec<TokenId>,
    details: Details,
    n_tokens_max: usize,
    stop_ids: Vec<TokenId>,
    stop_texts: Vec<String>,
    /// For each stop string, the special token that is spelled so.
    stop_text_ids: Vec<Option<TokenId>>,
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
    is_over: bool,
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
            stop_text_ids: stop_texts.iter().map(|text| special_id(request, text)).collect(),
            n_first_step_top: request.n_first_step_top,
            started,
            sampler,
            stream: TextStream::new(tokenizer, special, reply, prompt, stop_texts),
            last_step: None,
            newest: None,
            reply: Reply::default(),
            newest_parts: Vec::new(),
            newest_text: 0,
            is_over: false,
            generated: nothing_generated(prompt.len()),
        })
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
            (false, _) => self.prefill(is_wanted),
            (true, false) => self.choose(),
            (true, true) => self.step().and_then(|()| self.choose()),
        };
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

    /// Step what the session does not know of the prompt.
    fn prefill(
        &mut self,
        is_wanted: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Finish>, GenerateError> {
        let session = self.session.borrow_mut();
        let n_reused = session.align(&self.prompt).map_err(GenerateError::Decoder)?;
        let n_tokens = self.prompt.len();
        match session.model().limits().n_prompt_tokens_max {
            Some(n_prompt_tokens_max) if n_reused == 0 && n_prompt_tokens_max < n_tokens => {
                return Err(GenerateError::PromptBeyondCompiled { n_tokens, n_prompt_tokens_max });
            }
            _ => {}
        }
        self.generated.usage.n_reused_tokens = n_reused;
        let started = Instant::now();
        let step = match session.step_while(&self.prompt[n_reused..], is_wanted) {
            Ok(step) => step,
            Err(StepError::Stopped { .. }) => {
                self.generated.timings.prefill.elapsed = started.elapsed();
                return Ok(Some(Finish::Cancelled));
            }
            Err(source) => return Err(GenerateError::Step { n_generated: 0, source }),
        };
        session.begin_answer();
        if self.n_first_step_top != 0 {
            let level = session.level();
            self.generated.first_step_top =
                top_logits(level, session.logits(), self.n_first_step_top);
        }
        self.generated.timings.prefill = step;
        self.last_step = Some(step);
        Ok((self.n_tokens_max == 0).then_some(Finish::MaxTokens))
    }

    /// Step the newest token, so that the logits are those behind it.
    pub(crate) fn step(&mut self) -> Result<(), GenerateError> {
        let n_generated = self.generated.token_ids.len();
        let newest = &self.generated.token_ids[n_generated.saturating_sub(1)..];
        let stepped = self.session.borrow_mut().step(newest);
        let step = stepped.map_err(|source| GenerateError::Step { n_generated, source })?;
        self.last_step = Some(step);
        Ok(())
    }

    /// Choose a token from the present logits; why the answer ends with it, if it does.
    pub(crate) fn choose(&mut self) -> Result<Option<Finish>, GenerateError> {
        let n_generated = self.generated.token_ids.len();
        let session = self.session.borrow_mut();
        let correct =
            session.correct().map_err(|source| GenerateError::Correct { n_generated, source })?;
        let sample_started = Instant::now();
        let chosen = self.sampler.choose(session.logits(), self.details);
        let chosen = chosen.map_err(|source| GenerateError::Choose { n_generated, source })?;
        let token = chosen.token;
        self.sampler.observe(token);
        self.generated.token_ids.push(token);
        let detokenize_started = Instant::now();
        let end = self.end_at(token);
        let certain = match &end {
            None => self.stream.push(token),
            Some(Finish::StopToken { .. } | Finish::StopText { .. }) => self.stream.finish(None),
            Some(_) => self.stream.finish(Some(token)),
        };
        self.newest_text = self.reply.content.len();
        let timings = TokenTimings {
            step: self.last_step.unwrap_or(NO_STEP),
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
        if let Some(stop_idx) = self.stop_text_ids.iter().position(|id| *id == Some(token)) {
            return Some(Finish::StopText { text: self.stop_texts[stop_idx].clone() });
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

/// A sampler that knows the prompt, once the request was found to make sense.
fn sampler(session: &Session, request: &Request<'_>) -> Result<Sampler, GenerateError> {
    let prompt = request.prompt;
    let n_vocab = session.model().n_vocab();
    let n_positions_max = session.model().limits().n_positions_max;
    if prompt.is_empty() {
        return Err(GenerateError::EmptyPrompt);
    }
    let n_tokens = prompt.len();
    if n_positions_max < n_tokens {
        return Err(GenerateError::PromptTooLong { n_tokens, n_positions_max });
    }
    if let Some(position) = prompt.iter().position(|&token| n_vocab <= token as usize) {
        let token = prompt[position];
        return Err(GenerateError::NoSuchToken { token, position, n_vocab });
    }
    let mut sampler = Sampler::new(request.sampler.clone(), n_vocab, session.level())
        .map_err(GenerateError::Sampler)?;
    prompt.iter().for_each(|&token| sampler.observe_prompt(token));
    Ok(sampler)
}

/// The special token that is spelled `text`.
fn special_id(request: &Request<'_>, text: &str) -> Option<TokenId> {
    let tokenizer = request.tokenizer?;
    tokenizer.token_id(text).filter(|&id| tokenizer.is_special(id))
}

const NO_STEP: StepTimings = StepTimings { elapsed: Duration::ZERO, inference: Duration::ZERO };

fn nothing_generated(n_prompt_tokens: usize) -> Generated {
    Generated {
        token_ids: Vec::new(),
        text: String::new(),
        reasoning: String::new(),
        tool_calls: Vec::new(),
        finish: Finish::Cancelled,
        usage: Usage { n_prompt_tokens, n_reused_tokens: 0, n_completion_tokens: 0 },
        timings: Timings {
            prefill: NO_STEP,
            time_to_first_token: None,
            tokens: Vec::new(),
            total: Duration::ZERO,
        },
        first_step_top: Vec::new(),
    }
}
