//! The falsification study: what the paper claims for KLS, put to the test on one quantised model.
//!
//! ```text
//! calibrate          every estimator and correction, judged on two domains (see `calibrate`)
//! full precision     the reference on the same windows
//! ablations          gain swept 0..1, R x {1/4, 1, 4}, inverted gains, M = 128..2048, both gauges
//! speed              tokens a second with and without, in turn; time of the stage by M
//! task               accuracy of reference, raw and corrected model, where items are given
//! hypotheses         H1, H2, H3: supported, refuted or undecided, each with its interval
//! ```
//!
//! Source: the paper's plan as digested in `docs/kls-study.md`, which also says what came of it.
//! This module must not know files, clocks of the day or how a page looks in detail: [`page`] makes
//! one document of the record.

mod ablations;
mod hypotheses;
pub mod page;
mod speed;
mod studied;

use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;

use lapwing_backend::Model;
use lapwing_eval::{
    CalibrateInputs, CalibrateOptions, CalibrateProgress, Domain, Items, Progress, Stopped, Task,
    TaskOptions,
};
use lapwing_logits::Level;
use lapwing_report::statistics::Interval;
use lapwing_text::Tokenizer;
use serde::{Deserialize, Serialize};

pub use studied::falsify;

/// Of the record; raised when a field changes its meaning.
pub const STUDY_SCHEMA_VERSION: u32 = 1;

/// One quantised model and the reference that it is compared with.
#[derive(Clone, Copy)]
pub struct FalsifyInputs<'a> {
    /// What the record calls the model.
    pub name: &'a str,
    /// What to calibrate and judge on; it must have a reference.
    pub calibrate: CalibrateInputs<'a>,
    /// The model again, for free generation.
    pub model: &'a Arc<dyn Model>,
    /// The reference again, for the task.
    pub reference: &'a Arc<dyn Model>,
    /// A task for the second hypothesis, which without one can only be refuted.
    pub task: Option<TaskInputs<'a>>,
}

/// A task, as [`lapwing_eval::run_task`] takes it.
#[derive(Clone, Copy)]
pub struct TaskInputs<'a> {
    /// The task.
    pub task: Task,
    /// Its items.
    pub items: &'a Items,
    /// Text to tokens.
    pub tokenizer: &'a Tokenizer,
    /// How to run it; the correction is the study's.
    pub options: &'a TaskOptions,
}

/// How to study.
#[derive(Clone, Debug)]
pub struct FalsifyOptions {
    /// As for [`lapwing_eval::calibrate`].
    pub calibrate: CalibrateOptions,
    /// Rounds in which every condition generates once; at least 1.
    pub n_speed_rounds: usize,
    /// Tokens that each generates in a round; at least 2.
    pub n_speed_tokens: usize,
}

impl FalsifyOptions {
    fn level(&self) -> Level {
        self.calibrate.level
    }
}

/// What a study is at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StudyProgress {
    /// The calibration.
    Calibrate(CalibrateProgress),
    /// Windows of the reference.
    FullPrecision(Progress),
    /// Windows of the ablations.
    Ablations(Progress),
    /// Rounds of free generation.
    Speed(Progress),
    /// Items of the task.
    Task(Progress),
}

/// Hears of the progress and may break off.
pub type OnStudyProgress<'a> = &'a mut dyn FnMut(StudyProgress) -> ControlFlow<()>;

/// Why a study failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum FalsifyError {
    /// The caller broke off.
    #[error("broken off")]
    Stopped(#[from] Stopped),
    /// There is nothing to be falsified against.
    #[error("cannot study {name} without a reference: expected a model of higher precision")]
    NoReference { name: String },
    /// A part failed.
    #[error("cannot {doing} {name}")]
    Part { doing: String, name: String, source: Box<dyn Error + Send + Sync> },
}

impl FalsifyError {
    /// What failed of the model, said as after *cannot*, unless the caller broke off.
    fn part<E>(doing: &str, name: &str) -> impl FnOnce(E) -> FalsifyError
    where
        E: Error + Send + Sync + 'static,
    {
        move |source| match Stopped::cause_of(&source) {
            Some(stopped) => FalsifyError::Stopped(stopped),
            None => {
                let (doing, name) = (doing.to_owned(), name.to_owned());
                FalsifyError::Part { doing, name, source: Box::new(source) }
            }
        }
    }
}

/// The record of a study: plain data, which the page and the document are made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Study {
    /// [`STUDY_SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Of everything that was drawn.
    pub seed: u64,
    /// One for each quantised model.
    pub subjects: Vec<Studied>,
}

