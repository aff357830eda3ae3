//! Facts about a row that change nothing: probabilities and the largest logits.

use lapwing_kernels::{Candidate, Level, log_sum_exp, top_k, top_k_buffer_len};

/// The natural logarithm of a token's softmax probability; nats.
///
/// Shapes: `logits [n_vocab]`. `None` when the token is outside the row or the
/// row has no distribution: empty, all NaN or `-inf`, with `+inf`, or NaN at
/// the token.
#[must_use]
pub fn log_probability(level: Level, logits: &[f32], token: u32) -> Option<f64> {
    let logit = *logits.get(usize::try_from(token).ok()?)?;
    let normaliser = log_sum_exp(level, logits);
    (normaliser.is_finite() && !logit.is_nan()).then(|| f64::from(logit) - normaliser)
}

/// The `n` largest logits: logit descending, then id ascending; NaN left out.
///
/// Shapes: `logits [n_vocab]`, the result `[min(n, n_vocab)]` or shorter by the NaN.
#[must_use]
pub fn top_logits(level: Level, logits: &[f32], n: usize) -> Vec<Candidate> {
    let mut buffer = vec![Candidate::default(); top_k_buffer_len(logits.len(), n)];
    let n_found = top_k(level, logits, n, &mut buffer).len();
    buffer.truncate(n_found);
    buffer
}

#[cfg(test)]
mod tests {
    use super::{log_probability, top_logits};
    use lapwing_kernels::{Candidate, Level};

    #[test]
    fn log_probabilities_of_special_rows() {
        let check = |logits: &[f32], token: u32, expected: Option<f64>| {
            let found = log_probability(Level::SCALAR, logits, token);
            assert_eq!(found, expected, "{logits:?} {token}");
        };
        check(&[0.0, 0.0, 0.0, 0.0], 3, Some(-(4f64.ln())));
        check(&[0.0, f32::NEG_INFINITY], 1, Some(f64::NEG_INFINITY));
        check(&[0.0, f32::NEG_INFINITY], 0, Some(0.0));
        check(&[0.0, 1.0], 2, None);
        check(&[], 0, None);
        check(&[f32::NEG_INFINITY; 2], 0, None);
        check(&[0.0, f32::NAN], 1, None);
        check(&[0.0, f32::INFINITY], 1, None);
    }

    #[test]
    fn top_logits_are_in_order() {
        let logits = [1.0, 3.0, f32::NAN, 3.0, -2.0];
        let of = |token_idx, logit| Candidate { token_idx, logit };
        let check = |n: usize, expected: &[Candidate]| {
            assert_eq!(top_logits(Level::SCALAR, &logits, n), expected, "{n}");
        };
        check(0, &[]);
        check(2, &[of(1, 3.0), of(3, 3.0)]);
        check(9, &[of(1, 3.0), of(3, 3.0), of(0, 1.0), of(4, -2.0)]);
    }
}
