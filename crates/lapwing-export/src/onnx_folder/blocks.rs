//! Quantised matrices as `MatMulNBits` and `GatherBlockQuantized` want them.
//!
//! Those operators take blocks of 16, 32, 64, 128 or 256 columns, each with its own scale. A group of
//! another size becomes several blocks that repeat one scale, and so does a group that is a whole
//! row: the kernel quantises activations block by block too, and large blocks let one outlier
//! swallow its neighbours. To measure it: export with another first entry in [`SPLIT_BLOCK_SIZES`]
//! and let `benches/check_exports.py` compare both folders with f32.
//!
//! Zero points are whole numbers, packed like the codes. `MatMulNBits` also takes fractional ones,
//! with which a GGUF's Q4_1 (`weight = code * scale + minimum`) would be exact; but then ONNX Runtime
//! 1.31.1 leaves its fast kernel. To measure it: time a graph of one `MatMulNBits` with zero points
//! in f32, and with packed ones. So Q4_1 is quantised again, to the nearest grid with whole zero
//! points, and the report says so.

use lapwing_quant::{Bits, GroupQuantized};

/// Block sizes the operators take.
const BLOCK_SIZES: [usize; 5] = [16, 32, 64, 128, 256];

/// Block sizes for groups that are no block, the preferred one first.
const SPLIT_BLOCK_SIZES: [usize; 2] = [32, 16];

/// A quantised matrix cut into blocks.
pub(super) struct Blocks {
    /// Bits of a code.
    pub(super) n_bits: usize,
    /// Columns of a block.
    pub(super) block_size: usize,
    /// Blocks of a row; the last one may be padded.
    pub(super) n_blocks: usize,
    /// Codes `[n_rows, n_blocks, block_size]`, packed.
    pub(super) codes: Vec<u8>,
    /// Scales `[n_rows, n_blocks]`.
    pub(super) scales: Vec<f32>,
    /// Zero points `[n_rows, n_blocks]`, packed, each row to whole bytes; none when they are all
    /// the middle.
    pub(super) zero_points: Option<Vec<u8>>,
}

impl Blocks {
    /// Cut a matrix; none when no block size fits its groups.
    pub(super) fn new(quantized: &GroupQuantized) -> Option<Blocks> {
        let group_size = quantized.grid.group_size;
        let block_size = if BLOCK_SIZES.contains(&group_size) {
            group_size
        } else {
            let fits = |size: &&usize| is_whole_row(quantized) || group_size.is_multiple_of(**size);
            *SPLIT_BLOCK_SIZES.iter().find(fits)?
        };
        Some(Blocks::of_size(quantized, block_size))
    }

    /// The size of blocks that all these matrices can be cut into without padding; none where there
    /// is no such.
    pub(super) fn common_size(matrices: &[&GroupQuantized]) -> Option<usize> {
        let fits = |size: &usize, matrix: &GroupQuantized| {
            let is_whole = is_whole_row(matrix);
            matrix.n_columns.is_multiple_of(*size)
                && (!is_whole || SPLIT_BLOCK_SIZES.contains(size))
                && (is_whole || matrix.grid.group_size.is_multiple_of(*size))
        };
        let mut sizes = BLOCK_SIZES.into_iter().rev();
        sizes.find(|size| matrices.iter().all(|matrix| fits(size, matrix)))
    }

    /// Cut a matrix into blocks of which a group is a whole number.
    pub(super) fn of_size(quantized: &GroupQuantized, block_size: usize) -> Blocks {
        let group_size = quantized.grid.group_size;
        let n_blocks = quantized.n_columns.div_ceil(block_size);
        let n_bits = 8 / quantized.grid.bits.n_per_byte();
        let n_per_group = if is_whole_row(quantized) { n_blocks } else { group_size / block_size };
        let n_groups = quantized.n_groups();
        let groups =
            (0..n_blocks).map(|block_idx| (block_idx / n_per_group.max(1)).min(n_groups - 1));
        let mut scales = Vec::with_capacity(quantized.n_rows() * n_blocks);
        let mut zero_points = Vec::new();
        let rows = quantized.scales.rows().into_iter().zip(quantized.zero_points.rows());
        for (row_scales, row_zero_points) in rows {
            scales.extend(groups.clone().map(|group_idx| row_scales[group_idx]));
            if !quantized.grid.symmetric {
                let row = groups.clone().map(|group_idx| row_zero_points[group_idx]);
                pack_row(row, n_bits, &mut zero_points);
            }
        }
        Blocks {
            n_bits,
            block_size,
            n_blocks,
            codes: pad_rows(quantized, n_blocks * block_size),
            scales,
            zero_points: (!quantized.grid.symmetric).then_some(zero_points),
        }
    }

    /// Bytes of the codes of one block.
    pub(super) fn n_block_bytes(&self) -> usize {
        self.block_size * self.n_bits / 8
    }

    /// Bytes of a row of zero points.
    pub(super) fn n_zero_point_bytes(&self) -> usize {
        (self.n_blocks * self.n_bits).div_ceil(8)
    }
}

