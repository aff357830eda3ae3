//! The first position of a row that holds a value, or NaN.

use crate::level::{Level, dispatch};

mod scalar;
mod vector;

/// The lowest index whose logit equals `value`; `None` when there is none.
///
/// Shapes: `logits [n_vocab]`. Equality is that of `f32`: 0.0 equals -0.0, and
/// nothing equals NaN.
#[must_use]
pub fn row_find_equal(level: Level, logits: &[f32], value: f32) -> Option<usize> {
    dispatch!(level, row_find_equal(logits: &[f32], value: f32) -> Option<usize>)
}

/// The lowest index that holds NaN; `None` when the row has none.
///
/// Shapes: `logits [n_vocab]`.
#[must_use]
pub fn row_find_nan(level: Level, logits: &[f32]) -> Option<usize> {
    dispatch!(level, row_find_nan(logits: &[f32]) -> Option<usize>)
}

#[cfg(test)]
mod tests {
    use super::{row_find_equal, row_find_nan, scalar};
    use crate::Level;
    use crate::oracle::rows;

    #[test]
    fn every_level_agrees_with_scalar() {
        for row in rows() {
            for value in [f32::INFINITY, f32::NEG_INFINITY, 0.0, 3.0, f32::NAN] {
                let expected = scalar::row_find_equal(&row.logits, value);
                for level in Level::available_for_floats() {
                    let found = row_find_equal(level, &row.logits, value);
                    assert_eq!(found, expected, "{level:?} {} {value}", row.name);
                }
            }
            let expected = scalar::row_find_nan(&row.logits);
            for level in Level::available_for_floats() {
                assert_eq!(row_find_nan(level, &row.logits), expected, "{level:?} {}", row.name);
            }
        }
    }

    #[test]
    fn the_lowest_index_wins_at_every_position() {
        for level in Level::available_for_floats() {
            for first_idx in 0..200 {
                let mut logits = vec![0.0f32; 200];
                logits[first_idx..].fill(1.0);
                assert_eq!(row_find_equal(level, &logits, 1.0), Some(first_idx), "{level:?}");
                logits[first_idx..].fill(f32::NAN);
                assert_eq!(row_find_nan(level, &logits), Some(first_idx), "{level:?}");
            }
        }
    }
}
