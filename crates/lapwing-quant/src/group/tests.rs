use super::*;

/// The quantiser over weights one behind the other.
fn quantize(
    weights: &[f32],
    n_rows: usize,
    n_columns: usize,
    grid: Grid,
) -> Result<GroupQuantized, QuantizeError> {
    super::quantize(ArrayView2::from_shape((n_rows, n_columns), weights).unwrap(), grid)
}

/// Every grid that an export can ask for.
fn grids(n_columns: usize) -> Vec<Grid> {
    let mut grids = Vec::new();
    for bits in [Bits::Four, Bits::Eight] {
        for group_size in [1, 16, 32, 128, n_columns] {
            for symmetric in [true, false] {
                grids.push(Grid { bits, group_size, symmetric });
            }
        }
    }
    grids
}

fn grid(bits: Bits, group_size: usize, symmetric: bool) -> Grid {
    Grid { bits, group_size, symmetric }
}

/// Bell-shaped numbers, always the same for one seed.
fn weights(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut uniform = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..n).map(|_| (uniform() + uniform() + uniform() + uniform() - 2.0) * 0.1).collect()
}

fn dequantized(quantized: &GroupQuantized) -> Vec<f32> {
    quantized.dequantize().into_iter().collect()
}

fn code(quantized: &GroupQuantized, row_idx: usize, column_idx: usize) -> u8 {
    match quantized.grid.bits {
        Bits::Eight => quantized.codes[[row_idx, column_idx]],
        Bits::Four => (quantized.codes[[row_idx, column_idx / 2]] >> (4 * (column_idx % 2))) & 15,
    }
}

#[test]
fn errors_are_at_most_half_a_step_inside_the_range() {
    for (n_rows, n_columns, seed) in [(3, 64, 1), (2, 45, 2), (1, 1, 3), (5, 33, 4), (1, 300, 5)] {
        let weights = weights(n_rows * n_columns, seed);
        for grid in grids(n_columns) {
            let quantized = quantize(&weights, n_rows, n_columns, grid).unwrap();
            let back = dequantized(&quantized);
            for (index, (&weight, &found)) in weights.iter().zip(&back).enumerate() {
                let (row_idx, column_idx) = (index / n_columns, index % n_columns);
                let step = quantized.scales[[row_idx, column_idx / grid.group_size]].abs();
                let code = code(&quantized, row_idx, column_idx);
                let error = (weight - found).abs();
                // The search may give up the ends of the range: a fifth of it at most.
                let is_end = code == 0 || code == grid.bits.code_max();
                let bound = if is_end { 2.5 * step + 0.21 * weight.abs() } else { 0.5 * step };
                assert!(error <= bound * 1.0001, "{grid:?}: {weight} {found} {step}");
            }
        }
    }
}

#[test]
fn the_search_is_never_worse_than_the_plain_grid() {
    let n_columns = 32;
    for seed in 0..50 {
        let weights = weights(n_columns, seed);
        let quantized = quantize(&weights, 1, n_columns, grid(Bits::Four, 32, true)).unwrap();
        // What it makes small: the errors of larger weights count more.
        let mean_square = weights.iter().map(|w| w * w).sum::<f32>() / n_columns as f32;
        let error = |found: &[f32]| -> f64 {
            let pairs = weights.iter().zip(found);
            let errors = pairs.map(|(w, found)| {
                f64::from(w - found).powi(2) * f64::from(2.0 * mean_square + w * w).sqrt()
            });
            errors.sum()
        };
        let found = error(&dequantized(&quantized));
        let extreme = weights.iter().fold(0.0f32, |a, &w| if w.abs() > a.abs() { w } else { a });
        let scale = half::f16::from_f32(extreme / -8.0).to_f32();
        let plain: Vec<f32> =
            weights.iter().map(|w| (w / scale).round().clamp(-8.0, 7.0) * scale).collect();
        let expected = error(&plain);
        assert!(found <= expected * (1.0 + 1e-6), "seed {seed}: {found} {expected}");
    }
}

#[test]
fn typical_weights_lose_what_is_expected() {
    let weights = weights(64 * 256, 7);
    let check = |grid, expected: std::ops::Range<f64>| {
        let quantized = quantize(&weights, 64, 256, grid).unwrap();
        let found = crate::relative_rms(weights.iter(), dequantized(&quantized).iter());
        assert!(expected.contains(&found), "{grid:?}: {found}");
    };
    check(grid(Bits::Four, 32, true), 0.05..0.09);
    check(grid(Bits::Four, 32, false), 0.05..0.08);
    check(grid(Bits::Eight, 32, true), 0.002..0.005);
    check(grid(Bits::Eight, 256, false), 0.002..0.006);
}

#[test]
fn symmetric_zero_points_are_the_middle_and_scales_are_f16() {
    let weights = weights(4 * 96, 9);
    for grid in grids(96) {
        let quantized = quantize(&weights, 4, 96, grid).unwrap();
        assert!(
            !grid.symmetric || quantized.zero_points.iter().all(|&zero| zero == grid.bits.middle())
        );
        for &scale in &quantized.scales {
            assert_eq!(half::f16::from_f32(scale).to_f32(), scale);
        }
    }
}

