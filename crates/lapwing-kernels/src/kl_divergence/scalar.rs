use super::{N_SUMS, Partial};
use crate::exp::exp_nonpositive;

pub(super) fn kl_divergence(p: &[[f32; N_SUMS]], q: &[[f32; N_SUMS]], max: f32) -> Partial {
    let mut partial =
        Partial { weights: [0.0; N_SUMS], weighted: [0.0; N_SUMS], is_excluded: false };
    for (p, q) in p.iter().zip(q) {
        add(&mut partial, p, q, max);
    }
    partial
}

pub(super) fn add(partial: &mut Partial, p: &[f32], q: &[f32], max: f32) {
    let sums = partial.weights.iter_mut().zip(&mut partial.weighted);
    for ((weight_sum, weighted_sum), (&p, &q)) in sums.zip(p.iter().zip(q)) {
        partial.is_excluded |= q == f32::NEG_INFINITY && p != f32::NEG_INFINITY;
        let weight = exp_nonpositive(p - max);
        // A weight of zero may come with an infinite difference.
        if weight > 0.0 {
            *weight_sum += f64::from(weight);
            *weighted_sum += f64::from(weight) * (f64::from(p) - f64::from(q));
        }
    }
}
