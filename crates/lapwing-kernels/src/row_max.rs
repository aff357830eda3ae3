//! Row maximum: the first pass of softmax and of the greedy choice.

use crate::level::{Level, dispatch};

mod scalar;
mod vector;

/// The largest logit of one row; `-inf` when the row is empty or all NaN.
///
/// Shapes: `logits [n_vocab]`. NaN is ignored, as in [`f32::max`]; of 0.0 and
/// -0.0 either may come back.
#[must_use]
pub fn row_max(level: Level, logits: &[f32]) -> f32 {
    dispatch!(level, row_max(logits: &[f32]) -> f32)
}

#[cfg(test)]
mod tests {
    use super::{row_max, scalar};
    use crate::Level;
    use crate::oracle::rows;

    #[test]
    fn every_level_agrees_with_scalar() {
        for row in rows() {
            let expected = scalar::row_max(&row.logits);
            for level in Level::available_for_floats() {
                assert_eq!(row_max(level, &row.logits), expected, "{level:?} {}", row.name);
            }
        }
    }

    #[test]
    fn every_level_ignores_nan() {
        for level in Level::available_for_floats() {
            for nan_idx in 0..140 {
                let mut logits = vec![-3.0; 140];
                logits[nan_idx] = f32::NAN;
                assert_eq!(row_max(level, &logits), -3.0, "{level:?} {nan_idx}");
            }
        }
    }

    #[test]
    fn an_empty_row_and_an_all_nan_row_are_minus_infinity() {
        for level in Level::available_for_floats() {
            for len in [0, 1, 16, 67] {
                let logits = vec![f32::NAN; len];
                assert_eq!(row_max(level, &logits), f32::NEG_INFINITY, "{level:?} {len}");
            }
        }
    }
}
