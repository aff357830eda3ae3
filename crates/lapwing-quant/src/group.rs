//! One scale and one zero point for a few neighbouring columns.

use crate::search::{Interval, best_interval, round};

/// How wide a code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// Two codes a byte.
    Four,
    /// One code a byte.
    Eight,
}

/// How a matrix is cut and coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Width of a code.
    pub bits: Bits,
    /// Columns that share a scale; the number of columns for one scale a row. A row's last group
    /// may be shorter.
    pub group_size: usize,
    /// Whether every zero point is [`Bits::middle`].
    pub symmetric: bool,
}

/// One weight matrix `[n_rows, n_columns]` quantised along its columns:
/// `weight = (code - zero_point) * scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupQuantized {
    /// Rows.
    pub n_rows: usize,
    /// Columns.
    pub n_columns: usize,
    /// How it was cut.
    pub grid: Grid,
    /// Unsigned codes, [`GroupQuantized::n_row_bytes`] a row. With four bits two a byte, the low
    /// nibble first; a row of an odd number of columns ends in an unused high nibble.
    pub codes: Vec<u8>,
    /// Scales `[n_rows, n_groups]`, each exact in f16; may be negative.
    pub scales: Vec<f32>,
    /// Zero points `[n_rows, n_groups]`, one a byte.
    pub zero_points: Vec<u8>,
}

/// Why weights cannot be quantised.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QuantizeError {
    /// The slice does not hold the matrix.
    #[error("expected {n_rows} x {n_columns} weights, found {found}")]
    Length {
        /// Rows asked for.
        n_rows: usize,
        /// Columns asked for.
        n_columns: usize,
        /// Weights given.
        found: usize,
    },
    /// A group of no columns.
    #[error("expected a group of at least one column, found 0")]
    EmptyGroup,
    /// A weight is NaN or infinite.
    #[error("weight [{row_idx}, {column_idx}]: expected a finite number, found {found}")]
    NotFinite {
        /// Its row.
        row_idx: usize,
        /// Its column.
        column_idx: usize,
        /// The weight.
        found: f32,
    },
    /// A group needs a scale that f16 cannot hold.
    #[error("weight [{row_idx}, {column_idx}]: {found} is too large for a scale in f16")]
    TooLarge {
        /// Its row.
        row_idx: usize,
        /// Its column.
        column_idx: usize,
        /// The weight.
        found: f32,
    },
}

/// Matrices below this are not worth a second thread.
const N_THREADED_WEIGHTS_MIN: usize = 1 << 18;

impl Bits {
    /// The largest code.
    pub fn code_max(self) -> u8 {
        match self {
            Bits::Four => 15,
            Bits::Eight => 255,
        }
    }

    /// The zero point of a symmetric grid: 8 or 128.
    pub fn middle(self) -> u8 {
        self.code_max() / 2 + 1
    }

    /// Codes in one byte.
    pub fn n_per_byte(self) -> usize {
        match self {
            Bits::Four => 2,
            Bits::Eight => 1,
        }
    }
}

/// Quantise a matrix.
///
/// Each group's scale is rounded to f16 before its codes are chosen, so that storing scales in f16
/// costs nothing more. A symmetric group maps its largest weight to the lowest code, which uses the
/// full range; an asymmetric one covers its least to its largest weight and zero. Then a few
/// neighbouring scales are tried and the least squared error wins. A group of zeros gets scale 1.
///
/// Shapes: `weights [n_rows, n_columns]`, row-major.
///
/// # Errors
///
/// When the number of weights is wrong, the group is empty, or a weight is not finite or too large.
pub fn quantize(
    weights: &[f32],
    n_rows: usize,
    n_columns: usize,
    grid: Grid,
) -> Result<GroupQuantized, QuantizeError> {
    if n_rows.checked_mul(n_columns) != Some(weights.len()) {
        return Err(QuantizeError::Length { n_rows, n_columns, found: weights.len() });
    }
    if grid.group_size == 0 {
        return Err(QuantizeError::EmptyGroup);
    }
    check_weights(weights, n_columns, grid.bits)?;
    let n_groups = n_columns.div_ceil(grid.group_size);
    let n_row_bytes = n_columns.div_ceil(grid.bits.n_per_byte());
    let mut quantized = GroupQuantized {
        n_rows,
        n_columns,
        grid,
        codes: vec![0; n_rows * n_row_bytes],
        scales: vec![0.0; n_rows * n_groups],
        zero_points: vec![0; n_rows * n_groups],
    };
    let n_first = if weights.len() < N_THREADED_WEIGHTS_MIN { n_rows } else { n_rows / 2 };
    let (weights, weights_behind) = weights.split_at(n_first * n_columns);
    let (codes, codes_behind) = quantized.codes.split_at_mut(n_first * n_row_bytes);
    let (scales, scales_behind) = quantized.scales.split_at_mut(n_first * n_groups);
    let (zeros, zeros_behind) = quantized.zero_points.split_at_mut(n_first * n_groups);
    let first = Rows { n_columns, grid, codes, scales, zero_points: zeros };
    let behind = Rows {
        n_columns,
        grid,
        codes: codes_behind,
        scales: scales_behind,
        zero_points: zeros_behind,
    };
    if weights_behind.is_empty() {
        first.fill(weights);
    } else {
        std::thread::scope(|scope| {
            scope.spawn(|| behind.fill(weights_behind));
            first.fill(weights);
        });
    }
    Ok(quantized)
}

