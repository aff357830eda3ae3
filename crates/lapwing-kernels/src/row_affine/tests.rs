use super::{add_offset, affine_in_place};
use crate::Level;
use crate::oracle::{bits, rows_with_infinity, spread_from};

/// The definition in `f64`; within the rounding of the largest number on the way.
fn check(level: Level, row: &[f32], found: &[f32], name: &str, expected: impl Fn(usize) -> f64) {
    for (idx, (&x, &found)) in row.iter().zip(found).enumerate() {
        if x.is_finite() {
            let difference = (f64::from(found) - expected(idx)).abs();
            assert!(difference <= 1e-5, "{level:?} {name} [{idx}]: {difference:e}");
        } else {
            assert_eq!(found.to_bits(), x.to_bits(), "{level:?} {name} [{idx}]");
        }
    }
}

#[test]
fn add_offset_agrees_with_the_definition_on_every_level() {
    for row in rows_with_infinity() {
        let offset = spread_from(row.logits.len(), 11);
        let mut expected = row.logits.clone();
        add_offset(Level::SCALAR, &mut expected, &offset);
        for level in Level::available_for_floats() {
            let mut found = row.logits.clone();
            add_offset(level, &mut found, &offset);
            assert_eq!(bits(&found), bits(&expected), "{level:?} {}", row.name);
            check(level, &row.logits, &found, &row.name, |idx| {
                f64::from(row.logits[idx]) + f64::from(offset[idx])
            });
        }
    }
}

#[test]
fn affine_in_place_agrees_with_the_definition_on_every_level() {
    for row in rows_with_infinity() {
        for (from_mean, scale, to_mean) in [(0.0, 1.0, 0.0), (-1.5, 1.1, 2.0), (3.0, 0.0, -7.0)] {
            let mut expected = row.logits.clone();
            affine_in_place(Level::SCALAR, &mut expected, from_mean, scale, to_mean);
            for level in Level::available_for_floats() {
                let mut found = row.logits.clone();
                affine_in_place(level, &mut found, from_mean, scale, to_mean);
                assert_eq!(bits(&found), bits(&expected), "{level:?} {}", row.name);
                let [from, factor, to] = [from_mean, scale, to_mean].map(f64::from);
                check(level, &row.logits, &found, &row.name, |idx| {
                    (f64::from(row.logits[idx]) - from) * factor + to
                });
            }
        }
    }
}

#[test]
#[should_panic(expected = "row and offset")]
fn different_lengths_are_a_programmer_error() {
    add_offset(Level::SCALAR, &mut [0.0; 3], &[0.0; 2]);
}
