use super::{N_SUMS, Partial};
use crate::exp::exp_nonpositive;

pub(super) fn exp_moments(chunks: &[[f32; N_SUMS]], max: f32, scale: f32) -> Partial {
    let mut partial = Partial { sums: [0.0; N_SUMS], weighted: [0.0; N_SUMS] };
    for chunk in chunks {
        add(&mut partial, chunk, max, scale);
    }
    partial
}

pub(super) fn add(partial: &mut Partial, logits: &[f32], max: f32, scale: f32) {
    let sums = partial.sums.iter_mut().zip(&mut partial.weighted);
    for ((sum, weighted), &logit) in sums.zip(logits) {
        let distance = logit - max;
        let term = exp_nonpositive(distance * scale);
        // A term of zero may come with an infinite distance, or NaN.
        if term > 0.0 {
            *sum += f64::from(term);
            *weighted += f64::from(term) * f64::from(distance);
        }
    }
}
