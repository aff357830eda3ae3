//! How a measurement is made.

use serde::{Deserialize, Serialize};

/// How often and in which order a test was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// Runs before the first that counts.
    pub n_warmups: usize,
    /// Runs that count.
    pub n_repetitions: usize,
    /// Why there were no more of them.
    pub stopped_because: StoppedBecause,
    /// The width of the 95 % interval of the median, as a share of it, at which to stop; null
    /// where the number of repetitions was given.
    pub relative_interval_target: Option<f64>,
    /// The seconds after which to stop.
    pub time_budget_s: Option<f64>,
    /// Whether this configuration had a process of its own.
    pub is_isolated: bool,
    /// The place in the order in which this run of `bench` measured, from 0.
    pub order_idx: usize,
    /// The seed of everything that is drawn.
    pub seed: Option<u64>,
    /// Whether every repetition had another order of tokens, so that no prefix cache helps.
    pub prompts_permuted: bool,
}

/// What ended the repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoppedBecause {
    /// [`Protocol::relative_interval_target`] was reached.
    #[serde(rename = "interval narrow")]
    IntervalNarrow,
    /// [`Protocol::time_budget_s`] was used up.
    #[serde(rename = "time budget")]
    TimeBudget,
    /// Their number was reached.
    #[serde(rename = "repetitions")]
    Repetitions,
}
