//! The Kullback-Leibler divergence of two rows of logits.

use crate::Distribution;
use crate::lanes::N_LANES;
use crate::level::{Level, dispatch};

mod scalar;
mod vector;

/// The sums are kept in this many partial sums, on every level: entry `i` goes to `i % 16`.
const N_SUMS: usize = N_LANES;

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
    let max = p.max();
    let (p_groups, p_tail) = p.row().as_chunks::<N_SUMS>();
    let (q_groups, q_tail) = q.row().as_chunks::<N_SUMS>();
    let mut partial = dispatch!(
        level,
        kl_divergence(p_groups: &[[f32; N_SUMS]], q_groups: &[[f32; N_SUMS]], max: f32) -> Partial
    );
    scalar::add(&mut partial, p_tail, q_tail, max);
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
