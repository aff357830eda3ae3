//! When a test was repeated often enough.

use std::time::Duration;

use crate::record::StoppedBecause;

/// Fewer repetitions have no interval worth the name.
pub const N_REPETITIONS_MIN: usize = 3;
/// More repetitions tell nothing new: a test that is over in microseconds must end all the same.
pub const N_REPETITIONS_MAX: usize = 1000;
/// Repetitions before a narrow interval is believed: three can agree by chance.
const N_FOR_NARROW: usize = 5;

/// When to stop repeating a test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StopRule {
    /// Exactly so many, whatever they show.
    pub n_repetitions: Option<usize>,
    /// Otherwise no more after this time, but at least [`N_REPETITIONS_MIN`].
    pub time_budget: Duration,
    /// Otherwise no more once the interval of the median is no wider than this share of it.
    pub relative_width: f64,
}

impl StopRule {
    /// Why no further repetition is needed; `None` when one is.
    ///
    /// `relative_width` gives the width of the interval of the median as a share of the median; it
    /// is asked rarely, because it takes its time.
    pub fn stop(
        &self,
        n_done: usize,
        elapsed: Duration,
        relative_width: impl FnOnce() -> Option<f64>,
    ) -> Option<StoppedBecause> {
        if let Some(n_repetitions) = self.n_repetitions {
            return (n_repetitions <= n_done).then_some(StoppedBecause::Repetitions);
        }
        if n_done < N_REPETITIONS_MIN {
            return None;
        }
        let is_narrow = || relative_width().is_some_and(|width| width <= self.relative_width);
        if N_FOR_NARROW <= n_done && is_worth_asking(n_done) && is_narrow() {
            return Some(StoppedBecause::IntervalNarrow);
        }
        if self.time_budget <= elapsed {
            return Some(StoppedBecause::TimeBudget);
        }
        (N_REPETITIONS_MAX <= n_done).then_some(StoppedBecause::Repetitions)
    }
}

/// After every repetition at first, then whenever a tenth more are done.
fn is_worth_asking(n_done: usize) -> bool {
    n_done < 20 || n_done.is_multiple_of(n_done / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: StopRule = StopRule {
        n_repetitions: None,
        time_budget: Duration::from_secs(10),
        relative_width: 0.04,
    };

    fn check(
        rule: StopRule,
        n_done: usize,
        elapsed_s: u64,
        width: Option<f64>,
        expected: Option<StoppedBecause>,
    ) {
        let found = rule.stop(n_done, Duration::from_secs(elapsed_s), || width);
        assert_eq!(found, expected, "{n_done} after {elapsed_s} s, width {width:?}");
    }

    #[test]
    fn repetitions_end_when_narrow_late_or_many() {
        check(RULE, 2, 99, Some(0.0), None);
        check(RULE, 3, 0, Some(0.0), None);
        check(RULE, 3, 10, Some(0.5), Some(StoppedBecause::TimeBudget));
        check(RULE, 5, 0, Some(0.04), Some(StoppedBecause::IntervalNarrow));
        check(RULE, 5, 0, Some(0.041), None);
        check(RULE, 5, 0, None, None);
        check(RULE, 1000, 0, None, Some(StoppedBecause::Repetitions));
    }

    #[test]
    fn a_given_number_is_kept() {
        let rule = StopRule { n_repetitions: Some(2), ..RULE };
        check(rule, 1, 99, Some(0.0), None);
        check(rule, 2, 0, None, Some(StoppedBecause::Repetitions));
    }
}
