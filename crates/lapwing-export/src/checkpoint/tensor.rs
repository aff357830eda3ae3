//! One tensor of a checkpoint, still encoded.

mod affine;

use std::ops::Range;

use lapwing_formats::gguf::{DType, dequantize};
use lapwing_quant::{Bits, Grid, GroupQuantized};

pub(crate) use affine::AffineQuantized;

/// Columns that share a scale in `Q4_0` and `Q8_0`.
const BLOCK_COLUMNS: usize = 32;

/// One tensor of a checkpoint in Hugging Face layout.
#[derive(Clone, Debug)]
pub struct Tensor<'a> {
    /// Sizes, outermost first: a projection is `[n_outputs, n_inputs]`.
    pub shape: Vec<usize>,
    /// How the elements are encoded; one that [`dequantize`] reads.
    pub(super) dtype: DType,
    /// The encoded elements.
    pub(super) bytes: &'a [u8],
    /// Elements of one head, where the rows of each are stored for interleaved rope.
    pub(super) interleaved_head_size: Option<usize>,
}

impl Tensor<'_> {
    /// How the checkpoint stores the elements, e.g. `BF16` or `Q4_K`.
    pub fn dtype_name(&self) -> String {
        self.dtype.to_string()
    }

    /// Number of elements.
    pub fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Every element, row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        self.rows_to_f32(0..self.n_rows())
    }

    /// The elements of some rows, row-major. In a vector each element is a row.
    ///
    /// # Panics
    ///
    /// When there are fewer rows.
    pub fn rows_to_f32(&self, rows: Range<usize>) -> Vec<f32> {
        let n_columns = self.n_elements() / self.n_rows().max(1);
        let mut elements = vec![0.0; rows.len() * n_columns];
        if n_columns == 0 {
            return elements;
        }
        for (row_idx, row) in rows.zip(elements.chunks_exact_mut(n_columns)) {
            dequantize(self.dtype, self.row(row_idx), row)
                .expect("type and shape were checked when the checkpoint was opened");
        }
        elements
    }

    /// The checkpoint's own quantisation where [`GroupQuantized`] holds it without loss: a matrix
    /// of `Q4_0` or `Q8_0`.
    pub fn own_grid(&self) -> Option<GroupQuantized> {
        let &[n_rows, n_columns] = self.shape.as_slice() else { return None };
        let bits = match self.dtype {
            DType::Q4_0 => Bits::Four,
            DType::Q8_0 => Bits::Eight,
            _ => return None,
        };
        let n_block_bytes = 2 + BLOCK_COLUMNS / bits.n_per_byte();
        let n_blocks = self.bytes.len() / n_block_bytes;
        let mut codes = Vec::with_capacity(n_blocks * (n_block_bytes - 2));
        let mut scales = Vec::with_capacity(n_blocks);
        for row_idx in 0..n_rows {
            for block in self.row(row_idx).chunks_exact(n_block_bytes) {
                scales.push(half::f16::from_le_bytes([block[0], block[1]]).to_f32());
                match bits {
                    Bits::Four => codes.extend(neighbours_paired(&block[2..])),
                    Bits::Eight => codes.extend(block[2..].iter().map(|code| code ^ 0x80)),
                }
            }
        }
        if scales.iter().any(|scale| !scale.is_finite()) {
            return None;
        }
        let grid = Grid { bits, group_size: BLOCK_COLUMNS, symmetric: true };
        let zero_points = vec![bits.middle(); n_blocks];
        Some(GroupQuantized { n_rows, n_columns, grid, codes, scales, zero_points })
    }

    fn n_rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// The encoded row that Hugging Face calls `row_idx`. In a vector each element is a row.
    fn row(&self, row_idx: usize) -> &[u8] {
        let n_row_bytes = self.bytes.len() / self.n_rows();
        let stored_idx = match self.interleaved_head_size {
            None => row_idx,
            Some(head_size) => {
                // Stored: pairs (first half, second half) side by side; wanted: all of the first
                // half, then all of the second.
                let (head_idx, in_head) = (row_idx / head_size, row_idx % head_size);
                let (half_idx, pair_idx) = (in_head / (head_size / 2), in_head % (head_size / 2));
                head_idx * head_size + pair_idx * 2 + half_idx
            }
        };
        &self.bytes[stored_idx * n_row_bytes..][..n_row_bytes]
    }
}

/// A `Q4_0` block's codes with neighbours in one byte: the file pairs each of the first sixteen
/// with one of the last.
fn neighbours_paired(pairs: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let half = |shift: u32| {
        pairs.chunks_exact(2).map(move |two| two[0] >> shift & 15 | (two[1] >> shift & 15) << 4)
    };
    half(0).chain(half(4))
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    fn block(scale: f32, codes: impl IntoIterator<Item = u8>) -> Vec<u8> {
        f16::from_f32(scale).to_le_bytes().into_iter().chain(codes).collect()
    }

    /// The own grid gives the same weights as dequantising, row order included.
    fn check(dtype: DType, bytes: &[u8], shape: [usize; 2], interleaved_head_size: Option<usize>) {
        let tensor = Tensor { shape: shape.to_vec(), dtype, bytes, interleaved_head_size };
        let grid = tensor.own_grid().unwrap();
        let mut found = vec![0.0; shape[0] * shape[1]];
        grid.dequantize(&mut found);
        assert_eq!(found, tensor.to_f32());
    }

    #[test]
    fn own_grids_are_exact() {
        let nibbles =
            (0..8_u8).flat_map(|i| block(f32::from(i) - 3.5, (0..16).map(move |j| (j * 17) ^ i)));
        let nibbles: Vec<u8> = nibbles.collect();
        check(DType::Q4_0, &nibbles, [4, 64], None);
        check(DType::Q4_0, &nibbles, [4, 64], Some(4));
        let bytes = (0..4_u8).flat_map(|i| block(0.25, (0..32).map(move |j| j * 8 + i)));
        check(DType::Q8_0, &bytes.collect::<Vec<u8>>(), [4, 32], Some(2));
    }

    #[test]
    fn other_types_have_no_own_grid() {
        let tensor = |dtype, bytes, shape: &[usize]| {
            Tensor { shape: shape.to_vec(), dtype, bytes, interleaved_head_size: None }.own_grid()
        };
        assert_eq!(tensor(DType::Q4_1, &[0; 20], &[1, 32]), None);
        assert_eq!(tensor(DType::Q8_0, &[0; 34], &[32]), None);
        // A scale that is not finite.
        assert_eq!(tensor(DType::Q8_0, &[0xff; 34], &[1, 32]), None);
    }

    #[test]
    fn interleaved_rows_are_put_back() {
        let bytes: Vec<u8> = (0..8).flat_map(|row| (row as f32).to_le_bytes()).collect();
        for shape in [vec![8], vec![8, 1]] {
            let dtype = DType::F32;
            let tensor = Tensor { shape, dtype, bytes: &bytes, interleaved_head_size: Some(4) };
            assert_eq!(tensor.to_f32(), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        }
    }
}
