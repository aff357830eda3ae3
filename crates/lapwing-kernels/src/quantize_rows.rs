//! Activations as codes of eight bits, in groups of 32 with a scale each.

use crate::level::{Level, dispatch};

mod scalar;
mod vector;

/// How many activations share a scale.
pub const N_GROUP: usize = 32;

/// A group whose largest magnitude is below this counts as zeros: further down
/// the inverse of a scale overflows.
const MAGNITUDE_MIN: f32 = 1e-30;

/// The largest code: symmetric, so that no product of two bytes is beyond 2^15.
const CODE_MAX: f32 = 127.0;

/// A plane's codes are this many to half a step of the plane above it.
const PLANE_STEP: f32 = 2.0 * CODE_MAX;

/// 32 activations: `code * scale`, and what a product with them needs beside the codes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct QuantizedGroup {
    /// From -127 to 127.
    pub codes: [i8; N_GROUP],
    /// NaN where an activation is NaN or an infinity, so that all results of the row are NaN.
    pub scale: f32,
    /// The sums of the first sixteen codes and of the others.
    pub sums: [i16; 2],
}

/// Quantise rows of activations: `codes = round(x * 127 / max|x|)`, ties to even,
/// and `scale = max|x| / 127` of each group of 32.
///
/// Shapes: `rows [n_rows][n_columns]`, `out [n_rows][n_columns / 32, rounded up]`.
/// What fills up the last group is zero. A group whose magnitudes are all below
/// 1e-30 is zeros. The same bits on every level.
///
/// # Panics
///
/// When `out` has another number of groups or `n_columns` is zero.
pub fn quantize_rows(level: Level, rows: &[f32], n_columns: usize, out: &mut [QuantizedGroup]) {
    let n_groups = n_groups(rows, n_columns, out.len());
    for (row, out) in rows.chunks_exact(n_columns).zip(out.chunks_exact_mut(n_groups)) {
        dispatch!(level, quantize(row: &[f32], out: &mut [QuantizedGroup]));
    }
}

/// [`quantize_rows`] twice: `second` has what `first` left over, in steps of
/// `1 / 254` of the first one's scale.
///
/// The sum of a product with the one and of that with the other is as good as one
/// with activations of sixteen bits. `second` is of the shape of `first`.
///
/// # Panics
///
/// As [`quantize_rows`].
pub fn quantize_rows_in_two(
    level: Level,
    rows: &[f32],
    n_columns: usize,
    first: &mut [QuantizedGroup],
    second: &mut [QuantizedGroup],
) {
    let n_groups = n_groups(rows, n_columns, first.len());
    assert_eq!(first.len(), second.len(), "groups of both planes");
    let planes = first.chunks_exact_mut(n_groups).zip(second.chunks_exact_mut(n_groups));
    for (row, (first, second)) in rows.chunks_exact(n_columns).zip(planes) {
        dispatch!(
            level,
            quantize_in_two(
                row: &[f32],
                first: &mut [QuantizedGroup],
                second: &mut [QuantizedGroup],
            )
        );
    }
}

fn n_groups(rows: &[f32], n_columns: usize, n_out: usize) -> usize {
    assert_ne!(n_columns, 0, "columns of a row");
    let n_groups = n_columns.div_ceil(N_GROUP);
    assert!(rows.len().is_multiple_of(n_columns), "{} activations, {n_columns} a row", rows.len());
    assert_eq!(n_out, rows.len() / n_columns * n_groups, "groups of all rows");
    n_groups
}

/// How a group is turned into codes, or that it is zeros or none.
#[derive(Clone, Copy)]
struct Scaling {
    scale: f32,
    inverse: f32,
}

impl Scaling {
    #[inline(always)]
    fn new(largest: f32, is_finite: bool) -> Scaling {
        if !is_finite {
            Scaling { scale: f32::NAN, inverse: 0.0 }
        } else if largest < MAGNITUDE_MIN {
            Scaling { scale: 0.0, inverse: 0.0 }
        } else {
            Scaling { scale: largest / CODE_MAX, inverse: CODE_MAX / largest }
        }
    }

    /// That of what codes of this one leave over.
    #[inline(always)]
    fn of_rest(self) -> Scaling {
        Scaling { scale: self.scale / PLANE_STEP, inverse: self.inverse * PLANE_STEP }
    }
}

/// The sums of the halves of a group.
#[inline(always)]
fn sums(codes: &[i8; N_GROUP]) -> [i16; 2] {
    let (halves, _) = codes.as_chunks::<16>();
    let mut sums = [0; 2];
    for (sum, half) in sums.iter_mut().zip(halves) {
        for &code in half {
            *sum += i16::from(code);
        }
    }
    sums
}

#[cfg(test)]
pub(crate) mod tests;
