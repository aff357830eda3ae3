//! One scale and one zero point for a few neighbouring columns.

use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut1, Axis, Zip};

use crate::grid::{Bits, Grid};
use crate::search::{GroupScale, best_scale, round};

/// One weight matrix quantised along its columns: `weight = (code - zero_point) * scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupQuantized {
    /// Columns of the weights.
    pub n_columns: usize,
    /// How it was cut.
    pub grid: Grid,
    /// Unsigned codes, a row of weights a row. With four bits two a byte, the low nibble first; a
    /// row of an odd number of columns ends in an unused high nibble.
    pub codes: Array2<u8>,
    /// Scales `[n_rows, n_groups]`, each exact in f16; may be negative.
    pub scales: Array2<f32>,
    /// Zero points `[n_rows, n_groups]`, one a byte.
    pub zero_points: Array2<u8>,
}

/// Why weights cannot be quantised.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum QuantizeError {
    /// A group of no columns.
    #[error("expected a group of at least one column, found 0")]
    EmptyGroup,
    /// A weight is NaN or infinite.
    #[error("weight [{row_idx}, {column_idx}]: expected a finite number, found {found}")]
    NotFinite { row_idx: usize, column_idx: usize, found: f32 },
    /// A group needs a scale that f16 cannot hold.
    #[error(
        "weight [{row_idx}, {column_idx}]: expected at most {most}, which a scale in f16 reaches, \
         found {found}"
    )]
    TooLarge { row_idx: usize, column_idx: usize, most: f32, found: f32 },
}

/// Matrices below this are not worth a second thread.
const N_THREADED_WEIGHTS_MIN: usize = 1 << 18;

/// Quantise a matrix.
///
/// Each group's scale is rounded to f16 before its codes are chosen, so that storing scales in f16
/// costs nothing more. A symmetric group maps its largest weight to the lowest code, which uses the
/// full range; an asymmetric one covers its least to its largest weight and zero. Then a few
/// neighbouring scales are tried and the least squared error wins; in symmetric groups of 4 bits the
/// errors of larger weights count more. A group of zeros gets scale 1.
///
/// Shapes: `weights [n_rows, n_columns]`.
///
/// # Errors
///
/// When the group is empty, or a weight is not finite or too large.
pub fn quantize(weights: ArrayView2<'_, f32>, grid: Grid) -> Result<GroupQuantized, QuantizeError> {
    if grid.group_size == 0 {
        return Err(QuantizeError::EmptyGroup);
    }
    check_weights(weights, grid.bits)?;
    let (n_rows, n_columns) = weights.dim();
    let n_groups = n_columns.div_ceil(grid.group_size);
    let n_row_bytes = n_columns.div_ceil(grid.bits.n_per_byte());
    let mut codes = Array2::zeros((n_rows, n_row_bytes));
    let mut scales = Array2::zeros((n_rows, n_groups));
    let mut zero_points = Array2::zeros((n_rows, n_groups));
    let rows = Zip::from(weights.rows())
        .and(codes.rows_mut())
        .and(scales.rows_mut())
        .and(zero_points.rows_mut());
    let quantize_row = |weights: ArrayView1<'_, f32>,
                        codes: ArrayViewMut1<'_, u8>,
                        scales: ArrayViewMut1<'_, f32>,
                        zero_points: ArrayViewMut1<'_, u8>| {
        quantize_row(weights, grid, codes, scales, zero_points);
    };
    if weights.len() < N_THREADED_WEIGHTS_MIN {
        rows.for_each(quantize_row);
    } else {
        let (first, behind) = rows.split();
        std::thread::scope(|scope| {
            scope.spawn(|| behind.for_each(quantize_row));
            first.for_each(quantize_row);
        });
    }
    Ok(GroupQuantized { n_columns, grid, codes, scales, zero_points })
}

/// Refuse what no scale in f16 can hold.
fn check_weights(weights: ArrayView2<'_, f32>, bits: Bits) -> Result<(), QuantizeError> {
    // A scale is at most the largest weight over this; asymmetric groups spread further.
    let limit = f32::from(half::f16::MAX) * f32::from(bits.middle() - 1);
    // NaN is not below any limit.
    let is_fine = |weight: f32| weight.abs() <= limit;
    for (row_idx, row) in weights.rows().into_iter().enumerate() {
        let Some(column_idx) = row.iter().position(|&weight| !is_fine(weight)) else { continue };
        let found = row[column_idx];
        return Err(match found.is_finite() {
            true => QuantizeError::TooLarge { row_idx, column_idx, most: limit, found },
            false => QuantizeError::NotFinite { row_idx, column_idx, found },
        });
    }
    Ok(())
}

fn quantize_row(
    weights: ArrayView1<'_, f32>,
    grid: Grid,
    packed: ArrayViewMut1<'_, u8>,
    mut scales: ArrayViewMut1<'_, f32>,
    mut zero_points: ArrayViewMut1<'_, u8>,
) {
    let weights = weights.to_vec();
    let mut codes = vec![0_u8; weights.len()];
    let groups = weights.chunks(grid.group_size).zip(codes.chunks_mut(grid.group_size));
    let grids = scales.iter_mut().zip(&mut zero_points);
    for ((weights, codes), (scale, zero_point)) in groups.zip(grids) {
        let best = best_scale(weights, grid.bits, grid.symmetric);
        (*scale, *zero_point) = (best.scale, best.zero_point);
        encode(weights, best, grid.bits, codes);
    }
    pack(&codes, grid.bits, packed);
}

fn encode(weights: &[f32], scale: GroupScale, bits: Bits, codes: &mut [u8]) {
    let inverse = scale.inverse();
    let zero_point = f32::from(scale.zero_point);
    let (low, high) = (-zero_point, f32::from(bits.code_max()) - zero_point);
    for (code, &weight) in codes.iter_mut().zip(weights) {
        *code = (round((weight * inverse).clamp(low, high)) + zero_point) as u8;
    }
}

fn pack(codes: &[u8], bits: Bits, packed: ArrayViewMut1<'_, u8>) {
    for (byte, codes) in packed.into_iter().zip(codes.chunks(bits.n_per_byte())) {
        *byte = codes[0] | codes.get(1).map_or(0, |high| high << 4);
    }
}

impl GroupQuantized {
    /// Rows.
    pub fn n_rows(&self) -> usize {
        self.codes.nrows()
    }

    /// Groups of a row.
    pub fn n_groups(&self) -> usize {
        self.scales.ncols()
    }

    /// The weights that the codes stand for.
    ///
    /// Shapes: `[n_rows, n_columns]`.
    ///
    /// # Panics
    ///
    /// When a field has another shape than the others say.
    pub fn dequantize(&self) -> Array2<f32> {
        let mut weights = Array2::zeros((self.n_rows(), self.n_columns));
        Zip::from(weights.rows_mut())
            .and(self.codes.rows())
            .and(self.scales.rows())
            .and(self.zero_points.rows())
            .for_each(|mut weights, codes, scales, zero_points| {
                let groups = weights.axis_chunks_iter_mut(Axis(0), self.grid.group_size);
                let grids = scales.iter().zip(zero_points);
                let mut column_idx = 0;
                for (group, (scale, &zero_point)) in groups.zip(grids) {
                    for weight in group {
                        let code = match self.grid.bits {
                            Bits::Eight => codes[column_idx],
                            Bits::Four => codes[column_idx / 2] >> (4 * (column_idx % 2)) & 15,
                        };
                        *weight = (f32::from(code) - f32::from(zero_point)) * scale;
                        column_idx += 1;
                    }
                }
            });
        weights
    }
}

#[cfg(test)]
mod tests;
