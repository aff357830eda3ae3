//! Softmax over a short list of candidates. Plain code: the lists are short.

use crate::exp::exp_nonpositive;

/// Replace every logit by `exp((logit - max) / temperature)` and return their sum.
///
/// Shapes: `logits [n_candidates]`, in any order. The weight of the largest
/// logit is exactly 1 and equal logits get equal weights; the sum is taken in
/// `f64` from the first to the last. NaN weighs 0, and so does everything in a
/// list whose maximum is not finite. `temperature` is positive.
#[must_use]
pub fn exp_in_place(logits: &mut [f32], temperature: f32) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max.is_infinite() {
        logits.fill(0.0);
        return 0.0;
    }
    // A temperature below 1 / f32::MAX must not turn 0 * inf into NaN.
    let scale = temperature.recip().min(f32::MAX);
    let mut sum = 0.0;
    for logit in logits {
        *logit = exp_nonpositive((*logit - max) * scale);
        sum += f64::from(*logit);
    }
    sum
}

/// Replace every logit by its probability at `temperature`.
///
/// Shapes: `logits [n_candidates]`. A list whose maximum is not finite (empty,
/// all NaN or `-inf`, or with `+inf`) has no distribution: all zeros.
/// `temperature` is positive.
pub fn softmax_in_place(logits: &mut [f32], temperature: f32) {
    let sum = exp_in_place(logits, temperature);
    if sum == 0.0 {
        return;
    }
    for weight in logits {
        *weight = (f64::from(*weight) / sum) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::{exp_in_place, softmax_in_place};
    use crate::oracle::spread;

    #[test]
    fn agrees_with_the_definition_in_f64() {
        for len in 1..=67 {
            for temperature in [0.1, 0.7, 1.0, 3.0] {
                let logits = spread(len);
                let mut found = logits.clone();
                softmax_in_place(&mut found, temperature);
                let max = logits.iter().copied().fold(f32::MIN, f32::max);
                let weight = |logit: f32| (f64::from(logit - max) / f64::from(temperature)).exp();
                let sum: f64 = logits.iter().map(|&logit| weight(logit)).sum();
                for (&logit, &found) in logits.iter().zip(&found) {
                    let expected = weight(logit) / sum;
                    assert!((f64::from(found) - expected).abs() <= 1e-5 * expected + 1e-12);
                }
            }
        }
    }

    #[test]
    fn special_lists() {
        let check = |logits: &[f32], temperature: f32, expected: &[f32]| {
            let mut found = logits.to_vec();
            softmax_in_place(&mut found, temperature);
            assert_eq!(found, expected, "{logits:?} {temperature}");
        };
        check(&[], 1.0, &[]);
        check(&[3.0], 0.5, &[1.0]);
        check(&[2.0, 2.0, f32::NAN, f32::NEG_INFINITY], 0.7, &[0.5, 0.5, 0.0, 0.0]);
        check(&[f32::NEG_INFINITY; 3], 1.0, &[0.0; 3]);
        check(&[f32::NAN; 3], 1.0, &[0.0; 3]);
        check(&[0.0, f32::INFINITY], 1.0, &[0.0, 0.0]);
        check(&[1.0, 1.0, 0.0], f32::MIN_POSITIVE / 8.0, &[0.5, 0.5, 0.0]);
    }

    #[test]
    fn the_largest_weighs_one() {
        let mut logits = [-1.0, 7.0, 7.0, 2.0];
        let sum = exp_in_place(&mut logits, 0.9);
        assert_eq!(logits[1..3], [1.0, 1.0]);
        assert_eq!(sum, logits.iter().map(|&weight| f64::from(weight)).sum::<f64>());
    }
}
