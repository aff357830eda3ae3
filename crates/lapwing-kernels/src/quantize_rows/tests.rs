use super::{N_GROUP, QuantizedGroup, quantize_rows, quantize_rows_in_two};
use crate::Level;
use crate::oracle::{rows_with_infinity, spread};

/// Rows as the kernels of matrices get them.
pub(crate) fn quantized(rows: &[f32], n_columns: usize) -> Vec<QuantizedGroup> {
    let n_groups = rows.len() / n_columns * n_columns.div_ceil(N_GROUP);
    let mut out = vec![QuantizedGroup::default(); n_groups];
    quantize_rows(Level::SCALAR, rows, n_columns, &mut out);
    out
}

fn bits(groups: &[QuantizedGroup]) -> Vec<([i8; N_GROUP], u32, [i16; 2])> {
    let scale = |group: &QuantizedGroup| if group.scale.is_nan() { f32::NAN } else { group.scale };
    groups.iter().map(|group| (group.codes, scale(group).to_bits(), group.sums)).collect()
}

#[test]
fn every_level_makes_the_same_codes() {
    let tiny = |factor: f32| spread(80).iter().map(|x| x * factor).collect();
    let more = [1e-30, 1e-32, 1e-38, 1e-44, 1e37, 0.0, -0.0].map(tiny);
    let rows = rows_with_infinity().map(|row| row.logits).filter(|row| row.len() < 1000);
    for row in rows.chain(more).filter(|row| !row.is_empty()) {
        let empty = vec![QuantizedGroup::default(); row.len().div_ceil(N_GROUP)];
        let mut expected = [(); 3].map(|()| empty.clone());
        let of = |level, [one, first, second]: &mut [Vec<QuantizedGroup>; 3]| {
            quantize_rows(level, &row, row.len(), one);
            quantize_rows_in_two(level, &row, row.len(), first, second);
        };
        of(Level::SCALAR, &mut expected);
        assert_eq!(bits(&expected[0]), bits(&expected[1]));
        for level in Level::available_for_floats() {
            let mut found = [(); 3].map(|()| empty.clone());
            of(level, &mut found);
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(bits(found), bits(expected), "{level:?} {row:?}");
            }
        }
    }
}

#[test]
fn codes_stand_for_what_they_were_made_of() {
    let row = spread(32 * 20 + 7);
    let mut planes = [(); 2].map(|()| vec![QuantizedGroup::default(); 21]);
    let [first, second] = &mut planes;
    quantize_rows_in_two(Level::detect(), &row, row.len(), first, second);
    for (group_idx, entries) in row.chunks(N_GROUP).enumerate() {
        let [first, second] = [&planes[0][group_idx], &planes[1][group_idx]];
        let largest = entries.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        for (idx, &x) in entries.iter().enumerate() {
            let value =
                |group: &QuantizedGroup| f64::from(group.codes[idx]) * f64::from(group.scale);
            let of_one = (f64::from(x) - value(first)).abs() / f64::from(largest);
            let of_two = (f64::from(x) - value(first) - value(second)).abs() / f64::from(largest);
            assert!(of_one <= 0.5001 / 127.0, "{group_idx} {idx}: {of_one:e}");
            assert!(of_two <= 0.5001 / 127.0 / 254.0 + 1e-7, "{group_idx} {idx}: {of_two:e}");
        }
        for group in [first, second] {
            let sum = |half: &[i8]| half.iter().map(|&code| i16::from(code)).sum::<i16>();
            assert_eq!(group.sums, [sum(&group.codes[..16]), sum(&group.codes[16..])]);
        }
    }
    assert!(planes.iter().all(|plane| plane[20].codes[7..] == [0; 25]));
}

#[test]
fn special_groups() {
    let check = |x: [f32; 2], codes: [i8; 2], scale: f32| {
        for level in Level::available_for_floats() {
            let mut out = [QuantizedGroup::default()];
            quantize_rows(level, &x, 2, &mut out);
            assert_eq!(out[0].codes[..2], codes, "{level:?} {x:?}");
            let is_same = out[0].scale == scale || out[0].scale.is_nan() && scale.is_nan();
            assert!(is_same, "{level:?} {x:?}: {}", out[0].scale);
        }
    };
    check([0.0, -0.0], [0, 0], 0.0);
    check([f32::NAN, 1.0], [0, 0], f32::NAN);
    check([1.0, f32::NEG_INFINITY], [0, 0], f32::NAN);
    check([127.0, -127.0], [127, -127], 1.0);
    check([127.0, 0.5], [127, 0], 1.0);
    check([127.0, -1.5], [127, -2], 1.0);
    check([f32::MAX, f32::MIN], [127, -127], f32::MAX / 127.0);
    check([1e-31, 0.0], [0, 0], 0.0);
}

#[test]
#[should_panic(expected = "groups of all rows")]
fn too_few_groups_are_a_programmer_error() {
    quantize_rows(Level::SCALAR, &[0.0; 66], 33, &mut [QuantizedGroup::default(); 2]);
}
