//! What many treatments score on the same text, in one pass of the models.
//!
//! ```text
//! for each window:
//!     rows of the reference (if there is one) and of the model, gathered in blocks
//!     for each block, threads take treatments: treat the rows, add up NLL, KL, top-1 agreement
//! ```
//!
//! Windows are independent: models and treatments begin anew with each. A treatment is worked on
//! by one thread at a time and in the order of the rows, so that results do not depend on timing.
//! This module must not know where treatments come from or what is made of their scores.

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use lapwing_backend::Model;
use lapwing_kernels::{Distribution, Level, kl_divergence, row_find_equal};
use lapwing_model::TokenId;
use serde::Serialize;

use crate::common_tokens::CommonTokens;
use crate::progress::{OnProgress, Outcome, Progress, Stopped};
use crate::treatment::{Applier, ApplyError, HeadMatrix, RowBlock, Scratch, Treatment};

mod error;
mod rows;
mod target;

pub use error::JudgeError;
pub(crate) use rows::RowSource;

use target::{Target, targets};

/// What to judge on.
#[derive(Clone, Copy)]
pub struct JudgeInputs<'a> {
    /// The model whose rows are treated.
    pub model: &'a dyn Model,
    /// The model that is taken as right; without one there is no KL.
    pub reference: Option<&'a dyn Model>,
    /// The model's output head, for treatments that map the hidden state.
    pub head: Option<HeadMatrix<'a>>,
    /// The tokenizer's vocabulary; rows are cut to it.
    pub n_tokens: usize,
    /// The text: each window with the token that it begins with, at least two tokens long.
    pub windows: &'a [Vec<TokenId>],
    /// Rows at the start of each window that are treated but not scored.
    pub n_unscored_rows: usize,
    /// The commonest tokens; with them, rows that a rare token follows are also scored by
    /// themselves.
    pub common: Option<&'a CommonTokens>,
}

/// How to judge.
#[derive(Clone, Copy, Debug)]
pub struct JudgeOptions {
    /// The SIMD level.
    pub level: Level,
    /// Threads for what is done to rows; the models have their own. At least 1.
    pub n_threads: usize,
}

/// What one treatment scored on one window: sums over its scored rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct WindowScore {
    /// Scored rows.
    pub n: usize,
    /// Of `-ln p(next token)`, in nats.
    pub negative_log_likelihood: f64,
    /// Of `KL(reference || treatment)`, in nats; `None` without a reference.
    pub divergence: Option<f64>,
    /// Rows whose likeliest token is that of the reference; `None` without a reference.
    pub n_agreeing: Option<usize>,
    /// Rows whose next token is rare; `None` where the commonest tokens were not given.
    pub rare: Option<RareScore>,
}

/// What one treatment scored on the rows of a window that a rare token follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RareScore {
    /// Rows.
    pub n: usize,
    /// Of `-ln p(next token)`, in nats.
    pub negative_log_likelihood: f64,
    /// Of `p(next token)`: how many of them a draw would hit.
    pub probability: f64,
    /// The same two of the reference; `None` without one.
    pub of_reference: Option<RareSums>,
}

/// What the reference says of the rare tokens of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RareSums {
    /// Of `-ln p(next token)`, in nats.
    pub negative_log_likelihood: f64,
    /// Of `p(next token)`.
    pub probability: f64,
}

/// What one treatment scored.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TreatmentScore {
    /// The treatment's name.
    pub name: String,
    /// Window by window, in order.
    pub windows: Vec<WindowScore>,
    /// Mean KL after each position of a window, in nats; NaN where none was scored, empty without
    /// a reference.
    #[serde(skip)]
    pub divergence_by_position: Vec<f64>,
}

