//! What a compiled model computes, as far as an entry keeps it.

use serde::{Deserialize, Serialize};

/// So many logits of a row are kept.
const N_KEPT: usize = 64;

/// So far may logits that come out of the cache be from those that went in, as a share of the
/// largest. A device may choose its kernels anew, and they may compute in bf16.
const SHARE_ALLOWED: f32 = 0.05;

/// The row that a compiled model gave first, for tokens that are always the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FirstLogits {
    /// Length of the row.
    n_vocab: usize,
    /// The magnitude of its largest logit.
    largest: f32,
    /// Every so many of its logits; `None` is one that is not finite, for which JSON has no word.
    kept: Vec<Option<f32>>,
}

impl FirstLogits {
    pub(super) fn of(row: &[f32]) -> FirstLogits {
        let finite = row.iter().filter(|logit| logit.is_finite());
        let kept = places(row.len()).map(|id| Some(row[id]).filter(|logit| logit.is_finite()));
        FirstLogits {
            n_vocab: row.len(),
            largest: finite.fold(0.0, |largest, logit| largest.max(logit.abs())),
            kept: kept.collect(),
        }
    }

    /// Demand that `row` is what was kept.
    ///
    /// # Errors
    ///
    /// In what it differs.
    pub(super) fn require(&self, row: &[f32]) -> Result<(), String> {
        if row.len() != self.n_vocab {
            return Err(format!("{} logits instead of {}", row.len(), self.n_vocab));
        }
        let allowed = SHARE_ALLOWED * self.largest;
        for (id, &kept) in places(row.len()).zip(&self.kept) {
            let found = row[id];
            let is_same = match kept {
                Some(kept) => (found - kept).abs() <= allowed,
                None => !found.is_finite(),
            };
            if !is_same {
                let kept = kept.map_or("no number".to_owned(), |kept| kept.to_string());
                return Err(format!("logit {id} is {found} instead of {kept}"));
            }
        }
        Ok(())
    }
}

/// The logits of a row that are kept: the first of as many stretches, all of a short row.
fn places(n_vocab: usize) -> impl Iterator<Item = usize> {
    (0..n_vocab).step_by(n_vocab.div_ceil(N_KEPT).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_told_from_another_and_nan_from_a_number() {
        let row: Vec<f32> = (0..1000).map(|id| (id % 7) as f32 - 3.0).collect();
        let kept = FirstLogits::of(&row);
        assert!((32..=64).contains(&kept.kept.len()), "{}", kept.kept.len());
        let json = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<FirstLogits>(&json).unwrap(), kept);
        let check = |change: &dyn Fn(f32) -> f32, expected: Option<&str>| {
            let row: Vec<f32> = row.iter().map(|&logit| change(logit)).collect();
            let found = kept.require(&row).err();
            assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
            assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()));
        };
        check(&|logit| logit, None);
        check(&|logit| logit + 0.1, None);
        check(&|logit| logit + 0.2, Some("logit 0 is -2.8 instead of -3"));
        check(&|_| f32::NAN, Some("logit 0 is NaN instead of -3"));
        check(&|logit| -logit, Some("logit 0 is 3 instead of -3"));
        let found = kept.require(&row[1..]).unwrap_err();
        assert_eq!(found, "999 logits instead of 1000");
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        let kept = FirstLogits::of(&[f32::NEG_INFINITY, 1.0, f32::NAN]);
        let json = serde_json::to_string(&kept).unwrap();
        let kept: FirstLogits = serde_json::from_str(&json).unwrap();
        assert_eq!(kept.require(&[f32::NEG_INFINITY, 1.0, f32::NAN]), Ok(()));
        let found = kept.require(&[0.5, 1.0, f32::NAN]).unwrap_err();
        assert_eq!(found, "logit 0 is 0.5 instead of no number");
        // Every logit of a short row counts, and an empty row is one.
        assert!(kept.require(&[f32::NAN, 2.0, f32::NAN]).is_err());
        assert_eq!(FirstLogits::of(&[]).require(&[]), Ok(()));
    }
}
