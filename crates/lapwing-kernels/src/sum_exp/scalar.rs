use super::N_SUMS;
use crate::exp::exp_nonpositive;

pub(super) fn sum_exp(chunks: &[[f32; N_SUMS]], max: f32, scale: f32) -> [f64; N_SUMS] {
    let mut sums = [0.0; N_SUMS];
    for chunk in chunks {
        for (sum, &logit) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(exp_nonpositive((logit - max) * scale));
        }
    }
    sums
}
