//! Products of rows of quantised activations with tiles of quantised weights.

use crate::dots::dispatch_dots;
use crate::level::Level;
use crate::quantize_rows::QuantizedGroup;
use crate::tiles::{N_TILE_ROWS, Tiles};

mod few;
mod prompt;
mod scalar;
mod step;
mod vector;

/// Up to here the tiles are read once, group by group; more rows are worth
/// unpacking some columns of them first.
const N_FEW_ROWS: usize = 8;

/// `out[r][i]` is the product of row `r` of the activations with row `i` of the weights.
///
/// Shapes: `rows [n_rows][n_columns / 32, rounded up]`, `out [n_rows][16 * n_tiles]`.
///
/// An output is one number, to which the groups of columns are added in their
/// order: `out = fma(dot as f32, weight_scale * activation_scale, out)` with
/// `dot = Σ (code - zero) * x` as a whole number over as many columns as share both
/// scales, which are 32 or 16, and with minima then
/// `out = fma(minimum, activation_scale * Σ x as f32, out)`. So **the bits are the
/// same on every level**, for one row or many, and however the tiles are split.
///
/// A row with a scale of NaN is all NaN, and no other row is.
///
/// # Panics
///
/// When the slices are not of these sizes.
pub fn matmul_quantized(level: Level, tiles: Tiles<'_>, rows: &[QuantizedGroup], out: &mut [f32]) {
    let n_groups = tiles.layout().n_activation_groups();
    assert!(rows.len().is_multiple_of(n_groups), "{} groups, {n_groups} a row", rows.len());
    let n_out = rows.len() / n_groups * N_TILE_ROWS * tiles.n_tiles();
    assert_eq!(out.len(), n_out, "outputs of all rows");
    if out.is_empty() {
        return;
    }
    dispatch_dots!(
        level,
        matmul(tiles: Tiles<'_>, rows: &[QuantizedGroup], out: &mut [f32])
    )
}

#[cfg(test)]
mod tests;
