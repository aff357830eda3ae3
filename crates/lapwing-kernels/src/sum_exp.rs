//! The sum of exponentials of a row: the denominator of softmax.

use crate::exp::exp_nonpositive;
use crate::lanes::N_LANES;
use crate::level::{Level, dispatch};
use crate::row_max;

mod scalar;
mod vector;

/// The sum is kept in this many partial sums, on every level: logit `i` goes to `i % 16`.
const N_SUMS: usize = N_LANES;

/// `ln` of the sum of `exp(logit)` over one row, in nats.
///
/// Shapes: `logits [n_vocab]`. NaN and `-inf` add nothing; a row that is empty
/// or holds nothing else gives `-inf`, a row with `+inf` gives `+inf`.
/// The terms are `f32` (relative error below 2e-7), the sum is `f64`.
#[must_use]
pub fn log_sum_exp(level: Level, logits: &[f32]) -> f64 {
    let max = row_max(level, logits);
    if max.is_infinite() {
        return f64::from(max);
    }
    f64::from(max) + sum_exp(level, logits, max, 1.0).ln()
}

/// The sum of `exp((logit - max) * scale)` over one row: the same bits on every level.
///
/// Shapes: `logits [n_vocab]`. `max` is the row's finite maximum, `scale` the
/// positive, finite inverse of the temperature. Each term is
/// [`exp_nonpositive`], so NaN, `-inf` and terms below `exp(-87)` add nothing.
#[must_use]
pub fn sum_exp(level: Level, logits: &[f32], max: f32, scale: f32) -> f64 {
    let (groups, tail) = logits.as_chunks::<N_SUMS>();
    let mut sums = dispatch!(
        level,
        sum_exp(groups: &[[f32; N_SUMS]], max: f32, scale: f32) -> [f64; N_SUMS]
    );
    for (sum, &logit) in sums.iter_mut().zip(tail) {
        *sum += f64::from(exp_nonpositive((logit - max) * scale));
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::{log_sum_exp, sum_exp};
    use crate::oracle::{N_VOCABS, rows, spread};
    use crate::{Level, row_max};

    #[test]
    fn every_level_returns_the_same_bits() {
        for row in rows() {
            let max = row_max(Level::SCALAR, &row.logits);
            for scale in [1.0, 0.3, 1.7, 1e30] {
                let expected = sum_exp(Level::SCALAR, &row.logits, max, scale);
                for level in Level::available_for_floats() {
                    let sum = sum_exp(level, &row.logits, max, scale);
                    assert_eq!(sum.to_bits(), expected.to_bits(), "{level:?} {}", row.name);
                }
            }
        }
    }

    #[test]
    fn is_close_to_the_definition_in_f64() {
        for len in (1..=67).chain(N_VOCABS) {
            let logits = spread(len);
            let expected = logits.iter().map(|&logit| f64::from(logit).exp()).sum::<f64>().ln();
            for level in Level::available_for_floats() {
                let found = log_sum_exp(level, &logits);
                assert!((found - expected).abs() < 1e-6, "{level:?} {len}: {found} {expected}");
            }
        }
    }

    #[test]
    fn special_rows() {
        let check = |logits: &[f32], expected: f64| {
            for level in Level::available_for_floats() {
                assert_eq!(log_sum_exp(level, logits), expected, "{level:?} {logits:?}");
            }
        };
        check(&[], f64::NEG_INFINITY);
        check(&[f32::NAN; 20], f64::NEG_INFINITY);
        check(&[f32::NEG_INFINITY; 67], f64::NEG_INFINITY);
        check(&[0.0, f32::INFINITY, f32::NAN], f64::INFINITY);
        check(&[f32::NAN, 5.0, f32::NEG_INFINITY], 5.0);
        check(&[1e38, -1e38], f64::from(1e38f32));
        check(&[0.0; 32], 32f64.ln());
    }
}
