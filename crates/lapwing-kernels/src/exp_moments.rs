//! The first two moments of softmax weights: what the entropy of a row is made of.

use crate::level::{Isa, Level};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

/// The sums are kept in this many partial sums, on every level: logit `i` goes to `i % 16`.
const N_SUMS: usize = 16;

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
    let (chunks, tail) = logits.as_chunks::<N_SUMS>();
    let mut partial = match level.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx2 and fma.
        Isa::Avx2 => unsafe { avx2::exp_moments(chunks, max, scale) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx512f.
        Isa::Avx512 => unsafe { avx512::exp_moments(chunks, max, scale) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: `Level` proves neon.
        Isa::Neon => unsafe { neon::exp_moments(chunks, max, scale) },
        _ => scalar::exp_moments(chunks, max, scale),
    };
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
