//! The generation loop.
//!
//! ```text
//! reuse what the session still knows of the prompt, step the rest
//! loop:
//!     correct the logits, choose a token from them, report it with its text
//!     stop on: caller, stop string, stop token, limit, full context
//!     step the token
//! ```

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use lapwing_backend::{OpenError, StepError};
use lapwing_logits::{
    Choice, ChooseError, CorrectRowError, Details, Sampler, SamplerOptions, SamplerOptionsError,
    top_logits,
};
use lapwing_model::TokenId;
use lapwing_text::{SpecialPieces, Tokenizer};

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
    /// Each of these strings ends the answer, across token borders; it is cut off the text.
    pub stop_texts: &'a [String],
    /// How many of the largest raw logits of the first position to report.
    pub n_first_step_top: usize,
}

/// Why a generation could not start or go on. Tokens before it were reported.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// There is nothing to go on from.
    #[error("cannot generate from an empty prompt: expected at least one token")]
    EmptyPrompt,
    /// The prompt alone does not fit.
    #[error("prompt of {n_tokens} tokens is too long: the context holds {n_positions_max}")]
    PromptTooLong {
        /// Length of the prompt.
        n_tokens: usize,
        /// Positions the model has room for.
        n_positions_max: usize,
    },
    /// The prompt starts a sequence, and the device was compiled for shorter ones.
    #[error("prompt of {n_tokens} tokens is too long: {n_prompt_tokens_max} were compiled for")]
    PromptBeyondCompiled {
        /// Length of the prompt.
        n_tokens: usize,
        /// The longest prompt of this compilation.
        n_prompt_tokens_max: usize,
    },
    /// The prompt is not of this model.
    #[error("token {token} at position {position} is not in the vocabulary of {n_vocab}")]
    NoSuchToken {
        /// The token.
        token: TokenId,
        /// Its place in the prompt.
        position: usize,
        /// Tokens the model has.
        n_vocab: usize,
    },
    /// A sampling option makes no sense.
    #[error("cannot choose tokens as asked")]
    Sampler(#[source] SamplerOptionsError),
    /// There was no room for a new sequence.
    #[error("cannot start a new sequence")]
    Decoder(#[source] OpenError),
    /// The model failed.
    #[error("cannot go on after {n_generated} generated tokens")]
    Step {
        /// Tokens chosen before.
        n_generated: usize,
        /// What failed.
        #[source]
        source: StepError,
    },
    /// The model's logits cannot be corrected.
    #[error("cannot correct the logits of generated token {n_generated}")]
    Correct {
        /// Tokens chosen before.
        n_generated: usize,
        /// What is wrong with the logits.
        #[source]
        source: CorrectRowError,
    },
    /// The model's logits allow no choice.
    #[error("cannot choose generated token {n_generated}")]
    Choose {
        /// Tokens chosen before.
        n_generated: usize,
        /// What is wrong with the logits.
        #[source]
        source: ChooseError,
    },
}

/// Read the prompt and generate until something ends the answer.
///
/// `on_event` hears of the prefill and of every token as it comes; when it breaks, the generation
/// ends as [`Finish::Cancelled`] with what was reported so far. The session then holds the prompt
/// and the answer, ready for a prompt that repeats them.
///
/// # Errors
///
/// Before any work when the prompt or an option is wrong; later when the model fails. The session
/// stays usable.
pub fn generate(
    session: &mut Session,
    request: &Request<'_>,
    on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Generated, GenerateError> {
    let started = Instant::now();
    let mut answer = Answer::new(session, request, started)?;
    let prefill = answer.prefill(session)?;
    let mut finish = on_event(prefill).is_break().then_some(Finish::Cancelled);
    if request.n_tokens_max == 0 {
        finish = finish.or(Some(Finish::MaxTokens));
    }
    let finish = loop {
        if let Some(finish) = finish {
            break finish;
        }
        finish = answer.next_token(session, on_event)?;
        if finish.is_none() {
            answer.decode(session)?;
        }
    };
    Ok(answer.end(finish))
}

/// An answer while it grows.
struct Answer<'a> {
    request: &'a Request<'a>,
    started: Instant,
    sampler: Sampler,
    stream: TextStream,
    /// The step that gave the present logits.
    last_step: StepTimings,
    generated: Generated,
}

impl<'a> Answer<'a> {
    /// Check the request; nothing is computed yet.
    fn new(
        session: &Session,
        request: &'a Request<'a>,
        started: Instant,
    ) -> Result<Answer<'a>, GenerateError> {
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
        prompt.iter().for_each(|&token| sampler.observe(token));
        let stream =
            TextStream::new(request.tokenizer, request.special, prompt, request.stop_texts);
        let last_step = StepTimings { elapsed: Duration::ZERO, inference: Duration::ZERO };
        let generated = nothing_generated(n_tokens);
        Ok(Answer { request, started, sampler, stream, last_step, generated })
    }

    /// Step what the session does not know of the prompt.
    fn prefill(&mut self, session: &mut Session) -> Result<Event<'static>, GenerateError> {
        let prompt = self.request.prompt;
        let n_reused = session.align(prompt).map_err(GenerateError::Decoder)?;
        let n_tokens = prompt.len();
        match session.model().limits().n_prompt_tokens_max {
            Some(n_prompt_tokens_max) if n_reused == 0 && n_prompt_tokens_max < n_tokens => {
                return Err(GenerateError::PromptBeyondCompiled { n_tokens, n_prompt_tokens_max });
            }
            _ => {}
        }
        self.generated.usage.n_reused_tokens = n_reused;
        let new_tokens = &prompt[n_reused..];
        let stepped = session.step(new_tokens);
        self.last_step =
            stepped.map_err(|source| GenerateError::Step { n_generated: 0, source })?;
        session.begin_answer();
        let StepTimings { elapsed, inference } = self.last_step;
        self.generated.timings.prefill = self.last_step;
        if self.request.n_first_step_top != 0 {
            let level = session.level();
            self.generated.first_step_top =
                top_logits(level, session.logits(), self.request.n_first_step_top);
        }
        Ok(Event::Prefill { n_tokens: new_tokens.len(), n_reused, elapsed, inference })
    }

    /// Choose one token and report it; returns why the answer ends with it, if it does.
    fn next_token(
        &mut self,
        session: &mut Session,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Option<Finish>, GenerateError> {
        let n_generated = self.generated.token_ids.len();
        let correct =
            session.correct().map_err(|source| GenerateError::Correct { n_generated, source })?;
        let sample_started = Instant::now();
        let chosen = self.sampler.choose(session.logits(), self.request.details);
        let Choice { token, log_probability, top } =
            chosen.map_err(|source| GenerateError::Choose { n_generated, source })?;
        self.sampler.observe(token);
        self.generated.token_ids.push(token);
        let detokenize_started = Instant::now();
        let end = self.end_at(token, session);
        let stopped = match &end {
            None => self.stream.push(token),
            Some(Finish::StopToken { .. }) => self.stream.finish(None),
            Some(_) => self.stream.finish(Some(token)),
        };
        let timings = TokenTimings {
            step: self.last_step,
            correct,
            sample: detokenize_started - sample_started,
            detokenize: detokenize_started.elapsed(),
        };
        self.generated.timings.time_to_first_token.get_or_insert_with(|| self.started.elapsed());
        self.generated.timings.tokens.push(timings);
        self.generated.text.push_str(stopped.text);
        let matched = stopped.matched;
        let text = stopped.text;
        let event = Event::Token { token, log_probability, top: &top, text, timings };
        let is_cancelled = on_event(event).is_break();
        let stop_text = matched
            .map(|stop_idx| Finish::StopText { text: self.request.stop_texts[stop_idx].clone() });
        // An answer that is complete is not cancelled.
        let end = stop_text.or(end);
        Ok(if is_cancelled { end.or(Some(Finish::Cancelled)) } else { end })
    }

    /// Why `token`, the newest one, is the last; what its text may end is not known here.
    fn end_at(&self, token: TokenId, session: &Session) -> Option<Finish> {
        if self.request.stop_ids.contains(&token) && !self.request.ignore_stop_ids {
            return Some(Finish::StopToken { token });
        }
        if self.request.n_tokens_max <= self.generated.token_ids.len() {
            return Some(Finish::MaxTokens);
        }
        let n_positions_max = session.model().limits().n_positions_max;
        let is_full = n_positions_max <= session.seen().len();
        is_full.then_some(Finish::ContextFull { n_positions_max })
    }

    /// Step the newest token.
    fn decode(&mut self, session: &mut Session) -> Result<(), GenerateError> {
        let n_generated = self.generated.token_ids.len();
        let newest = &self.generated.token_ids[n_generated - 1..];
        let stepped = session.step(newest);
        self.last_step = stepped.map_err(|source| GenerateError::Step { n_generated, source })?;
        Ok(())
    }

    fn end(self, finish: Finish) -> Generated {
        let mut generated = self.generated;
        generated.usage.n_completion_tokens = generated.token_ids.len();
        generated.timings.total = self.started.elapsed();
        let Usage { n_prompt_tokens, n_reused_tokens, n_completion_tokens } = generated.usage;
        tracing::debug!(
            n_prompt_tokens,
            n_reused_tokens,
            n_completion_tokens,
            reason = finish.reason().name(),
            "generated"
        );
        Generated { finish, ..generated }
    }
}

fn nothing_generated(n_prompt_tokens: usize) -> Generated {
    Generated {
        token_ids: Vec::new(),
        text: String::new(),
        finish: Finish::Cancelled,
        usage: Usage { n_prompt_tokens, n_reused_tokens: 0, n_completion_tokens: 0 },
        timings: Timings {
            prefill: StepTimings { elapsed: Duration::ZERO, inference: Duration::ZERO },
            time_to_first_token: None,
            tokens: Vec::new(),
            total: Duration::ZERO,
        },
        first_step_top: Vec::new(),
    }
}
