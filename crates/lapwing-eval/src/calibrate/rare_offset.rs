//! An offset that leaves the commonest tokens their probability.
//!
//! A quantised model tends to take probability from the commonest tokens, and a plain mean of
//! differences gives it back everywhere: also where a name or an object is due and the context says
//! so. KL falls, and the words that carry the meaning lose. So a second kind of offset shifts the
//! rare tokens against one another only, and all common ones by one number `s` which keeps what
//! they have together:
//!
//! ```text
//! s solves   mean_t  C_t e^s / (C_t e^s + R'_t)  =  mean_t  C_t / (C_t + R_t)
//! C_t  = sum of e^y over the common tokens of row t,  R_t of the rare ones,
//! R'_t = sum of e^(y + offset) over the rare ones
//! ```

use crate::common_tokens::CommonTokens;

/// The shift lies within this distance of 0, in nats.
const SHIFT_MAX: f64 = 30.0;

/// Halvings of the interval in which the shift is searched: beyond the precision of `f32`.
const N_HALVINGS: usize = 48;

/// Reads rows, and then makes of each of some offsets one that changes no odds between the
/// commonest tokens, and not the probability that they have together, on average over these rows.
pub(super) struct CommonKeeper<'a> {
    common: &'a CommonTokens,
    /// `e^offset` and what was found, one for each offset.
    offsets: Vec<(Vec<f64>, Masses)>,
    /// `e^(y - max)` of one row.
    weights: Vec<f64>,
}

/// What the rows say about one offset.
#[derive(Default)]
struct Masses {
    /// For every row: the share of the common tokens, and the odds of the rare ones against them
    /// after the offset, `R'_t / C_t`.
    rows: Vec<(f64, f64)>,
}

impl<'a> CommonKeeper<'a> {
    /// Shapes: each offset `[n_tokens]`, like the flags of `common`.
    pub(super) fn new(offsets: &[Vec<f32>], common: &'a CommonTokens) -> CommonKeeper<'a> {
        let factors = |offset: &Vec<f32>| offset.iter().map(|&o| f64::from(o).exp()).collect();
        let offsets = offsets.iter().map(|offset| (factors(offset), Masses::default()));
        CommonKeeper { common, offsets: offsets.collect(), weights: Vec::new() }
    }

    /// One for each of `offsets`, which are those that were given.
    pub(super) fn offsets(&self, offsets: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let shifted = self.offsets.iter().zip(offsets).map(|((_, masses), offset)| {
            let shift = masses.shift() as f32;
            let tokens = offset.iter().zip(self.common.as_flags());
            tokens.map(|(&o, &is_common)| if is_common { shift } else { o }).collect()
        });
        shifted.collect()
    }

    /// Take a row of the model in.
    pub(super) fn take(&mut self, row: &[f32]) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        self.weights.clear();
        self.weights.extend(row.iter().map(|&logit| f64::from((logit - largest).exp())));
        let flags = self.common.as_flags();
        let (mut of_common, mut of_rare) = (0.0, 0.0);
        for (weight, &is_common) in self.weights.iter().zip(flags) {
            *if is_common { &mut of_common } else { &mut of_rare } += weight;
        }
        for (factors, masses) in &mut self.offsets {
            let rare = self.weights.iter().zip(factors).zip(flags).filter(|(_, flag)| !**flag);
            let of_shifted: f64 = rare.map(|((weight, factor), _)| weight * *factor).sum();
            let found = (of_common / (of_common + of_rare), of_shifted / of_common);
            // A row that leaves one of the groups nothing says nothing about the shift.
            if found.0.is_finite() && found.1.is_finite() {
                masses.rows.push(found);
            }
        }
    }
}

impl Masses {
    /// The shift of the common tokens; 0 without rows.
    fn shift(&self) -> f64 {
        let wanted: f64 = self.rows.iter().map(|(share, _)| share).sum();
        let share = |shift: f64| -> f64 {
            let odds = (-shift).exp();
            self.rows.iter().map(|(_, rare)| 1.0 / (1.0 + rare * odds)).sum()
        };
        if self.rows.is_empty() {
            return 0.0;
        }
        let (mut low, mut high) = (-SHIFT_MAX, SHIFT_MAX);
        for _ in 0..N_HALVINGS {
            let middle = 0.5 * (low + high);
            if share(middle) < wanted { low = middle } else { high = middle }
        }
        0.5 * (low + high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn softmax(row: &[f32]) -> Vec<f64> {
        let sum: f64 = row.iter().map(|&y| f64::from(y).exp()).sum();
        row.iter().map(|&y| f64::from(y).exp() / sum).collect()
    }

    #[test]
    fn the_commonest_keep_their_probability_together() {
        let common = CommonTokens::of_text([0, 0, 0, 1, 1, 1, 2, 3, 4].into_iter(), 5);
        assert_eq!(common.as_flags(), [true, true, false, false, false]);
        let rows = [[1.0, 0.5, 0.0, -1.0, 2.0], [0.0, 3.0, 1.0, 0.5, 0.25]];
        let offset = [0.7, -0.2, 1.5, -0.5, 0.1];
        let offsets = [offset.to_vec(), vec![0.0; 5]];
        let mut keeper = CommonKeeper::new(&offsets, &common);
        rows.iter().for_each(|row| keeper.take(row));
        let found = keeper.offsets(&offsets);
        let shift = found[0][0];
        assert_eq!(found[0], [shift, shift, 1.5, -0.5, 0.1]);
        // What changes nothing needs no shift.
        assert!(found[1].iter().all(|offset| offset.abs() < 1e-6), "{:?}", found[1]);
        let share = |corrected: bool| -> f64 {
            let of_row = |row: &[f32; 5]| {
                let moved: Vec<f32> = (0..5)
                    .map(|token| {
                        let moved = if token < 2 { shift } else { offset[token] };
                        row[token] + if corrected { moved } else { 0.0 }
                    })
                    .collect();
                softmax(&moved)[..2].iter().sum::<f64>()
            };
            rows.iter().map(of_row).sum()
        };
        assert!((share(true) - share(false)).abs() < 1e-6, "{} {}", share(true), share(false));
        // Without it they would lose.
        assert!(0.1 < shift, "{shift}");
    }

    #[test]
    fn rows_that_say_nothing_move_nothing() {
        let common = CommonTokens::of_text([0].into_iter(), 2);
        let offsets = [vec![0.0, 1.0]];
        let mut keeper = CommonKeeper::new(&offsets, &common);
        keeper.take(&[f32::NEG_INFINITY, 0.0]);
        keeper.take(&[f32::NAN, f32::NAN]);
        assert_eq!(keeper.offsets(&offsets), [[0.0, 1.0]]);
    }
}
