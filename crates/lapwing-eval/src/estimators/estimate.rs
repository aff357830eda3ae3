//! From moments to a gain, by each of the estimators.

use super::gain::{reverting_gain, steady_state_gain};
use super::series::TokenMoments;

/// How gains are found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Estimator {
    /// As the method was published; see [`published`].
    Published {
        /// The weight of the new value in the moving average.
        alpha: f64,
        /// What the moving average contains.
        reading: EmaReading,
    },
    /// Method of moments; see [`moments`].
    Moments,
    /// Pooled maximum likelihood; see [`GainSearch`](super::GainSearch).
    MaximumLikelihood,
    /// Noise measured against a reference model; see [`reference()`].
    Reference,
    /// A value that somebody chose.
    Given,
}

/// What the moving average contains that the published estimator compares `y_t` with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmaReading {
    /// `y_t` already: the formula as it was printed.
    Current,
    /// Everything up to `y_(t-1)`.
    Previous,
}

/// Variances of the local level model and the gain that follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GainEstimate {
    /// Variance of the state's steps.
    pub q: f64,
    /// Variance of the observation's noise.
    pub r: f64,
    /// The steady-state gain, from 0 to 1; 1 without data.
    pub gain: f64,
}

/// Variances of the model whose state reverts to a level, and the gain that follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RevertingEstimate {
    /// Coefficient of the state, from 0 to 1.
    pub a: f64,
    /// Variance of the state's steps.
    pub q: f64,
    /// Variance of the observation's noise.
    pub r: f64,
    /// The steady-state gain, from 0 to 1; 1 without data.
    pub gain: f64,
}

impl Estimator {
    /// The word for it in records.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Estimator::Published { .. } => "published",
            Estimator::Moments => "moments",
            Estimator::MaximumLikelihood => "maximum_likelihood",
            Estimator::Reference => "reference",
            Estimator::Given => "given",
        }
    }
}

/// The estimator as it was published: `R = Var(y - EMA(y))`, `Q = max(0, Var(dy) - 2R)`.
///
/// Kept for study, it estimates neither. With `l = 1 - alpha`, data of the model itself
/// give `R^ = l^2 (Q + 2 alpha R) / (alpha (2 - alpha))` for [`EmaReading::Current`] and
/// the same without `l^2` for [`EmaReading::Previous`], so that `Q^` is 0 and the filter
/// frozen above the ratio [`frozen_above`], while a constant signal gets a gain of 0.44
/// (`alpha` = 0.1). `alpha` is a matter of
/// [`SeriesMoments::with_alpha`](super::SeriesMoments::with_alpha).
#[must_use]
pub fn published(moments: &TokenMoments, reading: EmaReading) -> GainEstimate {
    let r = match reading {
        EmaReading::Current => moments.ema_variance.current,
        EmaReading::Previous => moments.ema_variance.previous,
    };
    estimate(moments.increments[0] - 2.0 * r, r)
}

/// The true `Q/R` from which on the published estimator finds `Q = 0` and freezes.
///
/// `2 alpha^2 (3 - 2 alpha) / (3 (1 - alpha)^2 - 1)` for the current reading, `None` where
/// it never freezes (`alpha` from `1 - 1/sqrt(3)` = 0.42 on); 0 for the previous reading.
#[must_use]
pub fn frozen_above(alpha: f64, reading: EmaReading) -> Option<f64> {
    let denominator = 3.0 * (1.0 - alpha).powi(2) - 1.0;
    match reading {
        EmaReading::Previous => Some(0.0),
        EmaReading::Current if denominator <= 0.0 => None,
        EmaReading::Current => Some(2.0 * alpha * alpha * (3.0 - 2.0 * alpha) / denominator),
    }
}

/// Method of moments on the increments: `R = max(0, -g1)`, `Q = max(0, g0 + 2 g1)`.
///
/// The clips are the borders of what the model can show: a positive autocovariance at
/// lag 1 means no white noise to be seen, so the gain is 1; an autocorrelation below
/// -1/2 leaves nothing to the state, so the gain is 0.
///
/// Source: Harvey 1989, section 2.4: the autocorrelation is `-1 / (Q/R + 2)`.
#[must_use]
pub fn moments(moments: &TokenMoments) -> GainEstimate {
    let [variance, lag_one, _] = moments.increments;
    estimate(variance + 2.0 * lag_one, -lag_one)
}

/// Both variances measured on pairs: `R` of the noise, `Q` of the reference's increments.
///
/// See [`PairedMoments`](super::PairedMoments).
#[must_use]
pub fn reference(noise_variance: f64, reference_increment_variance: f64) -> GainEstimate {
    estimate(reference_increment_variance, noise_variance)
}

