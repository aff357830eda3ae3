//! How long something takes, and how that varies.

use serde::{Deserialize, Serialize};

/// How long a test took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The timed part in milliseconds, one for each repetition, in the order they were made: from
    /// the request to the first token in a prefill, from the first token to the last in a decode.
    pub samples_ms: Vec<f64>,
    /// The median of the samples in milliseconds.
    pub ms_median: f64,
    /// The median absolute deviation of the samples from their median, in milliseconds.
    pub ms_mad: f64,
    /// Tokens a second: of the prompt in a prefill, produced ones in a decode.
    pub tokens_per_s: Throughput,
    /// From the request to the first token, in milliseconds; in a decode after a prompt that is as
    /// long as the context.
    pub ttft_ms: Option<Interval>,
    /// From one token to the next, in milliseconds, over all repetitions together.
    pub inter_token_ms: Option<InterToken>,
}

/// Tokens a second over the repetitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// The median over the repetitions.
    pub median: f64,
    /// The lower end of the 95 % bootstrap interval of the median.
    pub low: Option<f64>,
    /// The upper end of it.
    pub high: Option<f64>,
    /// The mean over the repetitions.
    pub mean: f64,
    /// The standard deviation as a share of the mean.
    pub coefficient_of_variation: Option<f64>,
}

/// A median and what it may be in truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The median over the repetitions.
    pub median: f64,
    /// The lower end of the 95 % bootstrap interval of the median.
    pub low: Option<f64>,
    /// The upper end of it.
    pub high: Option<f64>,
}

/// From one token to the next, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InterToken {
    /// Half of them are at most this.
    pub p50: f64,
    /// Nine of ten are at most this.
    pub p90: f64,
    /// All but one in a hundred are at most this.
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
    /// How many there were.
    pub n: u64,
    /// All of them.
    pub histogram: Histogram,
}

/// How many values are in each of adjacent ranges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// The ends of the ranges in milliseconds, ascending; one more than there are counts.
    pub edges_ms: Vec<f64>,
    /// The number of values from `edges_ms[i]` to below `edges_ms[i + 1]`; the last range holds
    /// its upper end too. Together they are all values.
    pub counts: Vec<u64>,
}

/// Where the time of one decoding step goes, in microseconds: the median of each part over all
/// steps, so that the parts need not add up to the median of the whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepCost {
    /// The library's call.
    pub inference: Option<f64>,
    /// The logit correction.
    pub correction: Option<f64>,
    /// Penalties, filters and the choice of a token.
    pub sampler: Option<f64>,
    /// From the token to text.
    pub detokenizer: Option<f64>,
    /// What none of the parts accounts for.
    pub rest: Option<f64>,
    /// The whole step.
    pub total: f64,
    /// How many steps the medians are of.
    pub n_steps: u64,
}
