use super::{N_SUMS, Partial};

pub(super) fn finite_sum(blocks: &[[f32; N_SUMS]]) -> Partial {
    let mut partial = Partial { sums: [0.0; N_SUMS], n_finite: 0 };
    for block in blocks {
        add(&mut partial, block);
    }
    partial
}

pub(super) fn add(partial: &mut Partial, entries: &[f32]) {
    add_terms(partial, entries, |x| x);
}

pub(super) fn finite_squares(blocks: &[[f32; N_SUMS]], mean: f32) -> Partial {
    let mut partial = Partial { sums: [0.0; N_SUMS], n_finite: 0 };
    for block in blocks {
        add_squares(&mut partial, block, mean);
    }
    partial
}

pub(super) fn add_squares(partial: &mut Partial, entries: &[f32], mean: f32) {
    add_terms(partial, entries, |x| {
        let difference = x - f64::from(mean);
        difference * difference
    });
}

fn add_terms(partial: &mut Partial, entries: &[f32], term: impl Fn(f64) -> f64) {
    for (sum, &x) in partial.sums.iter_mut().zip(entries) {
        if x.is_finite() {
            *sum += term(f64::from(x));
            partial.n_finite += 1;
        }
    }
}
