//! The first position of a row that holds a value, or NaN.

use crate::level::{Isa, Level};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

/// The lowest index whose logit equals `value`; `None` when there is none.
///
/// Shapes: `logits [n_vocab]`. Equality is that of `f32`: 0.0 equals -0.0, and
/// nothing equals NaN.
#[must_use]
pub fn row_find_equal(level: Level, logits: &[f32], value: f32) -> Option<usize> {
    match level.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx2 and fma.
        Isa::Avx2 => unsafe { avx2::row_find_equal(logits, value) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx512f.
        Isa::Avx512 => unsafe { avx512::row_find_equal(logits, value) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: `Level` proves neon.
        Isa::Neon => unsafe { neon::row_find_equal(logits, value) },
        _ => scalar::row_find_equal(logits, value),
    }
}

/// The lowest index that holds NaN; `None` when the row has none.
///
/// Shapes: `logits [n_vocab]`.
#[must_use]
pub fn row_find_nan(level: Level, logits: &[f32]) -> Option<usize> {
    match level.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx2 and fma.
        Isa::Avx2 => unsafe { avx2::row_find_nan(logits) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx512f.
        Isa::Avx512 => unsafe { avx512::row_find_nan(logits) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: `Level` proves neon.
        Isa::Neon => unsafe { neon::row_find_nan(logits) },
        _ => scalar::row_find_nan(logits),
    }
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
                for level in Level::available() {
                    let found = row_find_equal(level, &row.logits, value);
                    assert_eq!(found, expected, "{level:?} {} {value}", row.name);
                }
            }
            let expected = scalar::row_find_nan(&row.logits);
            for level in Level::available() {
                assert_eq!(row_find_nan(level, &row.logits), expected, "{level:?} {}", row.name);
            }
        }
    }

    #[test]
    fn the_lowest_index_wins_at_every_position() {
        for level in Level::available() {
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
