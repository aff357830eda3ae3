//! A matrix of codes, whatever file it comes from.

use half::f16;
use lapwing_formats::gguf::DType;

use super::{Encoding, Order, Tensor};
use crate::grid::{Grid, ZeroPoints};

/// Columns that share a scale in `Q4_0`, `Q4_1` and `Q8_0`.
const BLOCK_COLUMNS: usize = 32;

/// One matrix of codes with a scale and a zero point for each group of neighbouring columns:
/// `weight = (code - zero_point) * scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct Codes {
    /// Rows.
    pub n_rows: usize,
    /// Columns.
    pub n_columns: usize,
    /// Bits of a code, 4 or 8.
    pub n_bits: usize,
    /// Columns that share a scale; a row's last group may be shorter.
    pub group_size: usize,
    /// Unsigned codes, each row on whole bytes; of 4 bits two a byte, the low nibble first.
    pub codes: Vec<u8>,
    /// Scales `[n_rows, n_groups]`, each finite.
    pub scales: Vec<f32>,
    /// Zero points `[n_rows, n_groups]`, which may lie between two codes; none where all are the
    /// middle, 8 or 128.
    pub zero_points: Option<Vec<f32>>,
}

impl Tensor<'_> {
    /// The file's own quantisation where [`Codes`] holds it without loss: a matrix of `Q4_0`,
    /// `Q4_1`, `Q8_0`, `MXFP4` or of a [`Grid`], whose scales are finite.
    pub fn codes(&self) -> Option<Codes> {
        let &[n_rows, n_columns] = self.shape.as_slice() else { return None };
        match self.encoding {
            Encoding::Mx(_) | Encoding::Blocks { dtype: DType::MXFP4, .. } => {
                self.mx_codes()?.eight_bits()
            }
            Encoding::Blocks { .. } if matches!(self.order, Order::Columns { .. }) => None,
            Encoding::Blocks { dtype, bytes } => {
                self.codes_of_blocks(dtype, bytes, [n_rows, n_columns])
            }
            Encoding::Grid(grid) => codes_of_grid(&grid),
        }
    }

    fn codes_of_blocks(
        &self,
        dtype: DType,
        bytes: &[u8],
        [n_rows, n_columns]: [usize; 2],
    ) -> Option<Codes> {
        let (n_bits, n_head_bytes) = match dtype {
            DType::Q4_0 => (4, 2),
            DType::Q4_1 => (4, 4),
            DType::Q8_0 => (8, 2),
            _ => return None,
        };
        let n_code_bytes = BLOCK_COLUMNS * n_bits / 8;
        let n_block_bytes = n_head_bytes + n_code_bytes;
        let n_stored_rows = self.order.n_stored(n_rows).max(1);
        let (n_blocks, n_row_bytes) = (bytes.len() / n_block_bytes, bytes.len() / n_stored_rows);
        let mut codes = Vec::with_capacity(n_blocks * n_code_bytes);
        let mut scales = Vec::with_capacity(n_blocks);
        let mut zero_points = (n_head_bytes == 4).then(|| Vec::with_capacity(n_blocks));
        for row_idx in 0..n_rows {
            let row = &bytes[self.stored_row(row_idx) * n_row_bytes..][..n_row_bytes];
            for block in row.chunks_exact(n_block_bytes) {
                let (head, block) = block.split_at(n_head_bytes);
                let scale = half_at(head, 0)?;
                if let Some(zero_points) = &mut zero_points {
                    let minimum = half_at(head, 2)?;
                    if scale == 0.0 {
                        // Every weight is the minimum, whatever its code.
                        scales.push(minimum);
                        zero_points.push(-1.0);
                        codes.extend(std::iter::repeat_n(0, n_code_bytes));
                        continue;
                    }
                    zero_points.push(-minimum / scale);
                }
                scales.push(scale);
                match n_bits {
                    4 => codes.extend(neighbours_paired(block)),
                    _ => codes.extend(block.iter().map(|code| code ^ 0x80)),
                }
            }
        }
        let group_size = BLOCK_COLUMNS;
        Some(Codes { n_rows, n_columns, n_bits, group_size, codes, scales, zero_points })
    }
}

/// Rows without their padding, codes unsigned.
fn codes_of_grid(grid: &Grid<'_>) -> Option<Codes> {
    let Grid { n_rows, n_columns, n_bits, group_size, n_row_bytes, .. } = *grid;
    let n_code_bytes = (n_columns * n_bits).div_ceil(8);
    let mut codes = Vec::with_capacity(n_rows * n_code_bytes);
    let sign = match (n_bits, grid.is_signed) {
        (_, false) => 0,
        (4, true) => 0x88,
        (_, true) => 0x80,
    };
    for row in grid.codes.chunks_exact(n_row_bytes) {
        codes.extend(row[..n_code_bytes].iter().map(|pair| pair ^ sign));
    }
    let groups = (0..n_rows).flat_map(|row_idx| {
        let n_groups = n_columns.div_ceil(group_size);
        (0..n_groups).map(move |group_idx| grid.group(row_idx, group_idx))
    });
    let (scales, zero_points): (Vec<f32>, Vec<f32>) = groups.unzip();
    let zero_points = (!matches!(grid.zero_points, ZeroPoints::Middle)).then_some(zero_points);
    let is_finite = scales.iter().chain(zero_points.iter().flatten()).all(|s| s.is_finite());
    is_finite.then_some(Codes { n_rows, n_columns, n_bits, group_size, codes, scales, zero_points })
}

