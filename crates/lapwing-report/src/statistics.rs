//! Figures of a set of samples, and how far they can be trusted.
//!
//! [`Samples`] can only be made of finite numbers, so that no figure is ever NaN or infinite.
//!
//! There are two ways to a value that a share of others does not exceed: [`Samples::percentile`]
//! is always a value that was measured, [`quantile`] lies between two neighbours.

mod bootstrap;
mod histogram;
mod interval;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;

pub use bootstrap::{
    Block, BootstrapError, BootstrapOptions, block_bootstrap, block_mean, ratio_standard_error,
};
pub use histogram::{Histogram, HistogramError, N_BINS_PER_DECADE, RELATIVE_BIN_WIDTH};
pub use interval::{
    CONFIDENCE, Interval, IntervalError, N_RESAMPLES, median_interval, ratio_interval,
};

/// Largest magnitude of a sample: its square still is a finite number.
pub const VALUE_MAX: f64 = 1e100;

/// At least one sample, all of them finite, in ascending order.
///
/// Units: whatever was measured; every figure has the same one unless it says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    sorted: Vec<f64>,
}

/// Why values are no samples.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum SamplesError {
    /// Nothing was measured.
    #[error("no samples")]
    Empty,
    /// NaN, an infinity, or larger than [`VALUE_MAX`].
    #[error(
        "sample {sample_idx} is {value}, expected a number between -{VALUE_MAX:e} and {VALUE_MAX:e}"
    )]
    NotFinite { sample_idx: usize, value: f64 },
}

impl Samples {
    /// Take `values` in any order.
    ///
    /// # Errors
    ///
    /// When there are none, or one is not a number of a magnitude up to [`VALUE_MAX`].
    pub fn new(values: &[f64]) -> Result<Samples, SamplesError> {
        if values.is_empty() {
            return Err(SamplesError::Empty);
        }
        let is_good = |value: &f64| (-VALUE_MAX..=VALUE_MAX).contains(value);
        let bad = values.iter().position(|value| !is_good(value));
        if let Some(sample_idx) = bad {
            return Err(SamplesError::NotFinite { sample_idx, value: values[sample_idx] });
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Ok(Samples { sorted })
    }

    /// The samples in ascending order.
    #[must_use]
    pub fn sorted(&self) -> &[f64] {
        &self.sorted
    }

    /// How many samples there are, at least 1.
    #[must_use]
    pub fn n(&self) -> usize {
        self.sorted.len()
    }

    /// The smallest sample.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.sorted[0]
    }

    /// The largest sample.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.sorted[self.n() - 1]
    }

    /// The middle sample; the mean of the two middle ones when their number is even.
    #[must_use]
    pub fn median(&self) -> f64 {
        quantile(&self.sorted, 0.5)
    }

    /// The smallest sample that at least `percent` percent of the samples do not exceed.
    ///
    /// This is the *nearest rank*: always a value that was measured, never one between two. With
    /// fewer than 100 samples the 99th percentile is therefore the largest. `percent` is taken
    /// as 0 below 0 and when it is NaN, and as 100 above 100.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> f64 {
        let n = self.n();
        // A product such as 0.29 * 100 may end up just above the whole number it stands for.
        let rank = (percent.clamp(0.0, 100.0) * n as f64 / 100.0 - 1e-9).ceil();
        self.sorted[(rank as usize).clamp(1, n) - 1]
    }

    /// Median absolute deviation from the median, as it is (not scaled to a standard deviation).
    #[must_use]
    pub fn mad(&self) -> f64 {
        let median = self.median();
        let mut deviations: Vec<f64> = self.sorted.iter().map(|v| (v - median).abs()).collect();
        deviations.sort_by(f64::total_cmp);
        quantile(&deviations, 0.5)
    }

    /// Arithmetic mean.
    #[must_use]
    pub fn mean(&self) -> f64 {
        let n = self.n() as f64;
        // Rounding must not put the mean of equal values beside them.
        (self.sorted.iter().sum::<f64>() / n).clamp(self.min(), self.max())
    }

    /// Standard deviation of what the samples were drawn from (divisor `n - 1`); `None` for one
    /// sample.
    #[must_use]
    pub fn standard_deviation(&self) -> Option<f64> {
        standard_deviation(&self.sorted)
    }

    /// Standard deviation over mean, without unit; `None` for one sample or a mean of zero.
    #[must_use]
    pub fn coefficient_of_variation(&self) -> Option<f64> {
        let ratio = self.standard_deviation()? / self.mean().abs();
        ratio.is_finite().then_some(ratio)
    }
}

/// The value below which the share `probability` of `sorted` lies, linear between neighbours.
///
/// The values may be infinite, and ascend.
///
/// # Panics
///
/// When `sorted` is empty.
#[must_use]
pub fn quantile<T: Copy + Into<f64>>(sorted: &[T], probability: f64) -> f64 {
    assert!(!sorted.is_empty(), "a quantile of no values");
    let position = probability.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let below = position.floor();
    let weight = position - below;
    let lower = sorted[below as usize].into();
    // Not weighed when it counts nothing: infinity times zero is no number.
    if weight == 0.0 {
        return lower;
    }
    let upper = sorted[below as usize + 1].into();
    match weight {
        // Exact for the smallest numbers too.
        0.5 => f64::midpoint(lower, upper),
        _ => lower * (1.0 - weight) + upper * weight,
    }
}

