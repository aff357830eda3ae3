use super::{CodeBits, GroupOffsets, Offsets, PlainOffsets, PlainWeights, TileLayout, Tiles};
use crate::f16::{f16_from_f32, f16_to_f32};

pub(crate) const ALL_BITS: [CodeBits; 2] = [CodeBits::Four, CodeBits::Eight];
pub(crate) const ALL_OFFSETS: [Offsets; 3] = [Offsets::Middle, Offsets::Zeros, Offsets::Minima];
pub(crate) const GROUPS: [usize; 5] = [16, 32, 64, 128, usize::MAX];

/// A matrix of test data, in plain order.
pub(crate) struct Plain {
    pub(crate) layout: TileLayout,
    pub(crate) n_rows: usize,
    pub(crate) codes: Vec<u8>,
    pub(crate) scales: Vec<f32>,
    zeros: Vec<u8>,
    minima: Vec<f32>,
}

impl Plain {
    /// All kinds of codes, among them runs of the largest and the smallest; scales of both signs.
    pub(crate) fn new(layout: TileLayout, n_rows: usize, seed: u32) -> Plain {
        let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 16
        };
        let code_max = if layout.bits() == CodeBits::Four { 15 } else { 255 };
        let n_scales = n_rows * layout.n_scales();
        let mut codes: Vec<u8> = Vec::new();
        for row in 0..n_rows {
            codes.extend((0..layout.n_columns()).map(|_| match row % 5 {
                3 => code_max,
                4 => 0,
                _ => (next() as u8) & code_max,
            }));
        }
        let number = |bits: u32| (bits % 2001) as f32 / 1000.0 - 1.0;
        Plain {
            layout,
            n_rows,
            codes,
            scales: (0..n_scales).map(|_| number(next()) / 64.0).collect(),
            zeros: (0..n_scales)
                .map(|idx| match idx % 7 {
                    0 => 0,
                    1 => code_max,
                    _ => (next() as u8) & code_max,
                })
                .collect(),
            minima: (0..n_scales).map(|_| number(next())).collect(),
        }
    }

    pub(crate) fn pack(&self) -> Vec<u8> {
        let offsets = match self.layout.offsets() {
            Offsets::Middle => PlainOffsets::Middle,
            Offsets::Zeros => PlainOffsets::Zeros(&self.zeros),
            Offsets::Minima => PlainOffsets::Minima(&self.minima),
        };
        let weights = PlainWeights { codes: &self.codes, scales: &self.scales, offsets };
        let n_tile = self.layout.n_tile_bytes();
        let mut tiles = vec![0xa5; self.layout.n_tiles(self.n_rows) * n_tile];
        for (idx, tile) in tiles.chunks_exact_mut(n_tile).enumerate() {
            self.layout.pack_tile(&weights, idx, tile);
        }
        tiles
    }

    pub(crate) fn largest_code(&self) -> f64 {
        if self.layout.bits() == CodeBits::Four { 15.0 } else { 255.0 }
    }

    pub(crate) fn largest_scale(&self) -> f64 {
        self.scales.iter().fold(0.0, |largest: f32, scale| largest.max(scale.abs())).into()
    }

    /// A weight by its definition.
    pub(crate) fn weight(&self, row: usize, column: usize) -> f64 {
        let scale_idx = row * self.layout.n_scales() + column / self.layout.group();
        let f16 = |x: f32| f64::from(f16_to_f32(f16_from_f32(x)));
        let code = f64::from(self.codes[row * self.layout.n_columns() + column]);
        let scale = f16(self.scales[scale_idx]);
        match self.layout.offsets() {
            Offsets::Middle => (code - f64::from(self.layout.middle())) * scale,
            Offsets::Zeros => (code - f64::from(self.zeros[scale_idx])) * scale,
            Offsets::Minima => code * scale + f16(self.minima[scale_idx]),
        }
    }
}

/// Every layout with so many columns.
pub(crate) fn layouts(bits: CodeBits, n_columns: usize) -> impl Iterator<Item = TileLayout> {
    GROUPS.into_iter().flat_map(move |group| {
        ALL_OFFSETS.map(|offsets| TileLayout::new(bits, n_columns, group, offsets).unwrap())
    })
}

