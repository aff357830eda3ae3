//! Sum and spread of the finite entries of a row: what its mean and variance are made of.

use crate::level::{Isa, Level};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

/// The sum is kept in this many partial sums, on every level: entry `i` goes to `i % 32`.
const N_SUMS: usize = 32;

/// The loops over whole vectors sum this many blocks as if all were finite,
/// then look; a group that was not is summed again with care.
#[allow(dead_code, reason = "an architecture without vector loops has no use for it")]
const N_BLOCKS_PER_LOOK: usize = 32;

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
    let mut partial = match level.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx2 and fma.
        Isa::Avx2 => unsafe { avx2::finite_sum(blocks) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx512f.
        Isa::Avx512 => unsafe { avx512::finite_sum(blocks) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: `Level` proves neon.
        Isa::Neon => unsafe { neon::finite_sum(blocks) },
        _ => scalar::finite_sum(blocks),
    };
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
    let mut partial = match level.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx2 and fma.
        Isa::Avx2 => unsafe { avx2::finite_squares(blocks, mean) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx512f.
        Isa::Avx512 => unsafe { avx512::finite_squares(blocks, mean) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: `Level` proves neon.
        Isa::Neon => unsafe { neon::finite_squares(blocks, mean) },
        _ => scalar::finite_squares(blocks, mean),
    };
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
