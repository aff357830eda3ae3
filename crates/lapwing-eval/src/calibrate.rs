//! From texts to a judged correction: fit every candidate, judge each on text it has not seen.
//!
//! ```text
//! fit       four of five calibration windows: moments, gains, offsets, the head map's equations
//! select    the fifth: by how much an offset of rare tokens must move the others, and which KLS
//!           and which offset the combined candidates build on
//! judge     held-out text of the calibration's domain, then text of another one
//! generate  freely, what passed so far, and the best KLS for information
//! decide    by the rules of `gate`
//! ```
//!
//! Rows stream through: memory is a few hundred bytes a token of the vocabulary, besides blocks of
//! rows and, for a head map, the squares of its equations and the head's weights. This module must
//! not know files or texts: tokens come in, plain data goes out.

use std::ops::ControlFlow;

use lapwing_backend::Model;
use lapwing_logits::{Gauge, Level};
use lapwing_model::TokenId;
use serde::Serialize;

use crate::gate::{GateOptions, Verdict};
use crate::judge::TreatmentScore;
use crate::repetition::RepetitionOptions;
use crate::treatment::HeadMatrix;

mod candidates;
mod combine;
mod diagnostics;
mod error;
mod fit;
mod profile;
mod rare_offset;
mod run;
mod windows;

pub use candidates::Candidate;
pub use diagnostics::{BandDiagnostics, CalibrationDiagnostics};
pub use error::{CalibrateError, TextPart};
pub use profile::ProfileLabels;
pub use windows::CalibrationWindows;

use run::Run;

/// What to calibrate on.
#[derive(Clone, Copy)]
pub struct CalibrateInputs<'a> {
    /// The model to correct.
    pub model: &'a dyn Model,
    /// The model that is taken as right: the same checkpoint, less quantised. Without one there is
    /// no bias correction, no head map and no KL.
    pub reference: Option<&'a dyn Model>,
    /// The output head of the checkpoint; with it, and where both models give hidden states, head
    /// maps are candidates.
    pub head: Option<HeadMatrix<'a>>,
    /// The tokenizer's vocabulary; rows are cut to it.
    pub n_tokens: usize,
    /// Takes the place of the first token of every window.
    pub begin: Option<TokenId>,
    /// Texts to fit on.
    pub calibration: &'a [&'a [TokenId]],
    /// Text of the same domain, none of which is in `calibration`.
    pub held_out: &'a [TokenId],
    /// Text of another domain.
    pub other_domain: Option<&'a [TokenId]>,
}

/// How to calibrate.
#[derive(Clone, Debug, PartialEq)]
pub struct CalibrateOptions {
    /// Tokens in a window; models and filters begin anew with each. At least 8.
    pub n_window_tokens: usize,
    /// Windows at most to fit and select on: the first of each text.
    pub n_calibration_windows_max: usize,
    /// Windows at most to judge on, in each domain: the first.
    pub n_judged_windows_max: usize,
    /// Bands of tokens by mean logit that share a gain; at least 1.
    pub n_bands: usize,
    /// Gains of the grid that maximum likelihood searches; at least 4, 33 is a good number.
    pub n_grid: usize,
    /// Scalar gains to try as they are, from 0 to 1.
    pub given_gains: Vec<f32>,
    /// Ridges of the head maps, relative to the mean variance of the hidden state's entries.
    pub ridges: Vec<f64>,
    /// What is taken out of a row before it is filtered.
    pub gauge: Gauge,
    /// What the gate asks for.
    pub gate: GateOptions,
    /// What to generate for the gate.
    pub repetition: RepetitionOptions,
    /// The SIMD level.
    pub level: Level,
    /// Threads for what is done to rows; the models have their own. At least 1.
    pub n_threads: usize,
}

/// What a calibration is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Windows are read to fit.
    Fit,
    /// Windows are read to keep the common tokens' probability under an offset of the rare ones.
    Offsets,
    /// Windows are judged to select a KLS and an offset.
    Select,
    /// Held-out windows are judged.
    JudgeHome,
    /// Windows of the other domain are judged.
    JudgeOther,
    /// Answers are generated.
    Generate,
}

/// How far a calibration is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalibrateProgress {
    /// What it is at.
    pub stage: Stage,
    /// Units (windows, candidates) of the stage that are finished.
    pub n_done: usize,
    /// Units of the stage.
    pub n_total: usize,
}

/// Hears of the progress and may break off.
pub type OnCalibrateProgress<'a> = &'a mut dyn FnMut(CalibrateProgress) -> ControlFlow<()>;

/// What a calibration found.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Rows that were fitted on.
    pub n_fit_rows: usize,
    /// Windows they came in.
    pub n_fit_windows: usize,
    /// Windows that selected a KLS and an offset.
    pub n_selection_windows: usize,
    /// Whether logits move as KLS assumes.
    pub diagnostics: CalibrationDiagnostics,
    /// Everything that was judged.
    pub candidates: Vec<Candidate>,
    /// What could not be fitted, by name, and why.
    pub unfitted: Vec<(String, String)>,
    /// Scores on held-out text: the raw model's, then the candidates' in their order.
    pub home: Vec<TreatmentScore>,
    /// The same on text of another domain.
    pub other: Option<Vec<TreatmentScore>>,
    /// The gate's word on every candidate, in their order.
    pub verdicts: Vec<Verdict>,
    /// The plain KLS that did best on the calibration text's own held-back windows.
    pub best_smoothing: Option<usize>,
    /// The candidate to use at run time, if one passed.
    pub run_time: Option<usize>,
    /// The candidate to export with, if one passed.
    pub export: Option<usize>,
    /// The decision in words.
    pub reason: String,
    /// Vocabulary of the rows.
    pub n_tokens: usize,
    /// What the gate asked for, with the seed of everything that was drawn.
    pub rules: GateOptions,
}

/// Fit every candidate, judge each, and decide.
///
/// # Errors
///
/// Before any work when a text is too short or an option makes no sense; later when a model fails
/// or its rows cannot be judged, or the caller breaks off.
pub fn calibrate(
    inputs: &CalibrateInputs<'_>,
    options: &CalibrateOptions,
    on_progress: OnCalibrateProgress<'_>,
) -> Result<Calibration, CalibrateError> {
    let windows = CalibrationWindows::cut(inputs, options)?;
    let mut run = Run { inputs, options, on_progress };
    run.all(&windows)
}
