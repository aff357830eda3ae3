use super::{FiniteSum, finite_squares, finite_sum};
use crate::Level;
use crate::oracle::rows_with_infinity;

const NAN: f32 = f32::NAN;
const INFINITY: f32 = f32::INFINITY;

#[test]
fn every_level_returns_the_same_bits() {
    for row in rows_with_infinity() {
        let expected = finite_sum(Level::SCALAR, &row.logits);
        for level in Level::available_for_floats() {
            let found = finite_sum(level, &row.logits);
            assert_eq!(found.sum.to_bits(), expected.sum.to_bits(), "{level:?} {}", row.name);
            assert_eq!(found.n_finite, expected.n_finite, "{level:?} {}", row.name);
        }
        for mean in [0.0, -1.7, 3e38] {
            let expected = finite_squares(Level::SCALAR, &row.logits, mean);
            for level in Level::available_for_floats() {
                let found = finite_squares(level, &row.logits, mean);
                assert_eq!(found.to_bits(), expected.to_bits(), "{level:?} {}", row.name);
            }
        }
    }
}

#[test]
fn is_close_to_the_definition() {
    let close = |found: f64, expected: f64| (found - expected).abs() <= 1e-12 * expected.abs();
    for row in rows_with_infinity() {
        let finite: Vec<f64> =
            row.logits.iter().filter(|x| x.is_finite()).map(|&x| f64::from(x)).collect();
        let mean = f64::from(-1.7f32);
        // Of magnitudes, so that the bound is one on the rounding of a sum.
        let magnitudes: Vec<f32> = row.logits.iter().map(|x| x.abs()).collect();
        let sum: f64 = finite.iter().map(|x| x.abs()).sum();
        let squares: f64 = finite.iter().map(|x| (x - mean) * (x - mean)).sum();
        for level in Level::available_for_floats() {
            let found = finite_sum(level, &magnitudes);
            assert_eq!(found.n_finite, finite.len(), "{level:?} {}", row.name);
            assert!(close(found.sum, sum), "{level:?} {}: {} {sum}", row.name, found.sum);
            let found = finite_squares(level, &row.logits, -1.7);
            assert!(close(found, squares), "{level:?} {}: {found} {squares}", row.name);
        }
    }
}

#[test]
fn special_rows() {
    let check = |row: &[f32], sum: f64, n_finite: usize, squares_around_one: f64| {
        for level in Level::available_for_floats() {
            let expected = FiniteSum { sum, n_finite };
            assert_eq!(finite_sum(level, row), expected, "{level:?} {row:?}");
            let squares = finite_squares(level, row, 1.0);
            assert_eq!(squares, squares_around_one, "{level:?} {row:?}");
        }
    };
    check(&[], 0.0, 0, 0.0);
    check(&[NAN; 67], 0.0, 0, 0.0);
    check(&[-INFINITY; 67], 0.0, 0, 0.0);
    check(&[NAN, 3.0, INFINITY, -1.0, -INFINITY], 2.0, 2, 8.0);
    check(&[-0.0; 40], 0.0, 40, 40.0);
    let max = f64::from(f32::MAX);
    check(&[f32::MAX; 33], 33.0 * max, 33, 33.0 * (max - 1.0) * (max - 1.0));
}

#[test]
fn the_mean_of_nothing_is_none() {
    assert_eq!(FiniteSum { sum: 0.0, n_finite: 0 }.mean(), None);
    assert_eq!(FiniteSum { sum: -6.0, n_finite: 4 }.mean(), Some(-1.5));
}

#[test]
fn squares_around_what_is_not_finite_are_nan() {
    for level in Level::available_for_floats() {
        for mean in [NAN, INFINITY, -INFINITY] {
            assert!(finite_squares(level, &[1.0; 40], mean).is_nan(), "{level:?} {mean}");
            assert!(finite_squares(level, &[], mean).is_nan(), "{level:?} {mean}");
        }
    }
}
