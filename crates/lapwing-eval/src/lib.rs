//! How good a model's answers are, in numbers with intervals: perplexity, divergence from a
//! reference, tasks; and what the logit correction is worth.
//!
//! ```text
//! rows      what one or two models say after every token of a window, in blocks
//! treatment what is done to the model's rows
//! pass      rows, treated, added up window by window, kept in a journal
//! judge, perplexity, divergence     what is added up, and what is made of it
//! calibrate = estimators (fit) + judge + gate (decide)
//! ```
//!
//! This crate must not know a concrete backend, the command line or where models lie; it prints
//! nothing, and reports progress through a closure that may stop it: a stop is a variant of every
//! error. One more measurement on rows: see `pass.rs`; one more estimator: see [`estimators`].

mod calibrate;
mod calibration_texts;
mod common_tokens;
mod divergence;
pub mod estimators;
mod failure;
mod gate;
mod head_map;
mod journal;
mod judge;
mod kept;
mod pass;
mod perplexity;
mod progress;
mod reference;
mod repetition;
mod row_block;
mod rows;
mod score_error;
mod sequence;
mod tasks;
#[cfg(test)]
mod test_numbers;
mod text_file;
mod treatment;
mod windows;

pub use calibrate::{
    BandDiagnostics, CalibrateError, CalibrateInputs, CalibrateOptions, CalibrateProgress,
    Calibration, CalibrationDiagnostics, CalibrationWindows, Candidate, OnCalibrateProgress,
    ProfileLabels, Stage, TextPart, calibrate,
};
pub use calibration_texts::{
    CalibrationFiles, CalibrationFilesError, CalibrationTexts, n_held_out,
};
pub use common_tokens::CommonTokens;
pub use divergence::{Divergence, DivergenceOptions, divergence};
pub use failure::Failure;
pub use gate::{
    Answers, Comparison, Domain, Gate, GateOptions, Measure, Place, RepetitionComparison,
    ScorePair, ShareComparison, Verdict, choose,
};
pub use head_map::{HeadMapEquations, SolveHeadMapError};
pub use journal::{Journal, JournalKey, JournalUnitError, OpenJournalError, key_of};
pub use judge::{
    JudgeInputs, JudgeOptions, RareScore, RareSums, TreatmentScore, WindowScore, judge,
};
pub use kept::{KeepError, Kept};
pub use perplexity::{Perplexity, PerplexityOptions, perplexity};
pub use progress::{OnProgress, Progress, Stopped};
pub use reference::{SameModelError, TokenizerMismatch, require_other, require_same_tokenizer};
pub use repetition::{Repetition, RepetitionOptions, cut_prompts};
pub use row_block::RowBlock;
pub use rows::{OnBlock, RowSource};
pub use score_error::{ScoreError, Side, Whose};
pub use tasks::{
    Choice, ChoiceRecord, Examples, ExamplesFrom, GenerationOptions, ItemRecord, Items, LastWord,
    LastWordRecord, NamedText, ParseTaskError, Question, QuestionRecord, Questions, ReadItemsError,
    Task, TaskError, TaskOptions, TaskReport, TaskScore, run_task,
};
pub use text_file::{TextFile, TextFileError};
pub use treatment::{ApplyError, HeadMatrix, HeadMatrixError, Treatment, TreatmentKind};
pub use windows::{Convention, Text, TextWindow, Window, WindowsError, begin_token};
