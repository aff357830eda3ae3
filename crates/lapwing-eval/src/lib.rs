//! How good a model's answers are, in numbers with intervals: perplexity, divergence from a
//! reference, tasks; and what the logit correction is worth.
//!
//! Rows of logits come from models behind the seam, one or two at a time; what is measured on them
//! is accumulated while they pass. This crate must not know a concrete backend, the command line or
//! where models lie; it prints nothing, and reports progress through a closure that may stop it.

mod bootstrap;
mod calibrate;
mod common_tokens;
mod corrected;
mod divergence;
pub mod estimators;
mod gate;
mod head_map;
mod journal;
mod judge;
mod pairs;
mod perplexity;
mod progress;
mod repetition;
mod sequence;
mod tasks;
#[cfg(test)]
mod test_numbers;
mod treatment;
mod windows;

pub use bootstrap::{
    Block, BootstrapError, BootstrapOptions, Interval, block_bootstrap, ratio_standard_error,
};
pub use calibrate::{
    BandDiagnostics, CalibrateError, CalibrateInputs, CalibrateOptions, CalibrateProgress,
    Calibration, CalibrationDiagnostics, CalibrationWindows, Candidate, OnCalibrateProgress,
    ProfileLabels, Stage, TextPart, calibrate,
};
pub use common_tokens::CommonTokens;
pub use divergence::{Divergence, DivergenceError, DivergenceOptions, divergence};
pub use gate::{
    Answers, Comparison, Domain, Gate, GateOptions, Measure, Place, RepetitionComparison,
    ScorePair, ShareComparison, Verdict, choose,
};
pub use head_map::{HeadMapEquations, SolveHeadMapError};
pub use journal::{Journal, JournalKey, JournalUnitError, OpenJournalError};
pub use judge::{
    JudgeError, JudgeInputs, JudgeOptions, RareScore, RareSums, TreatmentScore, WindowScore, judge,
};
pub use pairs::{
    PairError, PairScorer, RowPair, Side, TokenizerMismatch, require_same_tokenizer, score_pair,
};
pub use perplexity::{Perplexity, PerplexityError, PerplexityOptions, Text, perplexity};
pub use progress::{OnProgress, Outcome, Progress, Stopped};
pub use repetition::{Repetition, RepetitionError, RepetitionOptions, cut_prompts};
pub use tasks::{
    Choice, ChoiceRecord, Examples, ExamplesFrom, GenerationOptions, ItemError, ItemRecord, Items,
    LastWord, LastWordRecord, NamedText, ParseTaskError, Question, QuestionRecord, Questions,
    ReadItemsError, Task, TaskError, TaskOptions, TaskReport, TaskScore, run_task,
};
pub use treatment::{ApplyError, HeadMatrix, HeadMatrixError, Treatment, TreatmentKind};
pub use windows::{Convention, Window, WindowsError, begin_token};
