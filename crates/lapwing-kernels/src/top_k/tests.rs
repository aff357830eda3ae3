use super::{Candidate, top_k, top_k_buffer_len};
use crate::Level;
use crate::oracle::{rows, spread};

/// The definition: sort everything.
fn expected(logits: &[f32], k: usize) -> Vec<Candidate> {
    let all = logits.iter().enumerate().filter(|(_, logit)| !logit.is_nan());
    let mut all: Vec<Candidate> =
        all.map(|(idx, &logit)| Candidate { token_idx: idx as u32, logit }).collect();
    // The sort is stable, so ties stay in index order; 0.0 and -0.0 compare equal.
    all.sort_by(|a, b| b.logit.partial_cmp(&a.logit).unwrap());
    all.truncate(k);
    all
}

fn check(level: Level, logits: &[f32], k: usize, name: &str) {
    let mut buffer = vec![Candidate::default(); top_k_buffer_len(logits.len(), k)];
    let found = top_k(level, logits, k, &mut buffer);
    assert_eq!(found, expected(logits, k), "{level:?} {name} k={k}");
}

#[test]
fn every_level_agrees_with_a_full_sort() {
    for row in rows() {
        for k in [0, 1, 2, 3, 40, 100, 1000] {
            for level in Level::available_for_floats() {
                check(level, &row.logits, k, &row.name);
            }
        }
    }
}

#[test]
fn more_than_the_row_has_gives_the_row() {
    for level in Level::available_for_floats() {
        for len in 0..=67 {
            check(level, &spread(len), len, "all");
            check(level, &spread(len), len + 1, "one more");
            check(level, &spread(len), usize::MAX, "far more");
        }
    }
}

#[test]
fn an_ascending_row_refills_the_buffer_again_and_again() {
    let ascending: Vec<f32> = (0..5000).map(|i| i as f32).collect();
    let descending: Vec<f32> = ascending.iter().map(|logit| -logit).collect();
    for level in Level::available_for_floats() {
        for k in [1, 7, 40, 2467, 2468, 4999] {
            check(level, &ascending, k, "ascending");
            check(level, &descending, k, "descending");
        }
    }
}

#[test]
fn ties_beyond_the_buffer_keep_the_lower_index() {
    for level in Level::available_for_floats() {
        check(level, &[1.5; 3000], 10, "flat");
        check(level, &[f32::NEG_INFINITY; 3000], 10, "minus infinity");
        let mut zeros = vec![0.0f32; 3000];
        zeros.iter_mut().step_by(2).for_each(|logit| *logit = -0.0);
        check(level, &zeros, 10, "signed zeros");
    }
}

#[test]
fn nan_is_never_chosen() {
    for level in Level::available_for_floats() {
        check(level, &[f32::NAN; 300], 10, "all");
        let mut logits = spread(3000);
        logits.iter_mut().step_by(3).for_each(|logit| *logit = f32::NAN);
        check(level, &logits, 10, "every third");
        logits[..2500].fill(f32::NAN);
        check(level, &logits, 10, "a long run first");
    }
}

#[test]
#[should_panic(expected = "buffer of 3 for 10 candidates")]
fn a_short_buffer_is_a_programmer_error() {
    top_k(Level::SCALAR, &spread(10), 5, &mut [Candidate::default(); 3]);
}