/// An index below `n`, uniform; the bias is below `n / 2^64`.
pub fn below(random: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(random.next_u64()) * n as u128) >> u64::BITS) as usize
}

/// With divisor `n - 1`; `None` for fewer than two values.
fn standard_deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    // Rounding would leave a small something of equal values.
    if values.iter().all(|value| *value == values[0]) {
        return Some(0.0);
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    Some((values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        Samples::new(values).unwrap()
    }

    #[test]
    fn only_finite_numbers_are_samples() {
        let check = |values: &[f64], expected: &str| {
            assert_eq!(Samples::new(values).unwrap_err().to_string(), expected);
        };
        let range = "expected a number between -1e100 and 1e100";
        check(&[], "no samples");
        check(&[1.0, f64::NAN], &format!("sample 1 is NaN, {range}"));
        check(&[f64::NEG_INFINITY], &format!("sample 0 is -inf, {range}"));
        check(&[0.0, 0.0, f64::INFINITY], &format!("sample 2 is inf, {range}"));
        assert!(matches!(
            Samples::new(&[-2e100]),
            Err(SamplesError::NotFinite { sample_idx: 0, .. })
        ));
        for extremes in [[VALUE_MAX, -VALUE_MAX], [VALUE_MAX, VALUE_MAX]] {
            let figures = samples(&extremes);
            assert!(figures.mean().is_finite() && figures.mad().is_finite());
            assert!(figures.standard_deviation().unwrap().is_finite());
        }
    }

    #[test]
    fn medians_means_and_deviations_are_the_textbooks() {
        let check = |values: &[f64], [median, mad, mean, deviation]: [f64; 4]| {
            let samples = samples(values);
            assert_eq!(samples.median(), median, "{values:?}");
            assert_eq!(samples.mad(), mad, "{values:?}");
            assert_eq!(samples.mean(), mean, "{values:?}");
            assert_eq!(samples.standard_deviation().unwrap_or(-1.0), deviation, "{values:?}");
        };
        check(&[3.0], [3.0, 0.0, 3.0, -1.0]);
        check(&[4.0, 2.0], [3.0, 1.0, 3.0, 2f64.sqrt()]);
        // Deviations from 3: 2 1 0 1 97.
        check(&[100.0, 1.0, 2.0, 3.0, 4.0], [3.0, 1.0, 22.0, 1902.5_f64.sqrt()]);
        check(&[-1.0, 1.0, -1.0, 1.0], [0.0, 1.0, 0.0, (4.0f64 / 3.0).sqrt()]);
        check(&[0.1, 0.1, 0.1], [0.1, 0.0, 0.1, 0.0]);
    }

    #[test]
    fn variation_needs_two_samples_and_a_mean() {
        let check = |values: &[f64], expected: Option<f64>| {
            assert_eq!(samples(values).coefficient_of_variation(), expected, "{values:?}");
        };
        check(&[5.0], None);
        check(&[-1.0, 1.0], None);
        check(&[0.0, 0.0], None);
        check(&[7.0, 7.0], Some(0.0));
        check(&[4.0, 2.0], Some(2f64.sqrt() / 3.0));
        check(&[-4.0, -2.0], Some(2f64.sqrt() / 3.0));
    }

    #[test]
    fn percentiles_are_measured_values_by_nearest_rank() {
        let check = |values: &[f64], percent: f64, expected: f64| {
            assert_eq!(samples(values).percentile(percent), expected, "{values:?} {percent}");
        };
        // The example of the textbooks.
        let five = [20.0, 15.0, 40.0, 35.0, 50.0];
        check(&five, 5.0, 15.0);
        check(&five, 30.0, 20.0);
        check(&five, 40.0, 20.0);
        check(&five, 40.1, 35.0);
        check(&five, 100.0, 50.0);
        check(&five, 0.0, 15.0);
        check(&five, -3.0, 15.0);
        check(&five, 1000.0, 50.0);
        check(&five, f64::NAN, 15.0);
        check(&[7.0], 50.0, 7.0);
        let thousand: Vec<f64> = (1..=1000).rev().map(f64::from).collect();
        check(&thousand, 50.0, 500.0);
        check(&thousand, 90.0, 900.0);
        check(&thousand, 99.0, 990.0);
        check(&thousand, 99.9, 999.0);
        check(&thousand, 99.91, 1000.0);
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        let check = |sorted: &[f64], probability: f64, expected: f64| {
            assert_eq!(quantile(sorted, probability), expected, "{sorted:?} {probability}");
        };
        check(&[3.0], 0.9, 3.0);
        check(&[1.0, 2.0, 4.0], 0.0, 1.0);
        check(&[1.0, 2.0, 4.0], 0.5, 2.0);
        check(&[1.0, 2.0, 4.0], 0.75, 3.0);
        check(&[1.0, 2.0, f64::INFINITY], 0.5, 2.0);
        check(&[1.0, 2.0, f64::INFINITY], 1.0, f64::INFINITY);
    }
}