/// Score every treatment on every window; the result has one score a treatment, in order.
///
/// Memory: blocks of some 16 MiB for each model and thread, and what the treatments remember.
///
/// # Errors
///
/// When there is nothing to score, a treatment does not fit, a model fails, or a row under some
/// treatment is no distribution or excludes the text.
pub fn judge(
    inputs: &JudgeInputs<'_>,
    treatments: &[Treatment],
    options: JudgeOptions,
    on_progress: OnProgress<'_>,
) -> Result<Outcome<Vec<TreatmentScore>>, JudgeError> {
    check(inputs)?;
    let mut judging = Judging::new(inputs, treatments, options)?;
    let on_rows = |window_idx| move |source| JudgeError::Rows { window_idx, source };
    let mut source =
        RowSource::new(inputs.reference, inputs.model, inputs.n_tokens).map_err(on_rows(0))?;
    let n_total = inputs.windows.len();
    for (window_idx, window) in inputs.windows.iter().enumerate() {
        let so_far = judging.mean_of_first();
        let progress = Progress { n_done: window_idx, n_total, n_resumed: 0, so_far };
        if on_progress(progress).is_break() {
            return Ok(Outcome::Stopped(Stopped { n_done: window_idx, n_total }));
        }
        judging.begin_window();
        let mut failure = None;
        let on_block = &mut |block: &mut RowBlock| match judging.take(window_idx, block) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        };
        source.stream(window, on_block).map_err(on_rows(window_idx))?;
        if let Some(error) = failure {
            return Err(error);
        }
        judging.end_window();
    }
    let so_far = judging.mean_of_first();
    // Nothing is left to break off.
    let _ = on_progress(Progress { n_done: n_total, n_total, n_resumed: 0, so_far });
    Ok(Outcome::Finished(judging.finish()))
}

fn check(inputs: &JudgeInputs<'_>) -> Result<(), JudgeError> {
    if inputs.windows.is_empty() {
        return Err(JudgeError::NoWindows);
    }
    let n_needed = inputs.n_unscored_rows.saturating_add(2);
    match inputs.windows.iter().position(|window| window.len() < n_needed) {
        Some(window_idx) => {
            let n_tokens = inputs.windows[window_idx].len();
            Err(JudgeError::ShortWindow { window_idx, n_tokens })
        }
        None => Ok(()),
    }
}

/// All treatments at work.
struct Judging<'a> {
    level: Level,
    n_unscored_rows: usize,
    evaluators: Vec<Evaluator<'a>>,
    /// One for each thread.
    scratches: Vec<Scratch>,
}

/// One treatment at work, with its sums.
struct Evaluator<'a> {
    name: &'a str,
    applier: Applier<'a>,
    n_unscored_rows: usize,
    common: Option<&'a CommonTokens>,
    window: WindowScore,
    windows: Vec<WindowScore>,
    /// Sum and number by position.
    divergence_by_position: Vec<(f64, usize)>,
    failure: Option<JudgeError>,
}

impl<'a> Judging<'a> {
    fn new(
        inputs: &JudgeInputs<'a>,
        treatments: &'a [Treatment],
        options: JudgeOptions,
    ) -> Result<Judging<'a>, ApplyError> {
        let evaluators = treatments.iter().map(|treatment| {
            Ok(Evaluator {
                name: &treatment.name,
                applier: Applier::new(treatment, inputs.head, inputs.n_tokens, options.level)?,
                n_unscored_rows: inputs.n_unscored_rows,
                common: inputs.common,
                window: WindowScore::default(),
                windows: Vec::new(),
                divergence_by_position: Vec::new(),
                failure: None,
            })
        });
        let evaluators = evaluators.collect::<Result<_, ApplyError>>()?;
        let scratches = (0..options.n_threads.max(1)).map(|_| Scratch::default()).collect();
        let (level, n_unscored_rows) = (options.level, inputs.n_unscored_rows);
        Ok(Judging { level, n_unscored_rows, evaluators, scratches })
    }

    fn begin_window(&mut self) {
        self.evaluators.iter_mut().for_each(|evaluator| evaluator.applier.begin_window());
    }

    fn end_window(&mut self) {
        for evaluator in &mut self.evaluators {
            evaluator.windows.push(std::mem::take(&mut evaluator.window));
        }
    }

    /// Let every treatment work on the next rows.
    fn take(&mut self, window_idx: usize, block: &RowBlock) -> Result<(), JudgeError> {
        let level = self.level;
        let targets = targets(level, window_idx, self.n_unscored_rows, block)?;
        let queue = Mutex::new(self.evaluators.iter_mut());
        let work = |scratch: &mut Scratch| {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(evaluator) = next else { return };
                evaluator.take(level, window_idx, block, &targets, scratch);
            }
        };
        let (own, others) = self.scratches.split_first_mut().expect("at least one thread");
        std::thread::scope(|scope| {
            for scratch in others {
                scope.spawn(|| work(scratch));
            }
            work(own);
        });
        let failures = self.evaluators.iter_mut().filter_map(|found| found.failure.take());
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    /// Mean KL, or NLL, of the first treatment.
    fn mean_of_first(&self) -> Option<f64> {
        let windows = &self.evaluators.first()?.windows;
        let n: usize = windows.iter().map(|window| window.n).sum();
        let value =
            |window: &WindowScore| window.divergence.unwrap_or(window.negative_log_likelihood);
        (0 < n).then(|| windows.iter().map(value).sum::<f64>() / n as f64)
    }

    fn finish(self) -> Vec<TreatmentScore> {
        let score = |evaluator: Evaluator<'_>| {
            let means = evaluator.divergence_by_position.iter();
            TreatmentScore {
                name: evaluator.name.to_owned(),
                windows: evaluator.windows,
                divergence_by_position: means.map(|&(sum, n)| sum / n as f64).collect(),
            }
        };
        self.evaluators.into_iter().map(score).collect()
    }
}

