//! The first two moments of softmax weights: what the entropy of a row is made of.

use crate::lanes::N_LANES;
use crate::level::{Level, dispatch};

mod scalar;
mod vector;

/// The sums are kept in this many partial sums, on every level: logit `i` goes to `i % 16`.
const N_SUMS: usize = N_LANES;

/// What [`exp_moments`] returns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpMoments {
    /// The sum of `e = exp((logit - max) * scale)`: the bits of [`crate::sum_exp`].
    pub sum: f64,
    /// The sum of `e * (logit - max)`; never positive.
    pub weighted: f64,
}

impl ExpMoments {
    /// The entropy of the softmax of `logit * scale`, in nats; NaN when nothing has weight.
    #[must_use]
    pub fn entropy(self, scale: f32) -> f64 {
        self.sum.ln() - f64::from(scale) * self.weighted / self.sum
    }
}

/// The moments of `exp((logit - max) * scale)` over one row: the same bits on every level.
///
/// Shapes: `logits [n_vocab]`. `max` is the row's finite maximum, `scale` the
/// positive, finite inverse of the temperature. NaN, `-inf` and terms below
/// `exp(-87)` add nothing; an empty row gives zeros.
#[must_use]
pub fn exp_moments(level: Level, logits: &[f32], max: f32, scale: f32) -> ExpMoments {
    let (groups, tail) = logits.as_chunks::<N_SUMS>();
    let mut partial = dispatch!(
        level,
        exp_moments(groups: &[[f32; N_SUMS]], max: f32, scale: f32) -> Partial
    );
    scalar::add(&mut partial, tail, max, scale);
    ExpMoments { sum: partial.sums.iter().sum(), weighted: partial.weighted.iter().sum() }
}

/// Sums over the logits, not yet folded into one number.
struct Partial {
    sums: [f64; N_SUMS],
    weighted: [f64; N_SUMS],
}

#[cfg(test)]
mod tests;
