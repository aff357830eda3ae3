//! The layout of quantised weights: tiles of sixteen rows, one for all instruction sets.
//!
//! A row is a lane of every vector, so no kernel ever adds across lanes, and a
//! matrix is read from front to back as one stream. A tile has, for each group of
//! columns in turn, the codes, then sixteen scales (binary16), then what the codes
//! are counted from, if that differs between groups: sixteen zero points (a byte
//! each) or sixteen minima (binary16).
//!
//! Codes are vectors of 64 bytes. Four bytes of each belong to a row, byte `b` of
//! them to these columns of vector `j`:
//!
//! | bits | a vector | columns |
//! |---|---|---|
//! | 8 | 16 rows × 4 columns | `4 j + b` |
//! | 4 | 16 × 8 | the low half `8 j + b`, the high half `8 j + 4 + b` |
//!
//! In the same way a byte would hold four columns of 2 bits or eight of one.
//!
//! Rows are filled up to sixteen and columns to 32, the number of columns that
//! activations share a scale in, with weights that are zero. The last group of a
//! row may therefore be shorter than the others.

mod pack;

pub use pack::{PlainOffsets, PlainWeights};

use crate::f16::f16_to_f32;
use crate::quantize_rows::N_GROUP;

/// How many rows a tile has.
pub const N_TILE_ROWS: usize = 16;

/// How many bits a code has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodeBits {
    /// In halves of bytes.
    Four,
    /// In bytes.
    Eight,
}

/// What the codes of a group are counted from: `weight = (code - zero) * scale`,
/// or `code * scale + minimum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Offsets {
    /// 8 or 128: signed codes, stored with that added.
    Middle,
    /// A zero point for each group, of the range of the codes.
    Zeros,
    /// A minimum for each group, where zero points would be fractions.
    Minima,
}

/// Where everything is in the tiles of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TileLayout {
    bits: CodeBits,
    n_columns: usize,
    group: usize,
    offsets: Offsets,
}

impl TileLayout {
    /// `None` where no kernel can work so: a matrix without columns, groups that
    /// are neither 16 columns nor a multiple of 32, or more than `isize::MAX` bits a tile.
    ///
    /// `group` is the number of columns that share a scale; all of them when it is
    /// larger, as `usize::MAX` is for one scale a row.
    #[must_use]
    pub fn new(
        bits: CodeBits,
        n_columns: usize,
        group: usize,
        offsets: Offsets,
    ) -> Option<TileLayout> {
        const N_COLUMNS_MAX: usize = isize::MAX as usize / (64 * N_TILE_ROWS);
        if !(1..=N_COLUMNS_MAX).contains(&n_columns) {
            return None;
        }
        if n_columns <= group {
            let group = n_columns.next_multiple_of(N_GROUP);
            return Some(TileLayout { bits, n_columns, group, offsets });
        }
        let is_possible = group == 16 || group != 0 && group.is_multiple_of(N_GROUP);
        is_possible.then_some(TileLayout { bits, n_columns, group, offsets })
    }

    /// How many bits a code has.
    #[must_use]
    pub fn bits(&self) -> CodeBits {
        self.bits
    }

    /// The columns of the matrix, without those that fill it up.
    #[must_use]
    pub fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// What the codes are counted from.
    #[must_use]
    pub fn offsets(&self) -> Offsets {
        self.offsets
    }

    /// How many scales a row has of its own: those of groups that only fill up are not among them.
    #[must_use]
    pub fn n_scales(&self) -> usize {
        self.n_columns.div_ceil(self.group)
    }

    /// How many columns share a scale; at most all of them, filled up.
    #[must_use]
    pub fn group(&self) -> usize {
        self.group
    }

    /// How many groups of activations a row of them has.
    #[must_use]
    pub fn n_activation_groups(&self) -> usize {
        self.n_columns.div_ceil(N_GROUP)
    }

    /// How many bytes a tile has.
    #[must_use]
    pub fn n_tile_bytes(&self) -> usize {
        let n_padded = self.n_columns.next_multiple_of(N_GROUP);
        self.n_code_bytes(n_padded) + n_padded.div_ceil(self.group) * self.n_tail_bytes()
    }

    /// How many tiles so many rows take.
    #[must_use]
    pub fn n_tiles(&self, n_rows: usize) -> usize {
        n_rows.div_ceil(N_TILE_ROWS)
    }

    fn n_code_bytes(&self, n_columns: usize) -> usize {
        match self.bits {
            CodeBits::Four => N_TILE_ROWS * n_columns / 2,
            CodeBits::Eight => N_TILE_ROWS * n_columns,
        }
    }

    /// What follows the codes of a group.
    fn n_tail_bytes(&self) -> usize {
        let n_offset_bytes = match self.offsets {
            Offsets::Middle => 0,
            Offsets::Zeros => N_TILE_ROWS,
            Offsets::Minima => 2 * N_TILE_ROWS,
        };
        2 * N_TILE_ROWS + n_offset_bytes
    }

