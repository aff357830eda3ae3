//! Products of rows of `f32` with matrices that are not quantised.

use crate::floats::Floats;
use crate::level::{Level, dispatch};
use crate::tiles::N_TILE_ROWS;

mod scalar;
mod vector;

/// The products of an output are kept in this many partial sums: column `k` goes to `k % 4`.
const N_SUMS: usize = 4;

/// `out[r][i]` is the product of row `r` of the activations with row `i` of the weights.
///
/// Shapes: `weights [n_tiles][n_columns][16]`, sixteen rows of a matrix side by side
/// and a column after the other; `rows [n_rows][n_columns]`,
/// `out [n_rows][16 * n_tiles]`.
///
/// Each product is added with one rounding, to one of four partial sums in the order
/// of the columns, and the result is `(s0 + s1) + (s2 + s3)`: the same bits on every
/// level, for one row or many, and however the tiles are split.
///
/// # Panics
///
/// When the slices are not of these sizes or `n_columns` is zero.
pub fn matmul_floats(
    level: Level,
    weights: Floats<'_>,
    n_columns: usize,
    rows: &[f32],
    out: &mut [f32],
) {
    assert_ne!(n_columns, 0, "columns of a row");
    let n_tiles = weights.len() / (n_columns * N_TILE_ROWS);
    assert_eq!(weights.len(), n_tiles * n_columns * N_TILE_ROWS, "weights of whole tiles");
    let n_rows = rows.len() / n_columns;
    assert_eq!(rows.len(), n_rows * n_columns, "activations of columns");
    assert_eq!(out.len(), n_rows * n_tiles * N_TILE_ROWS, "outputs of all rows");
    match weights {
        Floats::F16(weights) => dispatch!(
            level,
            matmul(weights: &[[u8; 2]], n_columns: usize, rows: &[f32], out: &mut [f32])
        ),
        Floats::F32(weights) => dispatch!(
            level,
            matmul(weights: &[f32], n_columns: usize, rows: &[f32], out: &mut [f32])
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::matmul_floats;
    use crate::Level;
    use crate::f16::{f16_from_f32, f16_to_f32};
    use crate::floats::Floats;
    use crate::oracle::{bits, spread_from};

    fn multiply(level: Level, weights: Floats<'_>, n_columns: usize, rows: &[f32]) -> Vec<f32> {
        let n_out = weights.len() / n_columns;
        let mut out = vec![f32::NAN; rows.len() / n_columns * n_out];
        matmul_floats(level, weights, n_columns, rows, &mut out);
        out
    }

    #[test]
    fn every_level_and_both_formats_give_the_bits_of_the_definition() {
        for n_columns in [1, 2, 3, 4, 5, 63, 64, 65, 576] {
            let weights = spread_from(3 * 16 * n_columns, 3);
            let f16: Vec<[u8; 2]> = weights.iter().map(|&x| f16_from_f32(x)).collect();
            let f32: Vec<f32> = f16.iter().map(|&x| f16_to_f32(x)).collect();
            let mut all = spread_from(11 * n_columns, 5);
            all[n_columns] = -0.0;
            let expected = multiply(Level::SCALAR, Floats::F32(&f32), n_columns, &all);
            for n_rows in [1, 2, 3, 4, 5, 11] {
                let rows = &all[..n_rows * n_columns];
                for level in Level::available_for_floats() {
                    for weights in [Floats::F16(&f16), Floats::F32(&f32)] {
                        let found = multiply(level, weights, n_columns, rows);
                        let expected = &expected[..n_rows * 48];
                        assert!(bits(&found) == bits(expected), "{level:?} {n_columns} {n_rows}");
                    }
                    // A tile alone gives what it gives among others.
                    let tile = Floats::F16(&f16[16 * n_columns..32 * n_columns]);
                    for (row, out) in multiply(level, tile, n_columns, rows).chunks(16).enumerate()
                    {
                        assert_eq!(out, &expected[row * 48 + 16..][..16], "{level:?} {row}");
                    }
                }
            }
        }
    }

    #[test]
    fn is_close_to_the_definition_in_f64() {
        let (n_columns, n_rows) = (300, 2);
        let weights = spread_from(32 * n_columns, 7);
        let rows = spread_from(n_rows * n_columns, 9);
        let found = multiply(Level::detect(), Floats::F32(&weights), n_columns, &rows);
        for (row, out) in found.chunks(32).enumerate() {
            for (idx, &found) in out.iter().enumerate() {
                let weight = |k: usize| weights[(idx / 16 * n_columns + k) * 16 + idx % 16];
                let term = |k| f64::from(weight(k)) * f64::from(rows[row * n_columns + k]);
                let expected: f64 = (0..n_columns).map(term).sum();
                let size: f64 = (0..n_columns).map(|k| term(k).abs()).sum();
                assert!((f64::from(found) - expected).abs() <= 1e-6 * size, "{row} {idx}");
            }
        }
    }

    #[test]
    fn a_row_with_nan_is_nan_and_no_other() {
        let weights = spread_from(16 * 40, 7);
        let mut rows = spread_from(5 * 40, 9);
        rows[2 * 40 + 17] = f32::NAN;
        for level in Level::available_for_floats() {
            let found = multiply(level, Floats::F32(&weights), 40, &rows);
            for (row, out) in found.chunks(16).enumerate() {
                assert_eq!(out.iter().all(|x| x.is_nan()), row == 2, "{level:?} {row}");
            }
        }
    }
}
