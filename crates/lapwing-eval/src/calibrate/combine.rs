//! Corrections that build on the best KLS: with the bias removed, and rescaled.

use std::sync::Arc;

use lapwing_logits::{Rescale, Smoothing};

use crate::calibrate::CalibrateError;
use crate::calibrate::candidates::{Candidate, correction};
use crate::conditions::{Condition, ConditionKind};
use crate::gate::Place;

/// Largest logits whose variance is matched: about as many as ever have a chance.
const N_TOP: usize = 64;

/// The combinations with the candidate `best`; none without one.
pub(super) fn with_best(
    candidates: &[Candidate],
    best: Option<usize>,
    n_tokens: usize,
) -> Result<Vec<Candidate>, CalibrateError> {
    let Some(best) = best.map(|best| &candidates[best]) else { return Ok(Vec::new()) };
    let ConditionKind::Corrected(found) = &best.condition.kind else { return Ok(Vec::new()) };
    let Some(smoothing) = found.smoothing() else { return Ok(Vec::new()) };
    let make = |name: String, offset: Option<Arc<[f32]>>, smoothing: Smoothing| {
        let correction = correction(&name, n_tokens, offset, Some(smoothing))?;
        let condition = Condition::corrected(name.clone(), correction);
        let (place, estimator) = (Place::RunTime, best.estimator);
        Ok(Candidate { name, place, estimator, ridge: None, condition })
    };
    let mut combined = Vec::new();
    let is_offset = |candidate: &&Candidate| offset_of(candidate).is_some();
    if let Some(bias) = candidates.iter().find(is_offset) {
        let name = format!("{} + {}", bias.name, best.name);
        let offset = offset_of(bias);
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

/// The offset of a candidate that is nothing else.
fn offset_of(candidate: &Candidate) -> Option<Arc<[f32]>> {
    match &candidate.condition.kind {
        ConditionKind::Corrected(correction) if correction.smoothing().is_none() => {
            correction.offset().map(Arc::from)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use lapwing_logits::{Gains, Gauge, Levels, Scope};

    use super::*;

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
