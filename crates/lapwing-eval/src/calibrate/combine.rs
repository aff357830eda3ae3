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
        combined.push(make(name, offset_of(bias), smoothing.clone())?);
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

/// The offset of a candidate that is nothing else.
fn offset_of(candidate: &Candidate) -> Option<Arc<[f32]>> {
    match &candidate.condition.kind {
        ConditionKind::Corrected(correction) if correction.smoothing().is_none() => {
            correction.offset().map(Arc::from)
        }
        _ => None,
    }
}