    /// The groups of one tile, in their order.
    #[inline(always)]
    pub(crate) fn groups<'a>(&self, tile: &'a [u8]) -> impl Iterator<Item = Group<'a>> {
        let n_codes = self.n_code_bytes(self.group);
        let n_tail = self.n_tail_bytes();
        let offsets = self.offsets;
        tile.chunks(n_codes + n_tail).map(
            #[inline(always)]
            move |group| {
                let (codes, tail) = group.split_at(group.len() - n_tail);
                Group::new(codes, tail, offsets)
            },
        )
    }

    fn code(&self, group: &Group<'_>, row: usize, column: usize) -> u8 {
        let (vector, byte) = match self.bits {
            CodeBits::Four => (column / 8, column % 4),
            CodeBits::Eight => (column / 4, column % 4),
        };
        let byte = group.codes[vector][4 * row + byte];
        match self.bits {
            CodeBits::Four if column % 8 < 4 => byte & 0xf,
            CodeBits::Four => byte >> 4,
            CodeBits::Eight => byte,
        }
    }

    /// The code that stands for zero with [`Offsets::Middle`].
    pub(crate) fn middle(&self) -> u8 {
        match self.bits {
            CodeBits::Four => 8,
            CodeBits::Eight => 128,
        }
    }
}

/// One group of columns of a tile.
#[derive(Clone, Copy)]
pub(crate) struct Group<'a> {
    pub(crate) codes: &'a [[u8; 64]],
    pub(crate) scales: &'a [[u8; 2]; N_TILE_ROWS],
    pub(crate) offsets: GroupOffsets<'a>,
}

#[derive(Clone, Copy)]
pub(crate) enum GroupOffsets<'a> {
    Middle,
    Zeros(&'a [u8; N_TILE_ROWS]),
    Minima(&'a [[u8; 2]; N_TILE_ROWS]),
}

impl<'a> Group<'a> {
    #[inline(always)]
    fn new(codes: &'a [u8], tail: &'a [u8], offsets: Offsets) -> Group<'a> {
        let (scales, rest) = tail.split_at(2 * N_TILE_ROWS);
        Group {
            codes: codes.as_chunks().0,
            scales: halves(scales),
            offsets: match offsets {
                Offsets::Middle => GroupOffsets::Middle,
                Offsets::Zeros => GroupOffsets::Zeros(rest.first_chunk().expect("a byte a row")),
                Offsets::Minima => GroupOffsets::Minima(halves(rest)),
            },
        }
    }
}

#[inline(always)]
fn halves(bytes: &[u8]) -> &[[u8; 2]; N_TILE_ROWS] {
    bytes.as_chunks().0.first_chunk().expect("two bytes a row")
}

/// The tiles of a matrix, or some of them that follow one another.
#[derive(Clone, Copy, Debug)]
pub struct Tiles<'a> {
    layout: TileLayout,
    bytes: &'a [u8],
}

impl<'a> Tiles<'a> {
    /// `None` when the bytes are not whole tiles.
    #[must_use]
    pub fn new(layout: TileLayout, bytes: &'a [u8]) -> Option<Tiles<'a>> {
        bytes.len().is_multiple_of(layout.n_tile_bytes()).then_some(Tiles { layout, bytes })
    }

    /// Where everything is in each of them.
    #[must_use]
    pub fn layout(&self) -> TileLayout {
        self.layout
    }

    /// How many tiles there are.
    #[must_use]
    pub fn n_tiles(&self) -> usize {
        self.bytes.len() / self.layout.n_tile_bytes()
    }

    /// Those from `start` up to `end`.
    ///
    /// # Panics
    ///
    /// When there are not so many.
    #[must_use]
    pub fn slice(&self, start: usize, end: usize) -> Tiles<'a> {
        let n_bytes = self.layout.n_tile_bytes();
        Tiles { layout: self.layout, bytes: &self.bytes[start * n_bytes..end * n_bytes] }
    }

    /// The weights of one row as `f32`: an embedding, where the head is packed.
    ///
    /// Shapes: `out [n_columns]`. Each is `(code - zero) * scale`, rounded once, or
    /// `code * scale + minimum`, rounded once.
    ///
    /// # Panics
    ///
    /// When there is no such row or `out` is of another length.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        let layout = &self.layout;
        assert_eq!(out.len(), layout.n_columns, "out of columns");
        let tile = self.slice(row / N_TILE_ROWS, row / N_TILE_ROWS + 1);
        let row = row % N_TILE_ROWS;
        for (group, out) in layout.groups(tile.bytes).zip(out.chunks_mut(layout.group)) {
            let scale = f16_to_f32(group.scales[row]);
            for (column, weight) in out.iter_mut().enumerate() {
                let code = layout.code(&group, row, column);
                *weight = match group.offsets {
                    GroupOffsets::Middle => {
                        f32::from(i16::from(code) - i16::from(layout.middle())) * scale
                    }
                    GroupOffsets::Zeros(zeros) => {
                        f32::from(i16::from(code) - i16::from(zeros[row])) * scale
                    }
                    GroupOffsets::Minima(minima) => {
                        f32::from(code).mul_add(scale, f16_to_f32(minima[row]))
                    }
                };
            }
        }
    }

    #[inline(always)]
    pub(crate) fn each(&self) -> impl Iterator<Item = &'a [u8]> {
        self.bytes.chunks_exact(self.layout.n_tile_bytes())
    }

    /// The code of a column of a group.
    pub(crate) fn code(&self, group: &Group<'_>, row: usize, column: usize) -> u8 {
        self.layout.code(group, row, column)
    }
}

#[cfg(test)]
pub(crate) mod tests;