/// What was found for one quantised model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Studied {
    /// The model.
    pub name: String,
    /// Tokens in a window.
    pub n_window_tokens: usize,
    /// Rows that were fitted on.
    pub n_fit_rows: usize,
    /// Perplexity of the reference, by domain.
    pub full_precision: Vec<FullPrecision>,
    /// Whether logits move as KLS assumes.
    pub diagnostics: Diagnosis,
    /// Every condition; the raw model first.
    pub conditions: Vec<TreatmentResult>,
    /// Time of the stage.
    pub costs: Vec<Cost>,
    /// Speed of free generation.
    pub speeds: Vec<Speed>,
    /// Accuracy in the task; empty without one.
    pub accuracies: Vec<Accuracy>,
    /// H1, H2, H3.
    pub hypotheses: Vec<Hypothesis>,
    /// The gate's decision in words.
    pub gate: String,
    /// What could not be fitted, by name, and why.
    pub unfitted: Vec<(String, String)>,
}

/// The reference on the same windows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FullPrecision {
    /// Whose text.
    pub domain: Domain,
    /// Its perplexity.
    pub perplexity: f64,
    /// `-ln p` of the next token, in nats.
    pub negative_log_likelihood: f64,
}

/// What the calibration text says about the filter's model; all tokens pooled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Autocorrelation of the increments at lag 1; between -1/2 and 0 under the model.
    pub increment_autocorrelation_lag_1: f64,
    /// At lag 2; 0 under the model.
    pub increment_autocorrelation_lag_2: f64,
    /// By how many standard errors the latter is not 0.
    pub lag_two_score: f64,
    /// The state's coefficient `a`; 1 under the model, `None` where the rows show none.
    pub coefficient: Option<f64>,
    /// The same for the token in the middle.
    pub coefficient_median: Option<f64>,
    /// Share of tokens whose gain the published estimator puts at 0.
    pub share_frozen: f64,
    /// The one gain of maximum likelihood.
    pub gain_of_maximum_likelihood: f64,
}

/// Which part of the study a condition belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// The quantised model as it is.
    Raw,
    /// A candidate of the calibration.
    Candidate,
    /// One gain for all tokens; the parameter is the gain.
    GainSweep,
    /// The default KLS with its noise multiplied; the parameter is the factor.
    NoiseScaled,
    /// The default KLS with `1 - K` instead of `K`.
    Inverted,
    /// The default KLS over a tracked set; the parameter is `M`.
    Tracked,
    /// The default KLS with the other gauge.
    Gauge,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TreatmentResult {
    /// Its name.
    pub name: String,
    /// Its part.
    pub group: Group,
    /// The number that is varied in its group.
    pub parameter: Option<f64>,
    /// What it scored: at home, and for candidates in the other domain too.
    pub scores: Vec<DomainScore>,
    /// Mean KL by position in the window, in nats; of the raw model and the candidates.
    pub divergence_by_position: Vec<f64>,
    /// Share of repeated 4-grams in free generation, raw and corrected, where that was looked at.
    pub gram_shares: Option<[f64; 2]>,
    /// Whether the gate lets it pass; candidates only.
    pub passes: Option<bool>,
    /// The gate's reason; candidates only.
    pub reason: Option<String>,
}

/// What a condition scored in one domain.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DomainScore {
    /// Whose text.
    pub domain: Domain,
    /// Its perplexity.
    pub perplexity: f64,
    /// `KL(reference || condition)` in nats a token.
    pub divergence: f64,
    /// Share of positions where the likeliest token is the reference's.
    pub agreement: f64,
    /// NLL of the raw model less that of the condition, in nats a token.
    pub likelihood_improvement: Interval,
    /// KL of the raw model less that of the condition, in nats a token.
    pub divergence_improvement: Interval,
}

/// What the stage costs on rows of this vocabulary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// What is done.
    pub name: String,
    /// `M`, where a set is tracked.
    pub n_tracked_max: Option<usize>,
    /// Median time for a row, in microseconds.
    pub row_us_p50: f64,
}

/// How fast a condition generates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// The condition.
    pub name: String,
    /// Median over the rounds.
    pub tokens_per_s: f64,
    /// Median over the rounds of the ratio to the raw model in the same round.
    pub ratio: f64,
    /// The least and the largest such ratio.
    pub ratio_range: [f64; 2],
    /// Median time of the stage, in microseconds; 0 for the raw model.
    pub correction_us_p50: f64,
}

/// Accuracy in the task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// The condition, or the reference.
    pub name: String,
    /// The harness's name of the task and the score.
    pub score: String,
    /// Its value.
    pub value: f64,
    /// Its standard error.
    pub standard_error: Option<f64>,
    /// Items.
    pub n_items: usize,
}

/// What became of a claim of the paper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// `H1`, `H2` or `H3`.
    pub id: String,
    /// The claim in words.
    pub claim: String,
    /// Supported, refuted or undecided.
    pub finding: Finding,
    /// The condition that it was decided on.
    pub condition: String,
    /// What the interval is of.
    pub measure: String,
    /// Above 0 speaks for the claim.
    pub interval: Interval,
    /// The decision in words, with the numbers.
    pub statement: String,
}

/// How a claim fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The interval lies above 0, and nothing else speaks against the claim.
    Supported,
    /// The interval lies below 0, or something else that the claim asks for surely fails.
    Refuted,
    /// Neither.
    Undecided,
}
