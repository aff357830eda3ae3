//! Grids whose zero lies between two codes.

use half::f16;
use lapwing_formats::gguf::DType;

use super::{BLOCK_COLUMNS, Tensor, neighbours_paired};

/// Bytes of a `Q4_1` block: scale, minimum, codes.
const BLOCK_BYTES: usize = 4 + BLOCK_COLUMNS / 2;

/// One matrix of 4-bit codes: `weight = (code - zero_point) * scale`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AffineQuantized {
    /// Rows.
    pub(crate) n_rows: usize,
    /// Columns; a multiple of the group size.
    pub(crate) n_columns: usize,
    /// Columns that share a scale.
    pub(crate) group_size: usize,
    /// Two codes a byte, the low nibble first.
    pub(crate) codes: Vec<u8>,
    /// Scales `[n_rows, n_groups]`.
    pub(crate) scales: Vec<f16>,
    /// Zero points `[n_rows, n_groups]`.
    pub(crate) zero_points: Vec<f32>,
}

impl Tensor<'_> {
    /// The checkpoint's own quantisation where [`AffineQuantized`] holds it without loss: a matrix
    /// of `Q4_1`.
    pub(crate) fn own_affine_grid(&self) -> Option<AffineQuantized> {
        let &[n_rows, n_columns] = self.shape.as_slice() else { return None };
        if self.dtype != DType::Q4_1 || !n_columns.is_multiple_of(BLOCK_COLUMNS) {
            return None;
        }
        let n_blocks = n_rows * (n_columns / BLOCK_COLUMNS);
        let mut codes = Vec::with_capacity(n_blocks * BLOCK_COLUMNS / 2);
        let mut scales = Vec::with_capacity(n_blocks);
        let mut zero_points = Vec::with_capacity(n_blocks);
        for row_idx in 0..n_rows {
            for block in self.row(row_idx).chunks_exact(BLOCK_BYTES) {
                let scale = f16::from_le_bytes([block[0], block[1]]);
                let minimum = f16::from_le_bytes([block[2], block[3]]);
                if !scale.is_finite() || !minimum.is_finite() {
                    return None;
                }
                if scale.to_f32() == 0.0 {
                    // Every weight is the minimum, whatever its code.
                    codes.extend([0; BLOCK_COLUMNS / 2]);
                    scales.push(minimum);
                    zero_points.push(-1.0);
                } else {
                    codes.extend(neighbours_paired(&block[4..]));
                    scales.push(scale);
                    zero_points.push(-minimum.to_f32() / scale.to_f32());
                }
            }
        }
        let group_size = BLOCK_COLUMNS;
        Some(AffineQuantized { n_rows, n_columns, group_size, codes, scales, zero_points })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(scale: f32, minimum: f32, codes: u8) -> Vec<u8> {
        let mut bytes = f16::from_f32(scale).to_le_bytes().to_vec();
        bytes.extend(f16::from_f32(minimum).to_le_bytes());
        bytes.extend((0..16).map(|i| (i * 17) ^ codes));
        bytes
    }

    /// The own grid gives the same weights as dequantising, row order included.
    #[track_caller]
    fn check(blocks: &[Vec<u8>], shape: [usize; 2], interleaved_head_size: Option<usize>) {
        let bytes = blocks.concat();
        let dtype = DType::Q4_1;
        let tensor = Tensor { shape: shape.to_vec(), dtype, bytes: &bytes, interleaved_head_size };
        let grid = tensor.own_affine_grid().unwrap();
        for (weight_idx, expected) in tensor.to_f32().into_iter().enumerate() {
            let code = grid.codes[weight_idx / 2] >> (weight_idx % 2 * 4) & 15;
            let group_idx = weight_idx / BLOCK_COLUMNS;
            let scale = grid.scales[group_idx].to_f32();
            let found = (f32::from(code) - grid.zero_points[group_idx]) * scale;
            assert!((found - expected).abs() <= 2e-6 * expected.abs().max(scale.abs() * 16.0));
        }
    }

    #[test]
    fn zero_may_lie_between_two_codes() {
        let blocks =
            [block(0.5, -3.7, 0), block(-0.01, 0.03, 3), block(0.0, 0.25, 5), block(1.0, 9.0, 9)];
        check(&blocks, [4, 32], None);
        check(&blocks, [4, 32], Some(4));
        check(&blocks, [2, 64], None);
    }

    #[test]
    fn what_is_no_finite_matrix_of_its_type_has_none() {
        let grid = |dtype, bytes: &[u8], shape: &[usize]| {
            let shape = shape.to_vec();
            Tensor { shape, dtype, bytes, interleaved_head_size: None }.own_affine_grid()
        };
        let bytes = block(f32::INFINITY, 0.0, 0);
        assert_eq!(grid(DType::Q4_1, &bytes, &[1, 32]), None);
        assert_eq!(grid(DType::Q4_1, &block(1.0, 0.0, 0), &[32]), None);
        assert_eq!(grid(DType::Q4_0, &bytes[..18], &[1, 32]), None);
    }
}
