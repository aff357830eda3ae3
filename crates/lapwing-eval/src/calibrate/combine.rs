//! Corrections that build on the best KLS: with the best offset, and rescaled.

use std::sync::Arc;

use lapwing_logits::{Rescale, Smoothing};

use crate::calibrate::CalibrateError;
use crate::calibrate::candidates::{Candidate, correction};
use crate::gate::Place;
use crate::treatment::Treatment;

/// Largest logits whose variance is matched: about as many as ever have a chance.
const N_TOP: usize = 64;

/// What combined candidates build on, as places among the candidates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Selected {
    pub(super) smoothing: Option<usize>,
    pub(super) offset: Option<usize>,
}

/// The combinations with the KLS that was selected; none without one.
pub(super) fn with_best(
    candidates: &[Candidate],
    selected: Selected,
    n_tokens: usize,
) -> Result<Vec<Candidate>, CalibrateError> {
    let Some(best) = selected.smoothing.map(|best| &candidates[best]) else {
        return Ok(Vec::new());
    };
    let found = best.treatment.correction().and_then(|found| found.smoothing());
    let Some(smoothing) = found else { return Ok(Vec::new()) };
    let make = |name: String,
                offset: Option<Arc<[f32]>>,
                smoothing: Smoothing|
     -> Result<Candidate, CalibrateError> {
        let correction = correction(&name, n_tokens, offset, Some(smoothing))?;
        let treatment = Treatment::corrected(name.clone(), correction);
        let (place, estimator) = (Place::RunTime, best.estimator);
        Ok(Candidate { name, place, estimator, ridge: None, treatment })
    };
    let mut combined = Vec::new();
    if let Some(added) = selected.offset.map(|idx| &candidates[idx]) {
        let name = format!("{} + {}", added.name, best.name);
        let offset = offset_of(added);
        let smoothing = with_shifted_levels(smoothing, offset.as_deref());
        combined.push(make(name, offset, smoothing)?);
    }
    let rescales = [
        ("variance", Rescale::Variance),
        ("top variance", Rescale::TopVariance { n_top: N_TOP.min(n_tokens) }),
        ("entropy", Rescale::Entropy),
    ];
    for (what, rescale) in rescales {
        let name = format!("{}, {what} matched", best.name);
        combined.push(make(name, None, Smoothing { rescale, ..smoothing.clone() })?);
    }
    Ok(combined)
}

/// The smoothing for rows that the offset was added to: the levels that its state reverts to are
/// means of rows without it. Exact for the mean as gauge.
fn with_shifted_levels(smoothing: &Smoothing, offset: Option<&[f32]>) -> Smoothing {
    let mut shifted = smoothing.clone();
    if let (Some(reversion), Some(offset)) = (&mut shifted.reversion, offset) {
        let mean = offset.iter().map(|&offset| f64::from(offset)).sum::<f64>();
        let mean = (mean / offset.len().max(1) as f64) as f32;
        let levels = reversion.levels.iter().zip(offset);
        reversion.levels = levels.map(|(level, offset)| level + offset - mean).collect();
    }
    shifted
}

fn offset_of(candidate: &Candidate) -> Option<Arc<[f32]>> {
    candidate.treatment.correction().and_then(|found| found.offset()).map(Arc::from)
}

#[cfg(test)]
mod tests {
    use lapwing_logits::{Gains, Gauge, Levels, Scope};

    use super::*;

    #[test]
    fn the_offset_that_was_selected_is_built_on() {
        let smoothing = Smoothing {
            gains: Gains::One(0.5),
            scope: Scope::Full,
            gauge: Gauge::Mean,
            reversion: None,
            rescale: Rescale::Off,
        };
        let made = |name: &str, offset: Option<f32>, smoothing: Option<Smoothing>| {
            let offset = offset.map(|offset| vec![offset, -offset].into());
            let correction = correction(name, 2, offset, smoothing).unwrap();
            let treatment = Treatment::corrected(name, correction);
            let (name, place) = (name.to_owned(), Place::RunTime);
            Candidate { name, place, estimator: None, ridge: None, treatment }
        };
        let candidates = [
            made("a", Some(1.0), None),
            made("b", Some(2.0), None),
            made("k", None, Some(smoothing)),
        ];
        let check = |offset: Option<usize>, expected: Option<(&str, f32)>| {
            let selected = Selected { smoothing: Some(2), offset };
            let found = with_best(&candidates, selected, 2).unwrap();
            let found = found.iter().find_map(|one| Some((one.name.as_str(), offset_of(one)?[0])));
            assert_eq!(found, expected);
        };
        check(Some(0), Some(("a + k", 1.0)));
        check(Some(1), Some(("b + k", 2.0)));
        check(None, None);
        let none = with_best(&candidates, Selected { smoothing: None, offset: Some(0) }, 2);
        assert!(none.unwrap().is_empty());
    }

    #[test]
    fn a_state_reverts_to_the_levels_of_the_rows_it_sees() {
        let smoothing = Smoothing {
            gains: Gains::One(0.5),
            scope: Scope::Full,
            gauge: Gauge::Mean,
            reversion: Some(Levels { coefficient: 0.5, levels: vec![1.0, -1.0].into() }),
            rescale: Rescale::Off,
        };
        let levels = |offset: Option<&[f32]>| {
            with_shifted_levels(&smoothing, offset).reversion.unwrap().levels.to_vec()
        };
        // The mean of the offsets goes with the gauge.
        assert_eq!(levels(Some(&[3.0, 1.0])), [2.0, -2.0]);
        assert_eq!(levels(None), [1.0, -1.0]);
    }
}