/// A finite number.
fn half_at(head: &[u8], offset: usize) -> Option<f32> {
    let half = f16::from_le_bytes([head[offset], head[offset + 1]]);
    half.is_finite().then(|| half.to_f32())
}

/// The codes of a block of `Q4_0` with neighbours in one byte: the file pairs each of the first sixteen
/// with one of the last.
pub(super) fn neighbours_paired(pairs: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let half = |shift: u32| {
        pairs.chunks_exact(2).map(move |two| two[0] >> shift & 15 | (two[1] >> shift & 15) << 4)
    };
    half(0).chain(half(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(head: &[f32], codes: impl IntoIterator<Item = u8>) -> Vec<u8> {
        let head = head.iter().flat_map(|&number| f16::from_f32(number).to_le_bytes());
        head.chain(codes).collect()
    }

    fn codes(dtype: DType, bytes: &[u8], shape: &[usize], head: Option<usize>) -> Option<Codes> {
        let mut tensor = Tensor::of_blocks(shape.to_vec(), dtype, bytes);
        tensor.order = head.map_or(Order::Same, |head_size| Order::Interleaved { head_size });
        tensor.codes()
    }

    /// The codes give the same weights as dequantising, row order included.
    #[track_caller]
    fn check(dtype: DType, bytes: &[u8], shape: [usize; 2], head: Option<usize>) {
        let found = codes(dtype, bytes, &shape, head).unwrap();
        let mut tensor = Tensor::of_blocks(shape.to_vec(), dtype, bytes);
        tensor.order = head.map_or(Order::Same, |head_size| Order::Interleaved { head_size });
        for (weight_idx, expected) in tensor.to_f32().into_iter().enumerate() {
            let code = match found.n_bits {
                4 => found.codes[weight_idx / 2] >> (weight_idx % 2 * 4) & 15,
                _ => found.codes[weight_idx],
            };
            let group_idx = weight_idx / BLOCK_COLUMNS;
            let middle = (1 << (found.n_bits - 1)) as f32;
            let zero_point = found.zero_points.as_ref().map_or(middle, |zeros| zeros[group_idx]);
            let scale = found.scales[group_idx];
            let weight = (f32::from(code) - zero_point) * scale;
            let tolerance = if found.zero_points.is_some() { 2e-6 } else { 0.0 };
            let largest = expected.abs().max(scale.abs() * 16.0);
            assert!((weight - expected).abs() <= tolerance * largest, "{weight} {expected}");
        }
    }

    #[test]
    fn codes_are_exact() {
        let nibbles = (0..8_u8)
            .flat_map(|i| block(&[f32::from(i) - 3.5], (0..16).map(move |j| (j * 17) ^ i)));
        let nibbles: Vec<u8> = nibbles.collect();
        check(DType::Q4_0, &nibbles, [4, 64], None);
        check(DType::Q4_0, &nibbles, [4, 64], Some(4));
        let bytes = (0..4_u8).flat_map(|i| block(&[0.25], (0..32).map(move |j| j * 8 + i)));
        check(DType::Q8_0, &bytes.collect::<Vec<u8>>(), [4, 32], Some(2));
    }

    #[test]
    fn zero_may_lie_between_two_codes() {
        let heads = [(0.5, -3.7, 0), (-0.01, 0.03, 3), (0.0, 0.25, 5), (1.0, 9.0, 9)];
        let blocks = heads.into_iter().flat_map(|(scale, minimum, i)| {
            block(&[scale, minimum], (0..16).map(move |j| (j * 17) ^ i))
        });
        let blocks: Vec<u8> = blocks.collect();
        check(DType::Q4_1, &blocks, [4, 32], None);
        check(DType::Q4_1, &blocks, [4, 32], Some(4));
        check(DType::Q4_1, &blocks, [2, 64], None);
    }

    #[test]
    fn what_is_no_finite_matrix_of_these_types_has_none() {
        assert_eq!(codes(DType::Q8_0, &[0; 34], &[32], None), None);
        // A scale that is not finite.
        assert_eq!(codes(DType::Q8_0, &[0xff; 34], &[1, 32], None), None);
        let bytes = block(&[f32::INFINITY, 0.0], [0; 16]);
        assert_eq!(codes(DType::Q4_1, &bytes, &[1, 32], None), None);
        assert_eq!(codes(DType::Q4_1, &block(&[1.0, 0.0], [0; 16]), &[32], None), None);
        assert_eq!(codes(DType::Q5_0, &[0; 22], &[1, 32], None), None);
    }
}