#[test]
fn zeros_stay_zeros() {
    for grid in grids(40) {
        let quantized = quantize(&[0.0; 80], 2, 40, grid).unwrap();
        assert_eq!(dequantized(&quantized), [0.0; 80], "{grid:?}");
        // A zero among others too: the zero point is a code.
        let mut mixed = weights(80, 11);
        mixed[17] = 0.0;
        let quantized = quantize(&mixed, 2, 40, grid).unwrap();
        assert_eq!(dequantized(&quantized)[17], 0.0, "{grid:?}");
    }
}

#[test]
fn constant_groups_are_exact_to_f16() {
    for constant in [0.5f32, -0.5, 1.0, -3.0, 1e-3, 6.0e4] {
        for grid in grids(32) {
            let weights = [constant; 64];
            let quantized = quantize(&weights, 2, 32, grid).unwrap();
            for found in dequantized(&quantized) {
                let error = ((found - constant) / constant).abs();
                // Half a unit in the last place of f16, somewhat more where the scale is subnormal.
                assert!(error < 4e-3, "{grid:?}: {found} for {constant}");
            }
        }
    }
}

#[test]
fn weights_on_the_grid_are_kept() {
    // Codes -8 .. 7 of scale 0.25: every weight is representable.
    let weights: Vec<f32> = (-8..8).map(|code| code as f32 * 0.25).collect();
    for symmetric in [true, false] {
        let quantized = quantize(&weights, 1, 16, grid(Bits::Four, 16, symmetric)).unwrap();
        assert_eq!(dequantized(&quantized), weights, "symmetric: {symmetric}");
    }
    let weights: Vec<f32> = (-128..128).map(|code| code as f32 * 0.5).collect();
    for symmetric in [true, false] {
        let quantized = quantize(&weights, 1, 256, grid(Bits::Eight, 256, symmetric)).unwrap();
        assert_eq!(dequantized(&quantized), weights, "symmetric: {symmetric}");
    }
}

#[test]
fn two_codes_a_byte_low_nibble_first() {
    let weights = [-2.0, -1.75, 1.75];
    let quantized = quantize(&weights, 1, 3, grid(Bits::Four, 3, true)).unwrap();
    assert_eq!(
        (quantized.codes, quantized.scales),
        (ndarray::array![[0x10, 0x0f]], ndarray::array![[0.25]])
    );
}

#[test]
fn tiny_and_huge_weights() {
    let check = |weight: f32| {
        for grid in grids(8) {
            let quantized = quantize(&[weight; 8], 1, 8, grid).unwrap();
            assert!(quantized.scales.iter().all(|scale| *scale != 0.0 && scale.is_finite()));
            assert!(dequantized(&quantized).iter().all(|found| found.is_finite()), "{grid:?}");
        }
    };
    [f32::MIN_POSITIVE, 1e-45, -1e-30, 4e5, -4e5].into_iter().for_each(check);
}

#[test]
fn refusals() {
    let int4 = grid(Bits::Four, 4, true);
    let check = |weights: &[f32], grid, expected: QuantizeError| {
        assert_eq!(quantize(weights, 2, 4, grid).unwrap_err().to_string(), expected.to_string());
    };
    let mut weights = [1.0f32; 8];
    check(&weights, grid(Bits::Four, 0, true), QuantizeError::EmptyGroup);
    for found in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        weights[6] = found;
        check(&weights, int4, QuantizeError::NotFinite { row_idx: 1, column_idx: 2, found });
    }
    weights[6] = 1e30;
    check(
        &weights,
        int4,
        QuantizeError::TooLarge { row_idx: 1, column_idx: 2, most: 458_528.0, found: 1e30 },
    );
}

#[test]
fn empty_matrices() {
    for (n_rows, n_columns) in [(0, 0), (0, 5), (5, 0)] {
        let quantized = quantize(&[], n_rows, n_columns, grid(Bits::Four, 4, false)).unwrap();
        assert_eq!(dequantized(&quantized), [0.0; 0]);
    }
}

#[test]
fn two_threads_give_what_one_gives() {
    let (n_rows, n_columns) = (515, 512);
    let weights = weights(n_rows * n_columns, 13);
    let int4 = grid(Bits::Four, 32, false);
    let whole = quantize(&weights, n_rows, n_columns, int4).unwrap();
    for row_idx in [0, 256, 257, 258, 514] {
        let row = &weights[row_idx * n_columns..][..n_columns];
        let alone = quantize(row, 1, n_columns, int4).unwrap();
        assert_eq!(alone.codes.row(0), whole.codes.row(row_idx), "row {row_idx}");
        assert_eq!(alone.scales.row(0), whole.scales.row(row_idx));
        assert_eq!(alone.zero_points.row(0), whole.zero_points.row(row_idx));
    }
}

#[test]
fn the_order_in_memory_does_not_matter() {
    let (n_rows, n_columns) = (7, 45);
    let weights = weights(n_rows * n_columns, 17);
    let by_rows = ArrayView2::from_shape((n_rows, n_columns), &weights).unwrap();
    let by_columns = by_rows.t().as_standard_layout().into_owned().reversed_axes();
    assert!(!by_columns.is_standard_layout());
    let int4 = grid(Bits::Four, 16, false);
    assert_eq!(super::quantize(by_columns.view(), int4), super::quantize(by_rows, int4));
}
