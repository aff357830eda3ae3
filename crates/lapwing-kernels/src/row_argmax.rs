//! The index of the largest logit: the greedy choice.

use crate::{Level, row_find_equal, row_max};

/// The index of the largest logit; ties go to the lower index.
///
/// Shapes: `logits [n_vocab]`. NaN is ignored; `None` when the row is empty or
/// all NaN. `-inf` is a value like any other: a row of nothing else gives 0.
///
/// Two passes, the maximum and then its first position: the second needs no
/// index arithmetic and stops early.
#[must_use]
pub fn row_argmax(level: Level, logits: &[f32]) -> Option<usize> {
    row_find_equal(level, logits, row_max(level, logits))
}

#[cfg(test)]
mod tests {
    use super::row_argmax;
    use crate::Level;
    use crate::oracle::rows;

    /// The definition, in one pass.
    fn expected(logits: &[f32]) -> Option<usize> {
        let mut best: Option<usize> = None;
        for (idx, &logit) in logits.iter().enumerate() {
            if !logit.is_nan() && best.is_none_or(|best| logits[best] < logit) {
                best = Some(idx);
            }
        }
        best
    }

    #[test]
    fn every_level_agrees_with_the_definition() {
        for row in rows() {
            for level in Level::available_for_floats() {
                let found = row_argmax(level, &row.logits);
                assert_eq!(found, expected(&row.logits), "{level:?} {}", row.name);
            }
        }
    }

    #[test]
    fn special_rows() {
        let check = |logits: &[f32], expected: Option<usize>| {
            for level in Level::available_for_floats() {
                assert_eq!(row_argmax(level, logits), expected, "{level:?} {logits:?}");
            }
        };
        check(&[], None);
        check(&[f32::NAN; 40], None);
        check(&[f32::NEG_INFINITY; 40], Some(0));
        check(&[f32::NAN, f32::NEG_INFINITY], Some(1));
        check(&[-0.0, 0.0], Some(0));
        check(&[1.0, f32::INFINITY, f32::INFINITY], Some(1));
        check(&[2.0; 67], Some(0));
    }
}
