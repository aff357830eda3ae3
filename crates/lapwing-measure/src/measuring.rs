//! One timed run of a test: the product's own session and generation loop with a clock beside it.
//!
//! Inside the timed part there are only readings of a monotonic clock, kept in vectors that were
//! made before it. Everything else (memory, energy, files of the system) is read by an [`Observer`]
//! before or after.

mod stop;
mod summary;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing_backend::{Model, OpenError};
use lapwing_logits::{Correction, Details, Level, SamplerOptions};
use lapwing_model::TokenId;
use lapwing_runtime::{Event, Finish, GenerateError, Generated, Request, Session, generate};
use lapwing_text::{SpecialPieces, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::workload;

pub use stop::{N_REPETITIONS_MAX, N_REPETITIONS_MIN, StopRule};
pub(crate) use summary::throughput;
pub use summary::{Nulls, interval, latency, relative_width, step_cost};

/// What is measured.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The model.
    pub model: &'a Arc<dyn Model>,
    /// SIMD level of choosing and correcting.
    pub level: Level,
    /// What is done to rows before a token is chosen.
    pub correction: Option<&'a Arc<Correction>>,
    /// Makes text of the tokens, as in every answer.
    pub tokenizer: Option<&'a Tokenizer>,
    /// Tokens that prompts are drawn from: rows of logits may be padded beyond them.
    pub n_tokens: usize,
}

/// What one run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// What is timed.
    pub timed: Timed,
    /// Tokens of the prompt; for [`Timed::Decode`] those before the first timed step.
    pub n_prompt_tokens: usize,
    /// Timed steps, for [`Timed::Decode`].
    pub n_steps: usize,
    /// Where prompts come from.
    pub seed: u64,
    /// Which order of the prompt's tokens; 0 is the one that results are compared by.
    pub run_idx: usize,
    /// Whether every step is timed.
    pub detail: Detail,
}

/// The part of a run that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Timed {
    /// From the request to the first token.
    Prefill,
    /// From the first token to the last.
    Decode,
}

/// How much of the decoding is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Detail {
    /// Every step.
    Steps,
    /// Begin and end only: what the clock itself costs is the difference, see `benches/clock.rs`.
    Bare,
}

/// Looks at the process around the timed part of a run.
pub trait Observer {
    /// The timed part begins when this returns.
    fn window_begins(&mut self) {}
    /// The timed part is over.
    fn window_ends(&mut self) {}
    /// The prompt is in the cache. In a run that times the prefill this comes after its end.
    fn prefilled(&mut self) {}
    /// The last token is out and its cache still there.
    fn decoded(&mut self) {}
}

/// An observer that looks at nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoObserver;

impl Observer for NoObserver {}

/// What one run gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The timed part.
    pub total_ms: f64,
    /// From the request to the first token.
    pub ttft_ms: f64,
    /// Where the time of each step went; empty when only the prefill or nothing else was timed.
    pub steps: Vec<Step>,
    /// Every token that came out.
    pub token_ids: Vec<TokenId>,
    /// The whole call, with what is not timed.
    pub wall_ms: f64,
}