/// Whether a row is one group, which never ends inside a block.
fn is_whole_row(quantized: &GroupQuantized) -> bool {
    quantized.grid.group_size >= quantized.n_columns
}

fn pack_row(values: impl Iterator<Item = u8>, n_bits: usize, packed: &mut Vec<u8>) {
    for (value_idx, value) in values.enumerate() {
        if n_bits == 8 || value_idx % 2 == 0 {
            packed.push(value);
        } else if let Some(low) = packed.last_mut() {
            *low |= value << 4;
        }
    }
}

/// The codes with every row lengthened to `n_padded` columns. What the padding holds does not
/// matter: it meets no activation.
fn pad_rows(quantized: &GroupQuantized, n_padded: usize) -> Vec<u8> {
    let n_padded_bytes = n_padded / quantized.grid.bits.n_per_byte();
    let middle = match quantized.grid.bits {
        Bits::Four => 0x88,
        Bits::Eight => 0x80,
    };
    let mut codes = Vec::with_capacity(quantized.n_rows() * n_padded_bytes);
    for row in quantized.codes.rows() {
        codes.extend(row);
        codes.resize(codes.len() + n_padded_bytes - row.len(), middle);
    }
    codes
}

#[cfg(test)]
mod tests {
    use lapwing_quant::Grid;
    use ndarray::ArrayView2;

    use super::*;

    fn matrix(n_columns: usize, bits: Bits, group_size: usize, symmetric: bool) -> GroupQuantized {
        let weights: Vec<f32> =
            (0..2 * n_columns).map(|index| ((index * 37) % 101) as f32 - 30.0).collect();
        let grid = Grid { bits, group_size, symmetric };
        let weights = ArrayView2::from_shape((2, n_columns), &weights).unwrap();
        lapwing_quant::quantize(weights, grid).unwrap()
    }

    /// The weights as the operators' definition reads the blocks.
    fn weights(blocks: &Blocks, n_columns: usize) -> Vec<f32> {
        let nibble = |bytes: &[u8], index: usize| match blocks.n_bits {
            8 => bytes[index],
            _ => (bytes[index / 2] >> (4 * (index % 2))) & 15,
        };
        let mut weights = Vec::new();
        for row_idx in 0..2 {
            let n_row_bytes = blocks.n_blocks * blocks.n_block_bytes();
            let codes = &blocks.codes[row_idx * n_row_bytes..][..n_row_bytes];
            for column_idx in 0..n_columns {
                let block_idx = column_idx / blocks.block_size;
                let zero_point = match &blocks.zero_points {
                    None => 1 << (blocks.n_bits - 1),
                    Some(zeros) => {
                        nibble(&zeros[row_idx * blocks.n_zero_point_bytes()..], block_idx)
                    }
                };
                let code = f32::from(nibble(codes, column_idx)) - f32::from(zero_point);
                weights.push(code * blocks.scales[row_idx * blocks.n_blocks + block_idx]);
            }
        }
        weights
    }

    #[test]
    fn blocks_stand_for_the_same_weights() {
        let check = |n_columns, group_size, block_size| {
            for bits in [Bits::Four, Bits::Eight] {
                for symmetric in [true, false] {
                    let quantized = matrix(n_columns, bits, group_size, symmetric);
                    let blocks = Blocks::new(&quantized).unwrap();
                    assert_eq!(blocks.block_size, block_size, "{n_columns} by {group_size}");
                    let expected: Vec<f32> = quantized.dequantize().into_iter().collect();
                    assert_eq!(weights(&blocks, n_columns), expected, "{n_columns}, {bits:?}");
                }
            }
        };
        check(64, 32, 32);
        check(96, 32, 32);
        check(576, 576, 32);
        check(172, 172, 32);
        check(172, 32, 32);
        check(172, 64, 64);
        check(64, 1000, 32);
        check(192, 48, 16);
        check(512, 256, 256);
        check(128, 128, 128);
        check(40, 512, 32);
    }

    #[test]
    fn several_matrices_have_blocks_of_one_size() {
        let check = |sizes: [[usize; 2]; 2], expected: Option<usize>| {
            let matrices = sizes
                .map(|[n_columns, group_size]| matrix(n_columns, Bits::Eight, group_size, true));
            let found = Blocks::common_size(&[&matrices[0], &matrices[1]]);
            assert_eq!(found, expected, "{sizes:?}");
        };
        check([[128, 64], [256, 64]], Some(64));
        check([[64, 64], [96, 96]], Some(32));
        check([[48, 48], [96, 96]], Some(16));
        check([[128, 128], [256, 128]], Some(32));
        check([[40, 40], [96, 96]], None);
        check([[96, 48], [96, 96]], Some(16));
        check([[96, 24], [96, 96]], None);
    }

    #[test]
    fn groups_of_other_sizes_do_not_fit() {
        assert!(Blocks::new(&matrix(64, Bits::Four, 8, true)).is_none());
        assert!(Blocks::new(&matrix(64, Bits::Four, 24, true)).is_none());
    }
}
