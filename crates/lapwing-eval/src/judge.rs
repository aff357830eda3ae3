//! What many treatments score on the same text, in one pass of the models.
//!
//! This module must not know where treatments come from or what is made of their scores.

use lapwing_backend::Model;
use lapwing_kernels::{Level, kl_divergence, row_find_equal};
use lapwing_model::TokenId;
use lapwing_report::statistics::Block;
use serde::{Deserialize, Serialize};

use crate::common_tokens::CommonTokens;
use crate::pass::{Excluded, Pass, ScoredRow, Tally};
use crate::progress::OnProgress;
use crate::score_error::ScoreError;
use crate::treatment::{Applier, HeadMatrix, Treatment};
use crate::windows::TextWindow;

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
    /// The text.
    pub windows: &'a [TextWindow],
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
/// Memory: a chunk of the reference's rows, a block of the model's, and what the treatments
/// remember.
///
/// # Errors
///
/// When there is nothing to score, a treatment does not fit, a model fails, a row under some
/// treatment is no distribution or excludes the text, or the caller breaks off.
pub fn judge(
    inputs: &JudgeInputs<'_>,
    treatments: &[Treatment],
    options: JudgeOptions,
    on_progress: OnProgress<'_>,
) -> Result<Vec<TreatmentScore>, ScoreError> {
    let JudgeInputs { model, reference, head, n_tokens, windows, common } = *inputs;
    check(windows)?;
    let JudgeOptions { level, n_threads } = options;
    let appliers = treatments.iter().map(|one| Applier::new(one, head, n_tokens, level));
    let appliers = appliers.collect::<Result<_, _>>().map_err(ScoreError::Apply)?;
    let (n_logits, treated) = (n_tokens, appliers);
    let pass = Pass { model, reference, n_logits, windows, treatments: treated, level, n_threads };
    let mut of_treatments: Vec<Vec<Judged>> = treatments.iter().map(|_| Vec::new()).collect();
    for of_window in pass.run(&Judging { common }, None, on_progress)? {
        for (of_treatment, judged) in of_treatments.iter_mut().zip(of_window) {
            of_treatment.push(judged);
        }
    }
    let score = |(treatment, judged): (&Treatment, Vec<Judged>)| TreatmentScore {
        name: treatment.name.clone(),
        windows: judged.iter().map(|judged| judged.score).collect(),
        divergence_by_position: by_position(windows, &judged),
    };
    Ok(treatments.iter().zip(of_treatments).map(score).collect())
}

fn check(windows: &[TextWindow]) -> Result<(), ScoreError> {
    if windows.is_empty() {
        return Err(ScoreError::NoWindows);
    }
    match windows.iter().position(|window| window.n_scored_rows() == 0) {
        Some(window_idx) => {
            let n_tokens = windows[window_idx].tokens.len();
            Err(ScoreError::ShortWindow { window_idx, n_tokens })
        }
        None => Ok(()),
    }
}

struct Judging<'a> {
    common: Option<&'a CommonTokens>,
}

/// What is added up over a window.
#[derive(Default, Serialize, Deserialize)]
struct Judged {
    score: WindowScore,
    /// KL of each scored row; empty without a reference.
    divergences: Vec<f64>,
}

impl Tally for Judging<'_> {
    type Window = Judged;

    fn add(&self, judged: &mut Judged, row: &ScoredRow<'_>) -> Result<(), Excluded> {
        let ScoredRow { level, next, found, reference } = *row;
        let surprise = -found.log_probability(next);
        let expected = reference.map(|target| target.distribution.log_probability(next));
        // Any treatment would be as good as a reference that excludes the text.
        if expected.is_some_and(|expected| !expected.is_finite()) {
            return Err(Excluded::ByReference);
        }
        let divergence = reference.map(|target| kl_divergence(level, target.distribution, found));
        if !(surprise + divergence.unwrap_or(0.0)).is_finite() {
            return Err(Excluded::ByTreatment);
        }
        let score = &mut judged.score;
        score.n += 1;
        score.negative_log_likelihood += surprise;
        if let Some(common) = self.common {
            let rare = score.rare.get_or_insert_default();
            if TokenId::try_from(next).is_ok_and(|next| !common.contains(next)) {
                rare.n += 1;
                rare.negative_log_likelihood += surprise;
                rare.probability += (-surprise).exp();
                if let Some(expected) = expected {
                    let sums = rare.of_reference.get_or_insert_default();
                    sums.negative_log_likelihood -= expected;
                    sums.probability += expected.exp();
                }
            }
        }
        if let (Some(target), Some(divergence)) = (reference, divergence) {
            *score.divergence.get_or_insert(0.0) += divergence;
            let agrees = row_find_equal(level, found.row(), found.max()) == target.best;
            *score.n_agreeing.get_or_insert(0) += usize::from(agrees);
            judged.divergences.push(divergence);
        }
        Ok(())
    }

    /// KL, or without a reference NLL.
    fn value(judged: &Judged) -> Block {
        let WindowScore { n, negative_log_likelihood, divergence, .. } = judged.score;
        Block { sum: divergence.unwrap_or(negative_log_likelihood), n }
    }
}

/// Mean over the windows of the KL after each position.
fn by_position(windows: &[TextWindow], judged: &[Judged]) -> Vec<f64> {
    let mut sums: Vec<(f64, usize)> = Vec::new();
    for (window, judged) in windows.iter().zip(judged) {
        let n_positions = window.n_unscored_rows + judged.divergences.len();
        if !judged.divergences.is_empty() && sums.len() < n_positions {
            sums.resize(n_positions, (0.0, 0));
        }
        let places = sums.iter_mut().skip(window.n_unscored_rows);
        for ((sum, n), divergence) in places.zip(&judged.divergences) {
            *sum += divergence;
            *n += 1;
        }
    }
    sums.into_iter().map(|(sum, n)| sum / n as f64).collect()
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
