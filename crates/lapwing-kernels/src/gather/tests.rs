use super::{gather, scatter};
use crate::Level;
use crate::oracle::{bits, rows_with_infinity, spread_from};

/// Ids that jump about in a row of `n_row`, some twice.
fn ids(n_row: usize) -> Vec<u32> {
    (0..n_row as u32).rev().step_by(3).chain((0..n_row as u32).step_by(3)).collect()
}

fn distinct(mut ids: Vec<u32>) -> Vec<u32> {
    ids.sort_unstable();
    ids.dedup();
    ids.reverse();
    ids
}

#[test]
fn gather_agrees_with_the_definition_on_every_level() {
    for row in rows_with_infinity() {
        let ids = ids(row.logits.len());
        for n_ids in [0, 1, 7, 16, 17, 40, ids.len()].map(|n| n.min(ids.len())) {
            let ids = &ids[..n_ids];
            let expected: Vec<f32> = ids.iter().map(|&id| row.logits[id as usize]).collect();
            for level in Level::available_for_floats() {
                let mut found = vec![0.0; n_ids];
                gather(level, &row.logits, ids, &mut found);
                assert_eq!(bits(&found), bits(&expected), "{level:?} {} {n_ids}", row.name);
            }
        }
    }
}

#[test]
fn scatter_agrees_with_the_definition_on_every_level() {
    for row in rows_with_infinity() {
        let ids = distinct(ids(row.logits.len()));
        for n_ids in [0, 1, 7, 16, 17, 40, ids.len()].map(|n| n.min(ids.len())) {
            let ids = &ids[..n_ids];
            let values = spread_from(n_ids, 17);
            let mut expected = row.logits.clone();
            for (&id, &value) in ids.iter().zip(&values) {
                expected[id as usize] = value;
            }
            for level in Level::available_for_floats() {
                let mut found = row.logits.clone();
                scatter(level, &values, ids, &mut found);
                assert_eq!(bits(&found), bits(&expected), "{level:?} {} {n_ids}", row.name);
            }
        }
    }
}

/// At every place of the list, and also what a signed number cannot hold.
#[test]
fn an_id_outside_the_row_panics_on_every_level() {
    for level in Level::available_for_floats() {
        for bad in [40, 41, i32::MAX as u32, i32::MAX as u32 + 1, u32::MAX] {
            for bad_idx in 0..37 {
                let mut ids: Vec<u32> = (0..37).collect();
                ids[bad_idx] = bad;
                let gathered = std::panic::catch_unwind(|| {
                    gather(level, &[0.0; 40], &ids, &mut [0.0; 37]);
                });
                let scattered = std::panic::catch_unwind(|| {
                    scatter(level, &[0.0; 37], &ids, &mut [0.0; 40]);
                });
                assert!(gathered.is_err() && scattered.is_err(), "{level:?} {bad} at {bad_idx}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "ids and out")]
fn another_length_of_out_is_a_programmer_error() {
    gather(Level::SCALAR, &[0.0; 3], &[1, 2], &mut [0.0; 1]);
}

#[test]
#[should_panic(expected = "values and ids")]
fn another_length_of_values_is_a_programmer_error() {
    scatter(Level::SCALAR, &[0.0; 3], &[1, 2], &mut [0.0; 3]);
}
