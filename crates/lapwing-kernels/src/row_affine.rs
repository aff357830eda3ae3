//! Shift and scale the finite entries of a row, in place.

use crate::level::{Level, dispatch};

mod scalar;
mod vector;

/// `row[i] += offset[i]` where `row[i]` is finite.
///
/// Shapes: `row [n]`, `offset [n]`, finite. NaN and both infinities in the row
/// stay what they are, to the bit.
///
/// # Panics
///
/// When the slices differ in length.
pub fn add_offset(level: Level, row: &mut [f32], offset: &[f32]) {
    assert_eq!(row.len(), offset.len(), "row and offset");
    dispatch!(level, add_offset(row: &mut [f32], offset: &[f32]))
}

/// `row[i] = (row[i] - from_mean) * scale + to_mean` where `row[i]` is finite.
///
/// Shapes: `row [n]`. The three numbers are finite. NaN and both infinities in
/// the row stay what they are, to the bit. Each of the three steps is rounded.
pub fn affine_in_place(level: Level, row: &mut [f32], from_mean: f32, scale: f32, to_mean: f32) {
    dispatch!(level, affine_in_place(row: &mut [f32], from_mean: f32, scale: f32, to_mean: f32))
}

#[cfg(test)]
mod tests;
