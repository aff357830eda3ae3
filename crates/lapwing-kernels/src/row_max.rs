//! Row maximum: the first pass of softmax and of the greedy choice.

use crate::level::{Isa, Level};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

/// The largest logit of one row; `-inf` when the row is empty or all NaN.
///
/// Shapes: `logits [n_vocab]`. NaN is ignored, as in [`f32::max`]; of 0.0 and
/// -0.0 either may come back.
#[must_use]
pub fn row_max(level: Level, logits: &[f32]) -> f32 {
    match level.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx2 and fma.
        Isa::Avx2 => unsafe { avx2::row_max(logits) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx512f.
        Isa::Avx512 => unsafe { avx512::row_max(logits) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: `Level` proves neon.
        Isa::Neon => unsafe { neon::row_max(logits) },
        _ => scalar::row_max(logits),
    }
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
            for level in Level::available() {
                assert_eq!(row_max(level, &row.logits), expected, "{level:?} {}", row.name);
            }
        }
    }

    #[test]
    fn every_level_ignores_nan() {
        for level in Level::available() {
            for nan_idx in 0..140 {
                let mut logits = vec![-3.0; 140];
                logits[nan_idx] = f32::NAN;
                assert_eq!(row_max(level, &logits), -3.0, "{level:?} {nan_idx}");
            }
        }
    }

    #[test]
    fn an_empty_row_and_an_all_nan_row_are_minus_infinity() {
        for level in Level::available() {
            for len in [0, 1, 16, 67] {
                let logits = vec![f32::NAN; len];
                assert_eq!(row_max(level, &logits), f32::NEG_INFINITY, "{level:?} {len}");
            }
        }
    }
}