/// Refuse what no scale in f16 can hold.
fn check_weights(weights: &[f32], n_columns: usize, bits: Bits) -> Result<(), QuantizeError> {
    // A scale is at most the largest weight over this; asymmetric groups spread further.
    let limit = f32::from(half::f16::MAX) * f32::from(bits.middle() - 1);
    // NaN is not below any limit.
    let is_fine = |weight: &f32| weight.abs() <= limit;
    for (row_idx, row) in weights.chunks(n_columns.max(1)).enumerate() {
        let Some(column_idx) = row.iter().position(|weight| !is_fine(weight)) else { continue };
        let found = row[column_idx];
        return Err(if found.is_finite() {
            QuantizeError::TooLarge { row_idx, column_idx, found }
        } else {
            QuantizeError::NotFinite { row_idx, column_idx, found }
        });
    }
    Ok(())
}

/// A run of rows that one thread fills.
struct Rows<'a> {
    n_columns: usize,
    grid: Grid,
    codes: &'a mut [u8],
    scales: &'a mut [f32],
    zero_points: &'a mut [u8],
}

impl Rows<'_> {
    fn fill(self, weights: &[f32]) {
        if self.n_columns == 0 {
            return;
        }
        let bits = self.grid.bits;
        let n_groups = self.n_columns.div_ceil(self.grid.group_size);
        let n_row_bytes = self.n_columns.div_ceil(bits.n_per_byte());
        let mut row_codes = vec![0u8; self.n_columns];
        let rows =
            weights.chunks_exact(self.n_columns).zip(self.codes.chunks_exact_mut(n_row_bytes));
        let scales = self.scales.chunks_exact_mut(n_groups);
        let zero_points = self.zero_points.chunks_exact_mut(n_groups);
        for (((weights, packed), scales), zeros) in rows.zip(scales).zip(zero_points) {
            let groups = weights.chunks(self.grid.group_size);
            let groups = groups.zip(row_codes.chunks_mut(self.grid.group_size));
            for (((weights, codes), scale), zero) in groups.zip(scales).zip(zeros) {
                let interval = best_interval(weights, bits, self.grid.symmetric);
                *scale = interval.scale;
                *zero = interval.zero_point;
                encode(weights, interval, bits, codes);
            }
            pack(&row_codes, bits, packed);
        }
    }
}

fn encode(weights: &[f32], interval: Interval, bits: Bits, codes: &mut [u8]) {
    let inverse = interval.inverse();
    let zero_point = f32::from(interval.zero_point);
    let (low, high) = (-zero_point, f32::from(bits.code_max()) - zero_point);
    for (code, &weight) in codes.iter_mut().zip(weights) {
        *code = (round((weight * inverse).clamp(low, high)) + zero_point) as u8;
    }
}

fn pack(codes: &[u8], bits: Bits, packed: &mut [u8]) {
    match bits {
        Bits::Eight => packed.copy_from_slice(codes),
        Bits::Four => {
            for (byte, pair) in packed.iter_mut().zip(codes.chunks(2)) {
                *byte = pair[0] | pair.get(1).map_or(0, |high| high << 4);
            }
        }
    }
}

impl GroupQuantized {
    /// Groups of a row.
    pub fn n_groups(&self) -> usize {
        self.n_columns.div_ceil(self.grid.group_size.max(1))
    }

    /// Bytes of a row of [`GroupQuantized::codes`].
    pub fn n_row_bytes(&self) -> usize {
        self.n_columns.div_ceil(self.grid.bits.n_per_byte())
    }

    /// Write the weights that the codes stand for.
    ///
    /// Shapes: `out [n_rows, n_columns]`.
    ///
    /// # Panics
    ///
    /// When `out` or a field has a length other than the shapes say.
    pub fn dequantize(&self, out: &mut [f32]) {
        let n_weights = self.n_rows * self.n_columns;
        assert_eq!(out.len(), n_weights, "room for {} of {n_weights} weights", out.len());
        if n_weights == 0 {
            return;
        }
        let n_groups = self.n_groups();
        for (row_idx, row) in out.chunks_exact_mut(self.n_columns).enumerate() {
            let codes = &self.codes[row_idx * self.n_row_bytes()..][..self.n_row_bytes()];
            for (group_idx, group) in row.chunks_mut(self.grid.group_size).enumerate() {
                let first_column = group_idx * self.grid.group_size;
                let scale = self.scales[row_idx * n_groups + group_idx];
                let zero_point = f32::from(self.zero_points[row_idx * n_groups + group_idx]);
                for (offset, weight) in group.iter_mut().enumerate() {
                    let column_idx = first_column + offset;
                    let code = match self.grid.bits {
                        Bits::Eight => codes[column_idx],
                        Bits::Four => (codes[column_idx / 2] >> (4 * (column_idx % 2))) & 15,
                    };
                    *weight = (f32::from(code) - zero_point) * scale;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
