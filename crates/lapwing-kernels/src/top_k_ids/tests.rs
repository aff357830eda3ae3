use super::{TopKIdsBuffer, top_k_ids};
use crate::Level;
use crate::oracle::{rows_with_infinity, spread};

/// The definition: sort everything.
fn expected(row: &[f32], k: usize) -> Vec<u32> {
    let mut ids: Vec<u32> =
        (0..row.len() as u32).filter(|&id| row[id as usize].is_finite()).collect();
    // The sort is stable, so ties stay in index order; 0.0 and -0.0 compare equal.
    ids.sort_by(|&a, &b| row[b as usize].partial_cmp(&row[a as usize]).unwrap());
    ids.truncate(k);
    ids.sort_unstable();
    ids
}

fn check(row: &[f32], k: usize, name: &str) {
    let expected = expected(row, k);
    for level in Level::available_for_floats() {
        let mut buffer = TopKIdsBuffer::new(row.len(), k);
        // Twice: what a call leaves in the buffer must not matter.
        for _ in 0..2 {
            let found = top_k_ids(level, row, k, &mut buffer);
            assert_eq!(found, expected, "{level:?} {name} k={k}");
        }
    }
}

#[test]
fn every_level_agrees_with_a_full_sort() {
    for row in rows_with_infinity() {
        for k in [0, 1, 2, 3, 40, 512, 1024] {
            check(&row.logits, k, &row.name);
        }
    }
}

#[test]
fn more_than_the_row_has_gives_the_row() {
    for len in 0..=67 {
        check(&spread(len), len, "all");
        check(&spread(len), len + 1, "one more");
        check(&spread(len), usize::MAX, "far more");
    }
    check(&spread(3000), 2999, "all but one");
    check(&spread(3000), 3000, "all");
}

#[test]
fn an_ascending_row_refills_the_buffer_again_and_again() {
    let ascending: Vec<f32> = (0..20_000).map(|i| i as f32).collect();
    let descending: Vec<f32> = ascending.iter().map(|x| -x).collect();
    for k in [1, 7, 40, 512, 4999] {
        check(&ascending, k, "ascending");
        check(&descending, k, "descending");
    }
}

#[test]
fn ties_keep_the_lower_ids() {
    for k in [1, 10, 64, 700] {
        check(&[1.5; 30_000], k, "flat");
        check(&[f32::MAX; 30_000], k, "largest");
        check(&[f32::MIN; 30_000], k, "smallest");
        let mut zeros = vec![0.0f32; 30_000];
        zeros.iter_mut().step_by(2).for_each(|x| *x = -0.0);
        check(&zeros, k, "signed zeros");
        let steps: Vec<f32> = (0..30_000).map(|i| ((i * 37) % 11) as f32).collect();
        check(&steps, k, "steps");
    }
}

#[test]
fn what_is_not_finite_is_never_chosen() {
    for hole in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        check(&[hole; 3000], 10, "nothing else");
        let mut row = spread(30_000);
        row.iter_mut().step_by(3).for_each(|x| *x = hole);
        check(&row, 100, "every third");
        row[..29_900].fill(hole);
        check(&row, 100, "a long run first");
        row[..29_999].fill(hole);
        check(&row, 100, "all but the last");
    }
}

#[test]
fn one_buffer_serves_smaller_rows_and_smaller_k() {
    let row = spread(50_000);
    for level in Level::available_for_floats() {
        let mut buffer = TopKIdsBuffer::new(row.len(), 512);
        for (len, k) in [(50_000, 512), (50_000, 1), (700, 512), (3, 2), (0, 5), (50_000, 100)] {
            let found = top_k_ids(level, &row[..len], k, &mut buffer);
            assert_eq!(found, expected(&row[..len], k), "{level:?} {len} {k}");
        }
    }
}

#[test]
#[should_panic(expected = "row of 10 entries, room for 9")]
fn a_longer_row_is_a_programmer_error() {
    top_k_ids(Level::SCALAR, &spread(10), 5, &mut TopKIdsBuffer::new(9, 5));
}

#[test]
#[should_panic(expected = "k = 6, room for 5")]
fn a_larger_k_is_a_programmer_error() {
    top_k_ids(Level::SCALAR, &spread(10), 6, &mut TopKIdsBuffer::new(10, 5));
}
