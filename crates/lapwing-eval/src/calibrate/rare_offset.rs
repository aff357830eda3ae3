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

use lapwing_model::TokenId;
use std::ops::ControlFlow;

use crate::common_tokens::CommonTokens;
use crate::conditions::RowBlock;
use crate::judge::RowSource;
use crate::pairs::PairError;

/// The shift lies within this distance of 0, in nats.
const SHIFT_MAX: f64 = 30.0;

/// Halvings of the interval in which the shift is searched: beyond the precision of `f32`.
const N_HALVINGS: usize = 48;

/// What the rows of some windows say about one offset.
struct Masses {
    /// For every row: the share of the common tokens, and the odds of the rare ones against them
    /// after the offset, `R'_t / C_t`.
    rows: Vec<(f64, f64)>,
}

/// For each of `offsets` one that changes no odds between the commonest tokens, and not the
/// probability that they have together, on average over the rows of `windows`.
///
/// Shapes: each offset `[n_tokens]`, like the flags of `common`.
pub(super) fn keep_common(
    offsets: &[Vec<f32>],
    common: &CommonTokens,
    windows: &[Vec<TokenId>],
    source: &mut RowSource<'_>,
) -> Result<Vec<Vec<f32>>, PairError> {
    let mut masses: Vec<Masses> = offsets.iter().map(|_| Masses { rows: Vec::new() }).collect();
    for window in windows {
        let on_block = &mut |block: &mut RowBlock| {
            for row_idx in 0..block.n_rows() {
                let row = block.model(row_idx);
                for (masses, offset) in masses.iter_mut().zip(offsets) {
                    masses.take(row, offset, common);
                }
            }
            ControlFlow::Continue(())
        };
        source.stream(window, on_block)?;
    }
    let shifted = masses.iter().zip(offsets).map(|(masses, offset)| {
        let shift = masses.shift() as f32;
        let flags = common.as_flags().iter();
        offset.iter().zip(flags).map(|(&o, &is_common)| if is_common { shift } else { o }).collect()
    });
    Ok(shifted.collect())
}

impl Masses {
    fn take(&mut self, row: &[f32], offset: &[f32], common: &CommonTokens) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let (mut of_common, mut of_rare, mut of_shifted) = (0.0, 0.0, 0.0);
        for ((&logit, &offset), &is_common) in row.iter().zip(offset).zip(common.as_flags()) {
            let weight = f64::from((logit - largest).exp());
            if is_common {
                of_common += weight;
            } else {
                of_rare += weight;
                of_shifted += weight * f64::from(offset).exp();
            }
        }
        let found = (of_common / (of_common + of_rare), of_shifted / of_common);
        // A row that leaves one of the groups nothing says nothing about the shift.
        if found.0.is_finite() && found.1.is_finite() {
            self.rows.push(found);
        }
    }

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
        let mut masses = Masses { rows: Vec::new() };
        rows.iter().for_each(|row| masses.take(row, &offset, &common));
        let shift = masses.shift();
        let share = |corrected: bool| -> f64 {
            let of_row = |row: &[f32; 5]| {
                let moved: Vec<f32> = (0..5)
                    .map(|token| {
                        let moved = if token < 2 { shift as f32 } else { offset[token] };
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
        let mut masses = Masses { rows: Vec::new() };
        masses.take(&[f32::NEG_INFINITY, 0.0], &[0.0, 1.0], &common);
        masses.take(&[f32::NAN, f32::NAN], &[0.0, 1.0], &common);
        assert_eq!(masses.shift(), 0.0);
    }
}