/// Where the time of one step went.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// From one token to the next.
    pub inter_token_ms: f64,
    /// In the library's own inference calls.
    pub inference_us: f64,
    /// Correcting the row; `None` without a correction.
    pub correction_us: Option<f64>,
    /// From the row to the token.
    pub sampler_us: f64,
    /// From the token to text.
    pub detokenizer_us: f64,
    /// What is left of the step.
    pub rest_us: f64,
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum MeasureError {
    /// There was no room for a sequence.
    #[error("cannot start a sequence to measure")]
    Session(#[source] OpenError),
    /// The model failed.
    #[error("cannot measure the model")]
    Generate(#[source] GenerateError),
    /// The caller broke off.
    #[error("the measurement was broken off")]
    Cancelled,
    /// The answer ended before the test did.
    #[error("the model stopped after {found} of {expected} tokens: {finish:?}")]
    Short { expected: usize, found: usize, finish: Finish },
}

/// Positions that a run fills, prompt and answer together.
pub fn n_positions(timed: Timed, n_prompt_tokens: usize, n_steps: usize) -> usize {
    match timed {
        Timed::Prefill => n_prompt_tokens,
        // More than can be counted is more than any model has room for.
        Timed::Decode => n_prompt_tokens.saturating_add(n_steps),
    }
}

/// Make one run in a session of its own; `is_cancelled` is asked after every token.
///
/// # Errors
///
/// When the model fails, stops too early, or the caller breaks off.
pub fn run(
    subject: &Subject<'_>,
    work: &Work,
    observer: &mut dyn Observer,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Run, MeasureError> {
    let mut session =
        Session::new(Arc::clone(subject.model), subject.level).map_err(MeasureError::Session)?;
    session.set_correction(subject.correction.cloned());
    let prompt = workload::prompt(work.seed, work.run_idx, work.n_prompt_tokens, subject.n_tokens);
    let sampler = SamplerOptions::greedy();
    let request = request(subject, work, &prompt, &sampler);
    let mut clock = Clock::new(work);
    if work.timed == Timed::Prefill {
        observer.window_begins();
    }
    let started = Instant::now();
    let generated = generate(&mut session, &request, &mut |event| {
        if let Event::Token { .. } = event {
            clock.tick(observer);
        }
        match is_cancelled() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })
    .map_err(MeasureError::Generate)?;
    let wall = started.elapsed();
    if work.timed == Timed::Prefill {
        observer.prefilled();
    } else {
        observer.decoded();
    }
    finished(work, started, wall, clock, generated)
}

fn request<'a>(
    subject: &Subject<'a>,
    work: &Work,
    prompt: &'a [TokenId],
    sampler: &'a SamplerOptions,
) -> Request<'a> {
    Request {
        prompt,
        tokenizer: subject.tokenizer,
        special: SpecialPieces::Skip,
        reply: None,
        sampler,
        details: Details::NONE,
        n_tokens_max: n_tokens(work),
        stop_ids: &[],
        ignore_stop_ids: true,
        stop_texts: &[],
        n_first_step_top: 0,
    }
}

/// Tokens that come out: the prefill gives the first, each step one more.
fn n_tokens(work: &Work) -> usize {
    match work.timed {
        Timed::Prefill => 1,
        Timed::Decode => work.n_steps + 1,
    }
}

/// Reads the clock at tokens.
struct Clock {
    timed: Timed,
    detail: Detail,
    n_tokens: usize,
    n_seen: usize,
    /// When the first token came.
    first: Option<Instant>,
    /// When the timed steps began, and when each of them ended; or begin and end only.
    stamps: Vec<Instant>,
}

impl Clock {
    fn new(work: &Work) -> Clock {
        let n_tokens = n_tokens(work);
        Clock {
            timed: work.timed,
            detail: work.detail,
            n_tokens,
            n_seen: 0,
            first: None,
            stamps: Vec::with_capacity(n_tokens),
        }
    }

    fn tick(&mut self, observer: &mut dyn Observer) {
        self.n_seen += 1;
        let is_last = self.n_seen == self.n_tokens;
        if self.first.is_none() {
            self.first = Some(Instant::now());
            if self.timed == Timed::Prefill {
                observer.window_ends();
                return;
            }
            observer.prefilled();
            observer.window_begins();
            self.stamps.push(Instant::now());
        } else if is_last || self.detail == Detail::Steps {
            self.stamps.push(Instant::now());
            if is_last {
                observer.window_ends();
            }
        }
    }
}

fn finished(
    work: &Work,
    started: Instant,
    wall: Duration,
    clock: Clock,
    generated: Generated,
) -> Result<Run, MeasureError> {
    let (expected, found) = (n_tokens(work), generated.token_ids.len());
    if found < expected {
        return Err(match generated.finish {
            Finish::Cancelled => MeasureError::Cancelled,
            finish => MeasureError::Short { expected, found, finish },
        });
    }
    let first = clock.first.unwrap_or(started);
    let ttft = first - started;
    let stamps = &clock.stamps;
    let total = match work.timed {
        Timed::Prefill => ttft,
        Timed::Decode => match (stamps.first(), stamps.last()) {
            (Some(&begin), Some(&end)) => end - begin,
            _ => Duration::ZERO,
        },
    };
    let steps = match (work.timed, work.detail) {
        (Timed::Decode, Detail::Steps) => steps(stamps, &generated),
        _ => Vec::new(),
    };
    Ok(Run {
        total_ms: ms(total),
        ttft_ms: ms(ttft),
        steps,
        token_ids: generated.token_ids,
        wall_ms: ms(wall),
    })
}

/// The steps between the tokens that the clock saw, each with the stages of the token it ends with.
fn steps(stamps: &[Instant], generated: &Generated) -> Vec<Step> {
    let intervals = stamps.windows(2).map(|pair| pair[1] - pair[0]);
    let steps = intervals.zip(generated.timings.steps()).map(|(interval, token)| Step {
        inter_token_ms: ms(interval),
        inference_us: us(token.step.inference),
        correction_us: token.correct.map(us),
        sampler_us: us(token.sample),
        detokenizer_us: us(token.detokenize),
        rest_us: us(interval.saturating_sub(token.step.inference + token.stages())),
    });
    steps.collect()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests;
