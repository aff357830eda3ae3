use super::kl_divergence;
use crate::oracle::{N_VOCABS, bits, rows, spread, spread_from};
use crate::{Distribution, Level};

const INFINITY: f32 = f32::INFINITY;

fn divergence(level: Level, p: &[f32], q: &[f32]) -> f64 {
    let [p, q] = [p, q].map(|row| Distribution::new(level, row).unwrap());
    kl_divergence(level, p, q)
}

/// The definition, in `f64` throughout.
fn expected(p: &[f32], q: &[f32]) -> f64 {
    let log_sum = |row: &[f32]| row.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
    let (p_log_sum, q_log_sum) = (log_sum(p), log_sum(q));
    let terms = p.iter().zip(q).filter(|(p, _)| **p != -INFINITY).map(|(&p, &q)| {
        let log_p = f64::from(p) - p_log_sum;
        log_p.exp() * (log_p - (f64::from(q) - q_log_sum))
    });
    terms.sum()
}

#[test]
fn every_level_returns_the_same_bits() {
    let infinite = |len: usize| {
        let mut row = spread(len);
        row.iter_mut().skip(1).step_by(3).for_each(|logit| *logit = -INFINITY);
        row
    };
    for len in (1..=67).chain(N_VOCABS) {
        for p in [spread(len), infinite(len)] {
            for q in [spread_from(len, 7), infinite(len), vec![-50.0; len]] {
                let expected = divergence(Level::SCALAR, &p, &q);
                for level in Level::available_for_floats() {
                    let found = divergence(level, &p, &q);
                    assert_eq!(found.to_bits(), expected.to_bits(), "{level:?} {len}");
                }
            }
        }
    }
}

#[test]
fn is_close_to_the_definition_in_f64() {
    for len in (1..=67).chain(N_VOCABS) {
        let p = spread(len);
        let far = spread_from(len, 7);
        let near: Vec<f32> = p.iter().zip(&far).map(|(p, noise)| p + 0.01 * noise).collect();
        let shifted: Vec<f32> = near.iter().map(|logit| logit + 1000.0).collect();
        for level in Level::available_for_floats() {
            for q in [&far, &near] {
                let (found, expected) = (divergence(level, &p, q), expected(&p, q));
                assert!((found - expected).abs() < 1e-6, "{level:?} {len}: {found} {expected}");
            }
            // The shift itself rounds each logit by up to 3e-5.
            let (found, expected) = (divergence(level, &p, &shifted), expected(&p, &near));
            assert!((found - expected).abs() < 1e-4, "{level:?} {len}: {found} {expected}");
        }
    }
}

#[test]
fn of_a_row_and_itself_is_zero_and_never_below() {
    for row in rows() {
        let without_nan: Vec<f32> =
            row.logits.iter().copied().filter(|logit| !logit.is_nan()).collect();
        for level in Level::available_for_floats() {
            let Some(p) = Distribution::new(level, &without_nan) else { continue };
            assert_eq!(kl_divergence(level, p, p), 0.0, "{level:?} {}", row.name);
            let next: Vec<f32> = without_nan.iter().map(|logit| logit.next_up()).collect();
            assert_ne!(bits(&next), bits(&without_nan));
            if let Some(q) = Distribution::new(level, &next) {
                assert!(0.0 <= kl_divergence(level, p, q), "{level:?} {}", row.name);
            }
        }
    }
}

#[test]
fn special_rows() {
    let check = |p: &[f32], q: &[f32], expected: f64| {
        for level in Level::available_for_floats() {
            let found = divergence(level, p, q);
            assert!(found == expected || (found - expected).abs() < 1e-12, "{level:?} {p:?} {q:?}");
        }
    };
    check(&[3.0], &[-8.0], 0.0);
    check(&[0.0, -INFINITY], &[5.0, 5.0], 2f64.ln());
    check(&[5.0, 5.0], &[0.0, -INFINITY], f64::INFINITY);
    check(&[5.0, -INFINITY], &[0.0, -INFINITY], 0.0);
    // The token that is excluded is too improbable to have a weight.
    check(&[5.0, -200.0], &[0.0, -INFINITY], f64::INFINITY);
    check(&[5.0, -200.0], &[0.0, -300.0], 0.0);
    for len in 1..=67 {
        let mut q = vec![0.0; len + 1];
        q[len] = -INFINITY;
        check(&vec![0.0; len + 1], &q, f64::INFINITY);
        check(&q, &vec![0.0; len + 1], ((len as f64 + 1.0) / len as f64).ln());
    }
}

#[test]
#[should_panic(expected = "different vocabularies")]
fn rows_of_different_lengths_are_a_programmer_error() {
    divergence(Level::SCALAR, &[0.0], &[0.0, 1.0]);
}
