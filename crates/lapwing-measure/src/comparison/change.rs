//! How far a metric moved, and whether that means anything.

use lapwing_report::statistics::{Interval, IntervalError, Samples, ratio_interval};
use serde::Serialize;

use super::metric::{Metric, Reading};
use crate::record::Record;

/// Where the random numbers of the intervals start: the same records give the same verdicts.
const SEED: u64 = 1;

/// What runs differ by although their medians were taken together, as a share: less is not told.
pub const REPEATS_WITHIN_SEVERAL: f64 = 0.01;

/// A metric on both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Which metric.
    pub metric: Metric,
    /// The median over the runs of the first side.
    pub before: f64,
    /// The median over the runs of the second side.
    pub after: f64,
    /// `after / before`.
    pub ratio: f64,
    /// The lower end of the 95 % interval of the ratio.
    pub ratio_low: Option<f64>,
    /// The upper end of it.
    pub ratio_high: Option<f64>,
    /// What the interval was made of.
    pub interval_from: IntervalFrom,
    /// Runs with this metric on the first side.
    pub n_runs_before: usize,
    /// Runs with this metric on the second side.
    pub n_runs_after: usize,
    /// The change below which nothing is said, as a share.
    pub repeats_within: f64,
    /// What can be said.
    pub verdict: Verdict,
}

/// What an interval was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalFrom {
    /// The medians of several runs on each side: it holds what differs between runs.
    Runs,
    /// The repetitions within single runs: what differs between runs is not in it.
    Repetitions,
    /// The intervals that two records gave themselves: what differs between runs is not in it.
    Records,
    /// There is none: one number on each side.
    Nothing,
}

/// What can be said about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The second side takes less time.
    Faster,
    /// The second side takes more time.
    Slower,
    /// The second side needs less of it.
    Less,
    /// The second side needs more of it.
    More,
    /// Nothing.
    NoDifferenceShown,
}

impl Verdict {
    /// The words for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Faster => "faster",
            Verdict::Slower => "slower",
            Verdict::Less => "less",
            Verdict::More => "more",
            Verdict::NoDifferenceShown => "no difference shown",
        }
    }

    /// Whether the second side is worse.
    #[must_use]
    pub fn is_worse(self) -> bool {
        matches!(self, Verdict::Slower | Verdict::More)
    }
}

impl Change {
    /// By how much the second side is worse, as a share of the first; negative where it is better.
    #[must_use]
    pub fn worsening(&self) -> f64 {
        if self.metric.higher_is_better() { 1.0 - self.ratio } else { self.ratio - 1.0 }
    }

    /// Whether the second side is worse for certain, and by more than `share`.
    ///
    /// A change without an interval is never certain, but for peaks of memory: those scarcely
    /// differ between two runs of the same thing.
    #[must_use]
    pub fn is_regression(&self, share: f64) -> bool {
        let is_certain = self.has_interval() || self.metric == Metric::PeakRssBytes;
        is_certain && self.verdict.is_worse() && self.worsening() > share
    }

    /// Whether there is an interval; else the verdict rests on [`Change::repeats_within`] alone.
    #[must_use]
    pub fn has_interval(&self) -> bool {
        self.ratio_low.is_some() && self.ratio_high.is_some()
    }
}

/// How `metric` differs between two lists of records of the same thing; `None` where a side does
/// not tell it.
pub(crate) fn change(metric: Metric, before: &[&Record], after: &[&Record]) -> Option<Change> {
    let read = |records: &[&Record]| -> Vec<Reading> {
        records.iter().filter_map(|record| metric.read(record)).collect()
    };
    let sides = [read(before), read(after)];
    let [values_before, values_after] = sides.each_ref().map(|readings| {
        let values: Vec<f64> = readings.iter().map(|reading| reading.value).collect();
        Samples::new(&values).ok()
    });
    let (values_before, values_after) = (values_before?, values_after?);
    let [n_runs_before, n_runs_after] = [values_before.n(), values_after.n()];
    let (before, after) = (values_before.median(), values_after.median());
    let ratio = after / before;
    let has_several = n_runs_before.min(n_runs_after) > 1;
    let (interval, interval_from) = match has_several {
        true => (ratio_interval(&values_after, &values_before, SEED).ok(), IntervalFrom::Runs),
        false => within_runs(&sides[0], &sides[1], ratio),
    };
    let repeats_within = if has_several { REPEATS_WITHIN_SEVERAL } else { metric.repeats_within() };
    let ends = interval.map(|interval| [interval.low, interval.high]);
    Some(Change {
        metric,
        before,
        after,
        ratio,
        ratio_low: ends.map(|ends| ends[0]),
        ratio_high: ends.map(|ends| ends[1]),
        interval_from,
        n_runs_before,
        n_runs_after,
        repeats_within,
        verdict: verdict(metric, ratio, ends, repeats_within),
    })
}

/// The interval from what single runs know of themselves.
fn within_runs(
    before: &[Reading],
    after: &[Reading],
    ratio: f64,
) -> (Option<Interval>, IntervalFrom) {
    let pooled = |readings: &[Reading]| {
        let samples: Vec<f64> = readings.iter().flat_map(|r| r.samples.clone()).collect();
        Samples::new(&samples).map_err(|_| IntervalError::TooFew { n_samples: 0 })
    };
    let interval = pooled(after).and_then(|a| ratio_interval(&a, &pooled(before)?, SEED));
    if let Ok(interval) = interval {
        return (Some(interval), IntervalFrom::Repetitions);
    }
    let half_width = |readings: &[Reading]| match readings {
        [Reading { ends: Some([low, high]), .. }] => Some((high / low).ln() / 2.0),
        _ => None,
    };
    match half_width(before).zip(half_width(after)) {
        Some((one, other)) => {
            (Some(Interval::around(ratio, one.hypot(other))), IntervalFrom::Records)
        }
        None => (None, IntervalFrom::Nothing),
    }
}

fn verdict(metric: Metric, ratio: f64, ends: Option<[f64; 2]>, repeats_within: f64) -> Verdict {
    let may_be_equal = ends.is_some_and(|[low, high]| low <= 1.0 && 1.0 <= high);
    // The same limit for a change and for its reverse.
    let is_small = ratio.max(1.0 / ratio) <= 1.0 + repeats_within;
    if may_be_equal || is_small {
        return Verdict::NoDifferenceShown;
    }
    let is_better = (ratio > 1.0) == metric.higher_is_better();
    match (metric.is_speed(), is_better) {
        (true, true) => Verdict::Faster,
        (true, false) => Verdict::Slower,
        (false, true) => Verdict::Less,
        (false, false) => Verdict::More,
    }
}

#[cfg(test)]
mod tests;