#[test]
fn packed_weights_are_those_that_went_in() {
    for bits in ALL_BITS {
        for n_columns in [1, 15, 16, 17, 31, 32, 33, 47, 48, 95, 96, 128, 130, 576] {
            for layout in layouts(bits, n_columns) {
                for n_rows in [1, 15, 16, 17, 32, 35] {
                    let plain = Plain::new(layout, n_rows, 3);
                    let bytes = plain.pack();
                    let tiles = Tiles::new(layout, &bytes).unwrap();
                    assert_eq!(tiles.n_tiles(), n_rows.div_ceil(16));
                    let mut found = vec![f32::NAN; n_columns];
                    for row in 0..n_rows {
                        tiles.dequantize_row(row, &mut found);
                        for (column, &found) in found.iter().enumerate() {
                            let expected = plain.weight(row, column) as f32;
                            assert_eq!(found, expected, "{layout:?} {row} {column}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn rows_and_columns_that_fill_up_are_zero() {
    for bits in ALL_BITS {
        for layout in layouts(bits, 33) {
            let plain = Plain::new(layout, 17, 5);
            let bytes = plain.pack();
            let tiles = Tiles::new(layout, &bytes).unwrap();
            let mut row = vec![f32::NAN; 33];
            for padding in 17..32 {
                tiles.dequantize_row(padding, &mut row);
                assert!(row.iter().all(|&weight| weight == 0.0), "{layout:?} {padding}: {row:?}");
            }
        }
    }
}

#[test]
fn columns_that_fill_up_have_the_code_of_zero() {
    for bits in ALL_BITS {
        for layout in layouts(bits, 33) {
            let tile = Plain::new(layout, 16, 5).pack();
            for (group_idx, group) in layout.groups(&tile).enumerate() {
                let n_columns = layout.group().min(64 - group_idx * layout.group());
                for column in 0..n_columns {
                    let is_padding = 33 <= group_idx * layout.group() + column;
                    for row in (0..16).filter(|_| is_padding) {
                        let zero = match group.offsets {
                            GroupOffsets::Middle => layout.middle(),
                            GroupOffsets::Zeros(zeros) => zeros[row],
                            // Whatever the code is: its activation is zero.
                            GroupOffsets::Minima(_) => continue,
                        };
                        assert_eq!(layout.code(&group, row, column), zero, "{layout:?} {column}");
                    }
                }
            }
        }
    }
}

/// The bytes of a small tile as the documentation has them.
#[test]
fn a_tile_by_hand() {
    let layout = TileLayout::new(CodeBits::Four, 32, 32, Offsets::Zeros).unwrap();
    let codes: Vec<u8> = (0..32).map(|column| column % 16).collect();
    let weights =
        PlainWeights { codes: &codes, scales: &[0.5], offsets: PlainOffsets::Zeros(&[9]) };
    let mut tile = vec![0xff; layout.n_tile_bytes()];
    layout.pack_tile(&weights, 0, &mut tile);
    assert_eq!(tile.len(), 16 * 16 + 32 + 16);
    assert_eq!(tile[..4], [0x40, 0x51, 0x62, 0x73]);
    assert_eq!(tile[64..68], [0xc8, 0xd9, 0xea, 0xfb]);
    assert_eq!(tile[4..64], [0; 60]);
    assert_eq!(tile[256..258], 0x3800_u16.to_le_bytes());
    assert_eq!(tile[288..290], [9, 0]);
}

#[test]
fn what_no_kernel_can_take_is_no_layout() {
    let is_some = |n_columns, group| {
        TileLayout::new(CodeBits::Four, n_columns, group, Offsets::Middle).is_some()
    };
    assert!(!is_some(0, 32));
    assert!(!is_some(64, 0));
    assert!(!is_some(64, 8));
    assert!(!is_some(64, 48));
    assert!(!is_some(usize::MAX, 32));
    assert!(!is_some(usize::MAX, usize::MAX));
    assert!(is_some(64, 48 + 16));
    assert!(is_some(20, 20));
    assert!(is_some(576, usize::MAX));
    let layout = TileLayout::new(CodeBits::Eight, 40, 32, Offsets::Middle).unwrap();
    assert!(Tiles::new(layout, &vec![0; layout.n_tile_bytes() + 1]).is_none());
}
