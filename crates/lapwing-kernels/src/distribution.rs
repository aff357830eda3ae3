//! A row of logits as a probability distribution.

use crate::{Level, row_find_nan, row_max, sum_exp};

/// A row together with its log-sum-exp, so that it is computed once.
#[derive(Clone, Copy, Debug)]
pub struct Distribution<'a> {
    row: &'a [f32],
    max: f32,
    /// `ln` of the sum of `exp(logit - max)`; never negative.
    log_sum: f64,
}

impl<'a> Distribution<'a> {
    /// The softmax of `row`; `None` where there is none: the row is empty, all
    /// `-inf`, or holds NaN or `+inf`.
    ///
    /// Shapes: `row [n_vocab]`. A single `-inf` is a probability of zero.
    #[must_use]
    pub fn new(level: Level, row: &'a [f32]) -> Option<Self> {
        let max = row_max(level, row);
        if max.is_infinite() || row_find_nan(level, row).is_some() {
            return None;
        }
        Some(Distribution { row, max, log_sum: sum_exp(level, row, max, 1.0).ln() })
    }

    /// The logarithm of the probability of one token, in nats: never positive,
    /// `-inf` where the logit is.
    ///
    /// # Panics
    ///
    /// When `token_idx` is not below the length of the row.
    #[must_use]
    pub fn log_probability(&self, token_idx: usize) -> f64 {
        f64::from(self.row[token_idx]) - f64::from(self.max) - self.log_sum
    }

    /// The logits.
    #[must_use]
    pub fn row(&self) -> &'a [f32] {
        self.row
    }

    /// The largest logit, which is finite.
    #[must_use]
    pub fn max(&self) -> f32 {
        self.max
    }

    /// `ln` of the sum of `exp(logit)`, in nats; finite.
    #[must_use]
    pub fn log_sum_exp(&self) -> f64 {
        f64::from(self.max) + self.log_sum
    }
}

#[cfg(test)]
mod tests {
    use super::Distribution;
    use crate::Level;
    use crate::oracle::{N_VOCABS, spread};

    #[test]
    fn is_close_to_the_definition_in_f64() {
        for len in (1..=67).chain(N_VOCABS) {
            let row = spread(len);
            let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
            for level in Level::available_for_floats() {
                let distribution = Distribution::new(level, &row).unwrap();
                for token_idx in [0, len / 2, len - 1] {
                    let found = distribution.log_probability(token_idx);
                    let expected = f64::from(row[token_idx]) - sum.ln();
                    assert!((found - expected).abs() < 1e-6, "{level:?} {len}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn special_rows() {
        const INFINITY: f32 = f32::INFINITY;
        let check = |row: &[f32], expected: Option<f64>| {
            for level in Level::available_for_floats() {
                let found = Distribution::new(level, row).map(|it| it.log_probability(0));
                assert_eq!(found, expected, "{level:?} {row:?}");
            }
        };
        check(&[], None);
        check(&[f32::NAN], None);
        check(&[0.0, f32::NAN], None);
        check(&[-INFINITY; 67], None);
        check(&[0.0, INFINITY], None);
        check(&[7.5], Some(0.0));
        check(&[-INFINITY, 3.0], Some(f64::NEG_INFINITY));
        check(&[2.0, 2.0, -INFINITY], Some(-(2f64.ln())));
    }
}
