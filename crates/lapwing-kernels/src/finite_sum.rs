//! Sum and spread of the finite entries of a row: what its mean and variance are made of.

use crate::lanes::N_LANES;
use crate::level::{Level, dispatch};

mod scalar;
mod vector;

/// The sum is kept in this many partial sums, on every level: entry `i` goes to `i % 32`.
const N_SUMS: usize = 2 * N_LANES;

/// What [`finite_sum`] returns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FiniteSum {
    /// The sum of the finite entries; 0 when there are none.
    pub sum: f64,
    /// How many entries are finite.
    pub n_finite: usize,
}

impl FiniteSum {
    /// The mean of the finite entries; `None` when there are none.
    #[must_use]
    pub fn mean(self) -> Option<f64> {
        (self.n_finite != 0).then(|| self.sum / self.n_finite as f64)
    }
}

/// Sum and number of the finite entries of one row: the same bits on every level.
///
/// Shapes: `row [n]`. NaN and both infinities are left out; an empty row has
/// sum 0. The sum is `f64`, so finite entries never overflow it.
#[must_use]
pub fn finite_sum(level: Level, row: &[f32]) -> FiniteSum {
    let (blocks, tail) = row.as_chunks::<N_SUMS>();
    let mut partial = dispatch!(level, finite_sum(blocks: &[[f32; N_SUMS]]) -> Partial);
    scalar::add(&mut partial, tail);
    FiniteSum { sum: partial.sums.iter().sum(), n_finite: partial.n_finite }
}

/// The sum of `(x - mean)^2` over the finite entries of one row: the same bits on every level.
///
/// Shapes: `row [n]`. NaN and both infinities are left out; an empty row gives
/// 0. Difference, square and sum are `f64`, so nothing overflows. NaN when
/// `mean` is not finite.
#[must_use]
pub fn finite_squares(level: Level, row: &[f32], mean: f32) -> f64 {
    if !mean.is_finite() {
        return f64::NAN;
    }
    let (blocks, tail) = row.as_chunks::<N_SUMS>();
    let mut partial = dispatch!(
        level,
        finite_squares(blocks: &[[f32; N_SUMS]], mean: f32) -> Partial
    );
    scalar::add_squares(&mut partial, tail, mean);
    partial.sums.iter().sum()
}

/// A sum that is not yet folded into one number.
struct Partial {
    sums: [f64; N_SUMS],
    n_finite: usize,
}

#[cfg(test)]
mod tests;