/// A state that reverts to the token's mean, from autocovariances of the levels.
///
/// `a = c2 / c1`, the state's variance `c1 / a`, the rest of `c0` is noise. Where there
/// is no such state to be seen (`c1` or `c2` not above 0) everything counts as signal:
/// `a = 0`, `R = 0`, gain 1. From `a = 1` on levels say nothing and the local level
/// model is fitted by [`moments`].
#[must_use]
pub fn reverting(moments: &TokenMoments) -> RevertingEstimate {
    let [variance, lag_one, lag_two] = moments.autocovariances;
    if !(0.0 < lag_one && 0.0 < lag_two) {
        return RevertingEstimate { a: 0.0, q: variance, r: 0.0, gain: 1.0 };
    }
    if lag_one <= lag_two {
        let GainEstimate { q, r, gain } = self::moments(moments);
        return RevertingEstimate { a: 1.0, q, r, gain };
    }
    let a = lag_two / lag_one;
    let state_variance = (lag_one / a).min(variance);
    let q = state_variance * (1.0 - a * a);
    let r = variance - state_variance;
    RevertingEstimate { a, q, r, gain: reverting_gain(a, q, r) }
}

/// Clip both variances at 0; NaN stays and gives the gain 1.
fn estimate(q: f64, r: f64) -> GainEstimate {
    let clip = |value: f64| if value < 0.0 { 0.0 } else { value };
    let (q, r) = (clip(q), clip(r));
    GainEstimate { q, r, gain: steady_state_gain(q, r) }
}

#[cfg(test)]
mod tests {
    use super::{EmaReading, frozen_above, moments, reverting};
    use crate::estimators::{EmaVariance, TokenMoments};

    fn of(increments: [f64; 3], autocovariances: [f64; 3]) -> TokenMoments {
        TokenMoments {
            n_tokens: 1,
            n: 1000,
            n_increments: 999,
            mean: 0.0,
            variance: autocovariances[0],
            autocovariances,
            increments,
            ema_variance: EmaVariance { current: 0.0, previous: 0.0 },
        }
    }

    #[test]
    fn moments_are_clipped_at_the_borders_of_the_model() {
        let check = |increments: [f64; 2], expected: [f64; 3]| {
            let found = moments(&of([increments[0], increments[1], 0.0], [0.0; 3]));
            let found = [found.q, found.r, found.gain];
            let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4);
            assert!(near, "{increments:?}: {found:?}");
        };
        check([3.0, -1.0], [1.0, 1.0, 0.6180]);
        check([2.1, -1.0], [0.1, 1.0, 0.2702]);
        // No noise to be seen, nothing but noise, nothing at all.
        check([3.0, 0.4], [3.8, 0.0, 1.0]);
        check([2.0, -1.0], [0.0, 1.0, 0.0]);
        check([2.0, -1.3], [0.0, 1.3, 0.0]);
        check([0.0, 0.0], [0.0, 0.0, 1.0]);
        assert_eq!(moments(&of([f64::NAN; 3], [0.0; 3])).gain, 1.0);
    }

    #[test]
    fn reverting_states_from_autocovariances() {
        let check = |autocovariances: [f64; 3], expected: [f64; 3]| {
            let found = reverting(&of([3.0, -1.0, 0.0], autocovariances));
            let found = [found.a, found.q, found.r];
            let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
            assert!(near, "{autocovariances:?}: {found:?}");
        };
        // State variance 4, noise 1.
        check([5.0, 2.0, 1.0], [0.5, 3.0, 1.0]);
        // More state than there is variance: no noise.
        check([3.0, 2.0, 1.0], [0.5, 2.25, 0.0]);
        check([5.0, -0.1, 1.0], [0.0, 5.0, 0.0]);
        check([5.0, 2.0, -1.0], [0.0, 5.0, 0.0]);
        // A walk: from the increments.
        check([5.0, 2.0, 2.0], [1.0, 1.0, 1.0]);
        assert_eq!(reverting(&of([f64::NAN; 3], [f64::NAN; 3])).gain, 1.0);
    }

    #[test]
    fn the_published_estimator_freezes_above_a_ratio() {
        let check = |alpha: f64, reading: EmaReading, expected: Option<f64>| {
            let found = frozen_above(alpha, reading).map(|ratio| (ratio * 1e4).round() / 1e4);
            assert_eq!(found, expected, "{alpha} {reading:?}");
        };
        check(0.1, EmaReading::Current, Some(0.0392));
        check(0.1, EmaReading::Previous, Some(0.0));
        check(0.9, EmaReading::Current, None);
        check(0.9, EmaReading::Previous, Some(0.0));
    }
}
