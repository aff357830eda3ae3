use super::exp_moments;
use crate::oracle::{N_VOCABS, rows, spread};
use crate::{Level, row_max, sum_exp};

#[test]
fn every_level_returns_the_same_bits() {
    for row in rows() {
        let max = row_max(Level::SCALAR, &row.logits);
        for scale in [1.0, 0.3, 1.7, 1e30] {
            let expected = exp_moments(Level::SCALAR, &row.logits, max, scale);
            let sum = sum_exp(Level::SCALAR, &row.logits, max, scale);
            for level in Level::available_for_floats() {
                let found = exp_moments(level, &row.logits, max, scale);
                let name = format!("{level:?} {} {scale}", row.name);
                assert_eq!(found.sum.to_bits(), sum.to_bits(), "{name}");
                assert_eq!(found.weighted.to_bits(), expected.weighted.to_bits(), "{name}");
            }
        }
    }
}

#[test]
fn the_entropy_is_close_to_the_definition_in_f64() {
    for len in (1..=67).chain(N_VOCABS) {
        let logits = spread(len);
        for scale in [1.0, 0.3, 1.7] {
            let weight = |logit: f32| (f64::from(logit) * f64::from(scale)).exp();
            let sum: f64 = logits.iter().map(|&logit| weight(logit)).sum();
            let surprise = |p: f64| -p * p.ln();
            let expected: f64 = logits.iter().map(|&logit| surprise(weight(logit) / sum)).sum();
            for level in Level::available_for_floats() {
                let max = row_max(level, &logits);
                let found = exp_moments(level, &logits, max, scale).entropy(scale);
                assert!((found - expected).abs() < 1e-5, "{level:?} {len}: {found} {expected}");
            }
        }
    }
}

#[test]
fn special_rows() {
    let check = |logits: &[f32], max: f32, sum: f64, weighted: f64| {
        for level in Level::available_for_floats() {
            let found = exp_moments(level, logits, max, 1.0);
            assert_eq!((found.sum, found.weighted), (sum, weighted), "{level:?} {logits:?}");
        }
    };
    check(&[], 0.0, 0.0, 0.0);
    check(&[f32::NAN; 67], 0.0, 0.0, 0.0);
    check(&[f32::NEG_INFINITY; 67], 0.0, 0.0, 0.0);
    check(&[4.0; 67], 4.0, 67.0, 0.0);
    check(&[f32::NEG_INFINITY, 1e38, -1e38, f32::NAN], 1e38, 1.0, 0.0);
    assert!(exp_moments(Level::SCALAR, &[], 0.0, 1.0).entropy(1.0).is_nan());
}
