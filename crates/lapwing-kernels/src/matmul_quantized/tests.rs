use super::{N_FEW_ROWS, matmul_quantized};
use crate::Level;
use crate::oracle::{bits, spread_from};
use crate::quantize_rows::tests::quantized;
use crate::quantize_rows::{N_GROUP, QuantizedGroup};
use crate::tiles::tests::{ALL_BITS, Plain, layouts};
use crate::tiles::{CodeBits, Offsets, TileLayout, Tiles};

/// Around a group, around what a prompt unpacks at once, and a model's.
const N_COLUMNS: [usize; 6] = [1, 31, 33, 130, 576, 1056];

/// The bits, with every NaN as the same one.
fn same_nan(row: &[f32]) -> Vec<u32> {
    bits(&row.iter().map(|&x| if x.is_nan() { f32::NAN } else { x }).collect::<Vec<_>>())
}

/// All rows at once, at one level.
fn multiply(level: Level, tiles: Tiles<'_>, rows: &[QuantizedGroup]) -> Vec<f32> {
    let n_rows = rows.len() / tiles.layout().n_activation_groups();
    let mut out = vec![f32::NAN; n_rows * 16 * tiles.n_tiles()];
    matmul_quantized(level, tiles, rows, &mut out);
    out
}

/// Rows of activations among which are large, small, zero and saturated ones.
fn activations(n_rows: usize, n_columns: usize) -> Vec<QuantizedGroup> {
    let mut rows = spread_from(n_rows * n_columns, 17);
    for (idx, row) in rows.chunks_exact_mut(n_columns).enumerate() {
        match idx % 6 {
            1 => row.iter_mut().for_each(|x| *x *= 1e-20),
            2 => row.iter_mut().for_each(|x| *x = 5.0f32.copysign(*x)),
            3 => row.fill(-3.0),
            4 => row.iter_mut().step_by(3).for_each(|x| *x = 0.0),
            5 => row.fill(7.0),
            _ => {}
        }
    }
    quantized(&rows, n_columns)
}

#[test]
fn every_level_gives_the_bits_of_the_definition() {
    for bits in ALL_BITS {
        for n_columns in N_COLUMNS {
            for layout in layouts(bits, n_columns) {
                let bytes = Plain::new(layout, 40, 7).pack();
                let tiles = Tiles::new(layout, &bytes).unwrap();
                let n_groups = layout.n_activation_groups();
                let all = activations(6 + 6 + 4 + 2 + 1, n_columns);
                let expected = multiply(Level::SCALAR, tiles, &all);
                for n_rows in [1, 2, 3, 7, N_FEW_ROWS, N_FEW_ROWS + 1, 19] {
                    let rows = &all[..n_rows * n_groups];
                    let expected = same_nan(&expected[..n_rows * 16 * 3]);
                    for level in Level::available() {
                        let found = multiply(level, tiles, rows);
                        assert!(same_nan(&found) == expected, "{level:?} {layout:?} {n_rows} rows");
                    }
                }
            }
        }
    }
}

#[test]
fn a_split_of_the_tiles_gives_the_same_bits() {
    let layout = TileLayout::new(CodeBits::Four, 576, 32, Offsets::Zeros).unwrap();
    let bytes = Plain::new(layout, 16 * 5, 11).pack();
    let tiles = Tiles::new(layout, &bytes).unwrap();
    for n_rows in [1, 20] {
        let rows = activations(n_rows, 576);
        for level in Level::available() {
            let whole = multiply(level, tiles, &rows);
            for split in 0..=5 {
                for (start, end) in [(0, split), (split, 5)] {
                    let part = multiply(level, tiles.slice(start, end), &rows);
                    for (row, whole) in whole.chunks_exact(16 * 5).enumerate() {
                        let n = 16 * (end - start);
                        assert_eq!(part[row * n..][..n], whole[16 * start..16 * end], "{level:?}");
                    }
                }
            }
        }
    }
}

/// Against the product of the numbers that codes and scales stand for, in `f64`.
#[test]
fn is_close_to_the_definition_in_f64() {
    for bits in ALL_BITS {
        for layout in layouts(bits, 200) {
            let plain = Plain::new(layout, 20, 23);
            let bytes = plain.pack();
            let rows = activations(7, 200);
            let n_groups = layout.n_activation_groups();
            let found = multiply(Level::detect(), Tiles::new(layout, &bytes).unwrap(), &rows);
            for (row, x) in rows.chunks_exact(n_groups).enumerate() {
                let x = |column: usize| {
                    let group = &x[column / N_GROUP];
                    f64::from(group.codes[column % N_GROUP]) * f64::from(group.scale)
                };
                for weight_row in 0..20 {
                    let terms = (0..200).map(|column| plain.weight(weight_row, column) * x(column));
                    let terms: Vec<f64> = terms.collect();
                    let expected: f64 = terms.iter().sum();
                    // Codes and minima are added apart, so their sizes count, not the sum's.
                    let largest = plain.largest_code() * plain.largest_scale()
                        + if layout.offsets() == Offsets::Minima { 1.0 } else { 0.0 };
                    let size: f64 = (0..200).map(|column| x(column).abs() * largest).sum();
                    let found = f64::from(found[row * 32 + weight_row]);
                    let difference = (found - expected).abs();
                    assert!(
                        difference <= 1e-6 * size,
                        "{layout:?} {row} {weight_row}: {found} {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_row_with_nan_is_nan_and_no_other() {
    for bits in ALL_BITS {
        for layout in layouts(bits, 64) {
            let bytes = Plain::new(layout, 32, 29).pack();
            let tiles = Tiles::new(layout, &bytes).unwrap();
            for n_rows in [3, 11] {
                for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut rows = spread_from(n_rows * 64, 31);
                    rows[64 + 40] = value;
                    let rows = quantized(&rows, 64);
                    for level in Level::available() {
                        let found = multiply(level, tiles, &rows);
                        for (row, out) in found.chunks_exact(32).enumerate() {
                            let is_nan = out.iter().all(|x| x.is_nan());
                            assert_eq!(is_nan, row == 1, "{level:?} {layout:?} {row}: {out:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "outputs of all rows")]
fn too_little_room_is_a_programmer_error() {
    let layout = TileLayout::new(CodeBits::Four, 32, 32, Offsets::Middle).unwrap();
    let bytes = vec![0; layout.n_tile_bytes()];
    let tiles = Tiles::new(layout, &bytes).unwrap();
    matmul_quantized(Level::SCALAR, tiles, &[QuantizedGroup::default()], &mut [0.0; 15]);
}
