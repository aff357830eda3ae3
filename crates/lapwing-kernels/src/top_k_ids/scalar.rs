use super::{Candidates, N_COLUMNS, bisect};

pub(super) fn column_maxima(table: &[[f32; N_COLUMNS]], maxima: &mut [f32; N_COLUMNS]) {
    *maxima = [f32::NEG_INFINITY; N_COLUMNS];
    for entries in table {
        for (maximum, &x) in maxima.iter_mut().zip(entries) {
            *maximum = x.max(*maximum);
        }
    }
}

pub(super) fn finite_column_maxima(table: &[[f32; N_COLUMNS]], maxima: &mut [f32; N_COLUMNS]) {
    *maxima = [f32::NEG_INFINITY; N_COLUMNS];
    for entries in table {
        for (maximum, &x) in maxima.iter_mut().zip(entries) {
            if x < f32::INFINITY && *maximum < x {
                *maximum = x;
            }
        }
    }
}

pub(super) fn scan_at_least(
    row: &[f32],
    threshold: f32,
    mut next_idx: usize,
    candidates: &mut Candidates,
) -> usize {
    while next_idx < row.len() && candidates.n_free() != 0 {
        if threshold <= row[next_idx] {
            candidates.push(next_idx, row[next_idx]);
        }
        next_idx += 1;
    }
    next_idx
}

pub(super) fn kth_largest(values: &[f32], k: usize, n_slack: usize) -> f32 {
    bisect(k, n_slack, |bound| count_at_least(values, bound))
}

pub(super) fn count_at_least(values: &[f32], bound: f32) -> usize {
    values.iter().filter(|value| bound <= **value).count()
}