impl Evaluator<'_> {
    fn take(
        &mut self,
        level: Level,
        window_idx: usize,
        block: &RowBlock,
        targets: &[Target<'_>],
        scratch: &mut Scratch,
    ) {
        let Evaluator { name, applier, window, divergence_by_position, .. } = self;
        let (n_unscored, common) = (self.n_unscored_rows, self.common);
        let mut failure = None;
        let on_row = &mut |row_idx: usize, row: &[f32]| {
            let position = block.position(row_idx);
            if failure.is_some() || position < n_unscored {
                return;
            }
            let name = || (*name).to_owned();
            let Some(found) = Distribution::new(level, row) else {
                failure = Some(JudgeError::NoDistribution { window_idx, position, name: name() });
                return;
            };
            let next = block.next(row_idx);
            let surprise = -found.log_probability(next as usize);
            let target = targets.get(row_idx);
            let divergence = target.map(|target| kl_divergence(level, target.reference, found));
            if !(surprise + divergence.unwrap_or(0.0)).is_finite() {
                failure = Some(JudgeError::Excluded { window_idx, position, name: name() });
                return;
            }
            window.n += 1;
            window.negative_log_likelihood += surprise;
            if let Some(common) = common {
                let rare = window.rare.get_or_insert_default();
                if !common.contains(next) {
                    rare.n += 1;
                    rare.negative_log_likelihood += surprise;
                    rare.probability += (-surprise).exp();
                    if let Some(target) = targets.get(row_idx) {
                        rare.add_reference(target.reference.log_probability(next as usize));
                    }
                }
            }
            if let (Some(target), Some(divergence)) = (target, divergence) {
                *window.divergence.get_or_insert(0.0) += divergence;
                let agrees = row_find_equal(level, row, found.max()) == target.best;
                *window.n_agreeing.get_or_insert(0) += usize::from(agrees);
                if divergence_by_position.len() <= position {
                    divergence_by_position.resize(position + 1, (0.0, 0));
                }
                divergence_by_position[position].0 += divergence;
                divergence_by_position[position].1 += 1;
            }
        };
        let applied = applier.apply(block, scratch, on_row);
        self.failure = applied.err().map(JudgeError::Apply).or(failure);
    }
}

impl RareScore {
    fn add_reference(&mut self, log_probability: f64) {
        let sums = self.of_reference.get_or_insert_default();
        sums.negative_log_likelihood -= log_probability;
        sums.probability += log_probability.exp();
    }
}

impl TreatmentScore {
    /// Rows that were scored.
    #[must_use]
    pub fn n(&self) -> usize {
        self.windows.iter().map(|window| window.n).sum()
    }

    /// `-ln p` of the next token, in nats, over all rows.
    #[must_use]
    pub fn mean_negative_log_likelihood(&self) -> f64 {
        let sum: f64 = self.windows.iter().map(|window| window.negative_log_likelihood).sum();
        sum / self.n() as f64
    }

    /// `KL(reference || treatment)`, in nats, over all rows; `None` without a reference.
    #[must_use]
    pub fn mean_divergence(&self) -> Option<f64> {
        let sum: Option<f64> = self.windows.iter().map(|window| window.divergence).sum();
        Some(sum? / self.n() as f64)
    }

    /// Share of rows whose likeliest token is that of the reference; `None` without one.
    #[must_use]
    pub fn agreement(&self) -> Option<f64> {
        let n_agreeing: Option<usize> = self.windows.iter().map(|window| window.n_agreeing).sum();
        Some(n_agreeing? as f64 / self.n() as f64)
    }
}
