//! Weights in plain order into tiles: the definition of the layout, in plain code.

use super::{CodeBits, N_TILE_ROWS, Offsets, TileLayout};
use crate::f16::f16_from_f32;

/// Quantised weights as arrays: what a reader can turn every file into.
#[derive(Clone, Copy, Debug)]
pub struct PlainWeights<'a> {
    /// `[n_rows][n_columns]`, a byte each.
    pub codes: &'a [u8],
    /// `[n_rows][n_scales]`; they are rounded to binary16.
    pub scales: &'a [f32],
    /// What the codes are counted from.
    pub offsets: PlainOffsets<'a>,
}

/// [`Offsets`], as arrays `[n_rows][n_scales]`.
#[derive(Clone, Copy, Debug)]
pub enum PlainOffsets<'a> {
    /// 8 or 128, everywhere.
    Middle,
    /// Zero points, a byte each.
    Zeros(&'a [u8]),
    /// Minima; they are rounded to binary16.
    Minima(&'a [f32]),
}

impl TileLayout {
    /// Write one tile.
    ///
    /// Shapes: `tile [n_tile_bytes]`. Bits of a code beyond [`CodeBits`] are cut off.
    ///
    /// # Panics
    ///
    /// When the arrays are not of the layout's sizes, or the tile is not of its
    /// length or begins behind the last row.
    pub fn pack_tile(&self, weights: &PlainWeights<'_>, tile_idx: usize, tile: &mut [u8]) {
        let n_rows = self.check(weights);
        assert_eq!(tile.len(), self.n_tile_bytes(), "bytes of a tile");
        let first_row = tile_idx * N_TILE_ROWS;
        assert!(first_row < n_rows, "tile {tile_idx} of {n_rows} rows");
        let n_rows = (n_rows - first_row).min(N_TILE_ROWS);
        let n_tail = self.n_tail_bytes();
        for (group_idx, group) in
            tile.chunks_mut(self.n_code_bytes(self.group) + n_tail).enumerate()
        {
            let (codes, tail) = group.split_at_mut(group.len() - n_tail);
            tail.fill(0);
            // What fills up is zero, whatever the scale of its group.
            codes.fill(match (self.bits, self.offsets) {
                (CodeBits::Four, Offsets::Middle) => 0x88,
                (CodeBits::Eight, Offsets::Middle) => 0x80,
                _ => 0,
            });
            if self.n_scales() <= group_idx {
                continue;
            }
            for row in 0..n_rows {
                self.pack_group(weights, first_row + row, group_idx, row, codes, tail);
            }
        }
    }

    /// One group of one row, into lane `lane`.
    fn pack_group(
        &self,
        weights: &PlainWeights<'_>,
        row: usize,
        group_idx: usize,
        lane: usize,
        codes: &mut [u8],
        tail: &mut [u8],
    ) {
        let (vectors, _) = codes.as_chunks_mut::<64>();
        let start = group_idx * self.group;
        let columns = start..(start + self.group).min(self.n_columns);
        let scale_idx = row * self.n_scales() + group_idx;
        let zero = match weights.offsets {
            PlainOffsets::Zeros(zeros) => zeros[scale_idx],
            _ => self.middle(),
        };
        let row_codes = &weights.codes[row * self.n_columns..][..self.n_columns];
        let n_columns = codes_in(self.bits) * vectors.len();
        for column in 0..n_columns {
            // What fills up has the zero point; with minima its activations are zero.
            let code = if column < columns.len() { row_codes[start + column] } else { zero };
            match self.bits {
                CodeBits::Four => {
                    let byte = &mut vectors[column / 8][4 * lane + column % 4];
                    *byte = if column % 8 < 4 {
                        *byte & 0xf0 | code & 0xf
                    } else {
                        *byte & 0x0f | code << 4
                    };
                }
                CodeBits::Eight => vectors[column / 4][4 * lane + column % 4] = code,
            }
        }
        let put = |tail: &mut [u8], number: f32| {
            tail[2 * lane..][..2].copy_from_slice(&f16_from_f32(number));
        };
        let (scales, offsets) = tail.split_at_mut(2 * N_TILE_ROWS);
        put(scales, weights.scales[scale_idx]);
        match weights.offsets {
            PlainOffsets::Middle => {}
            PlainOffsets::Zeros(zeros) => offsets[lane] = zeros[scale_idx],
            PlainOffsets::Minima(minima) => put(offsets, minima[scale_idx]),
        }
    }

    /// How many rows the arrays have.
    fn check(&self, weights: &PlainWeights<'_>) -> usize {
        let n_rows = weights.codes.len() / self.n_columns;
        assert_eq!(weights.codes.len(), n_rows * self.n_columns, "codes of columns");
        assert_eq!(weights.scales.len(), n_rows * self.n_scales(), "scales of rows");
        let (n_offsets, offsets) = match weights.offsets {
            PlainOffsets::Middle => (weights.scales.len(), Offsets::Middle),
            PlainOffsets::Zeros(zeros) => (zeros.len(), Offsets::Zeros),
            PlainOffsets::Minima(minima) => (minima.len(), Offsets::Minima),
        };
        assert_eq!(offsets, self.offsets, "offsets of the layout");
        assert_eq!(n_offsets, weights.scales.len(), "offsets of scales");
        n_rows
    }
}

/// How many columns a vector holds.
fn codes_in(bits: CodeBits) -> usize {
    match bits {
        CodeBits::Four => 8,
        CodeBits::Eight => 4,
    }
}
