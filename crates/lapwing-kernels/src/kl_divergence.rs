//! The Kullback-Leibler divergence of two rows of logits.

use crate::Distribution;
use crate::level::{Isa, Level};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

/// The sums are kept in this many partial sums, on every level: entry `i` goes to `i % 16`.
const N_SUMS: usize = 16;

/// `KL(p || q)`, the sum of `p (ln p - ln q)`, in nats: the same bits on every level.
///
/// Never negative. `+inf` when `q` excludes (`-inf`) a token that `p` does not,
/// however improbable that is; a token that `p` excludes adds nothing. The
/// weights `exp(logit - max)` are `f32` (relative error below 2e-7, zero below
/// `exp(-87)`), logits and sums are `f64`: adding a constant to either row
/// changes nothing but the last digits.
///
/// # Panics
///
/// When the rows differ in length.
#[must_use]
pub fn kl_divergence(level: Level, p: Distribution<'_>, q: Distribution<'_>) -> f64 {
    assert_eq!(p.row().len(), q.row().len(), "distributions over different vocabularies");
    let (p_chunks, p_tail) = p.row().as_chunks::<N_SUMS>();
    let (q_chunks, q_tail) = q.row().as_chunks::<N_SUMS>();
    let mut partial = match level.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx2 and fma.
        Isa::Avx2 => unsafe { avx2::kl_divergence(p_chunks, q_chunks, p.max()) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx512f.
        Isa::Avx512 => unsafe { avx512::kl_divergence(p_chunks, q_chunks, p.max()) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: `Level` proves neon.
        Isa::Neon => unsafe { neon::kl_divergence(p_chunks, q_chunks, p.max()) },
        _ => scalar::kl_divergence(p_chunks, q_chunks, p.max()),
    };
    scalar::add(&mut partial, p_tail, q_tail, p.max());
    if partial.is_excluded {
        return f64::INFINITY;
    }
    let weight: f64 = partial.weights.iter().sum();
    let weighted: f64 = partial.weighted.iter().sum();
    (weighted / weight - p.log_sum_exp() + q.log_sum_exp()).max(0.0)
}

/// Sums over the tokens, not yet folded into one number.
struct Partial {
    /// Of `w = exp(logit of p - max)`.
    weights: [f64; N_SUMS],
    /// Of `w (logit of p - logit of q)`.
    weighted: [f64; N_SUMS],
    /// `q` excludes a token that `p` allows.
    is_excluded: bool,
}

#[cfg(test)]
mod tests;
