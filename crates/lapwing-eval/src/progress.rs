//! How far a long measurement is, and how it ends early.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

/// How far a measurement is; reported before the first unit and after every one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Units (windows, items) that are finished, those of an earlier run included.
    pub n_done: usize,
    /// Units in all.
    pub n_total: usize,
    /// Units that a journal held from an earlier run, as far as the measurement has come.
    pub n_resumed: usize,
    /// The result so far (perplexity, mean divergence, accuracy); `None` before there is one.
    pub so_far: Option<f64>,
}

/// Hears of the progress and may break off.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// How a measurement ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<T> {
    /// To its end.
    Finished(T),
    /// The caller broke off.
    Stopped(Stopped),
}

/// A measurement that was broken off; what was done is in the journal, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Units that are finished.
    pub n_done: usize,
    /// Units in all.
    pub n_total: usize,
}

impl<T> Outcome<T> {
    /// The result, when there is one.
    #[must_use]
    pub fn finished(self) -> Option<T> {
        match self {
            Outcome::Finished(result) => Some(result),
            Outcome::Stopped(_) => None,
        }
    }
}
