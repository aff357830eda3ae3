//! The three claims, each decided by one interval and what may speak against it.

use super::{Accuracy, FalsifyError, FalsifyOptions, Finding, Group, Hypothesis, Speed, Subject};
use crate::bootstrap::Interval;
use crate::calibrate::CalibrateError;
use crate::gate::{Domain, Gate, Measure, Place, ScorePair};
use crate::judge::ConditionScore;

/// A correction that costs more than this share of the speed is not at matched latency.
const SPEED_RATIO_MIN: f64 = 0.99;

/// What the claims are decided on.
pub(super) struct Evidence<'a> {
    pub(super) options: &'a FalsifyOptions,
    /// The raw model's, in both domains where there are two.
    pub(super) raw: &'a ConditionScore,
    /// The KLS that did best on windows of the calibration text.
    pub(super) best: &'a ConditionScore,
    /// The default KLS.
    pub(super) fitted: &'a ConditionScore,
    /// The default KLS with inverted gains.
    pub(super) inverted: &'a ConditionScore,
    pub(super) speeds: &'a [Speed],
    pub(super) accuracies: &'a [Accuracy],
    /// NLL of the reference at home.
    pub(super) full_precision: f64,
}

/// H1, H2 and H3.
pub(super) fn decide(name: &str, evidence: &Evidence<'_>) -> Result<Vec<Hypothesis>, FalsifyError> {
    let improvement = |from: &ConditionScore, to: &ConditionScore, measure: Measure| {
        let gate = Gate::new(evidence.options.calibrate.gate, 1);
        let pair = ScorePair { raw: from, corrected: to };
        let verdict = gate.judge(&to.name, Place::RunTime, pair, None).map_err(|source| {
            let source = Box::new(CalibrateError::Intervals(source));
            FalsifyError::Calibrate { name: name.to_owned(), source }
        })?;
        let of_measure = verdict
            .comparisons
            .into_iter()
            .find(|found| found.domain == Domain::Home && found.measure == measure);
        Ok(of_measure.expect("both measures are taken with a reference").improvement_plain)
    };
    let (raw, best) = (evidence.raw, evidence.best);
    let likelihood = improvement(raw, best, Measure::NegativeLogLikelihood)?;
    let divergence = improvement(raw, best, Measure::Divergence)?;
    let (inverted, fitted) = (evidence.inverted, evidence.fitted);
    let inversion = improvement(inverted, fitted, Measure::NegativeLogLikelihood)?;
    Ok(vec![
        lower_perplexity(evidence, likelihood),
        narrower_gap(evidence, likelihood, divergence),
        inverted_gains_hurt(evidence, inversion),
    ])
}

fn lower_perplexity(evidence: &Evidence<'_>, likelihood: Interval) -> Hypothesis {
    let Evidence { raw, best, speeds, .. } = evidence;
    let ratio = speeds.iter().find(|speed| speed.name == best.name).map(|speed| speed.ratio);
    let is_slower = ratio.is_some_and(|ratio| ratio < SPEED_RATIO_MIN);
    let finding = match finding(likelihood) {
        Finding::Supported if is_slower => Finding::Undecided,
        finding => finding,
    };
    let speed = ratio.map_or(String::new(), |ratio| {
        format!("; tokens a second are {ratio:.3} of the raw model's")
    });
    Hypothesis {
        id: "H1".to_owned(),
        claim: "KLS lowers perplexity against the quantised baseline at matched latency".to_owned(),
        finding,
        condition: best.name.clone(),
        measure: "NLL, raw less KLS, nats a token".to_owned(),
        interval: likelihood,
        statement: format!(
            "perplexity {:.2} without and {:.2} with the best KLS ({}){speed}",
            perplexity(raw),
            perplexity(best),
            best.name,
        ),
    }
}

fn narrower_gap(evidence: &Evidence<'_>, likelihood: Interval, divergence: Interval) -> Hypothesis {
    let Evidence { raw, best, accuracies, full_precision, .. } = evidence;
    let nll = ConditionScore::mean_negative_log_likelihood;
    let of = |name: &str| accuracies.iter().find(|accuracy| accuracy.name == name);
    let is_as_accurate = match (of(&raw.name), of(&best.name)) {
        (Some(without), Some(with)) => without.value <= with.value,
        _ => false,
    };
    let finding = match (finding(likelihood), finding(divergence)) {
        // The claim is of both: text alone can refute it, and cannot support it.
        (Finding::Supported, Finding::Supported) if is_as_accurate => Finding::Supported,
        (Finding::Refuted, _) | (_, Finding::Refuted) => Finding::Refuted,
        _ => Finding::Undecided,
    };
    let task = match (of(&raw.name), of(&best.name)) {
        (Some(without), Some(with)) => format!(
            "; {} {:.3} without and {:.3} with it",
            without.score, without.value, with.value
        ),
        _ => String::new(),
    };
    Hypothesis {
        id: "H2".to_owned(),
        claim: "KLS narrows the gap to full precision, in perplexity and in tasks".to_owned(),
        finding,
        condition: best.name.clone(),
        measure: "KL(reference || model), raw less KLS, nats a token".to_owned(),
        interval: divergence,
        statement: format!(
            "the gap in NLL is {:.4} nats without and {:.4} with the best KLS, KL {:.4} and \
             {:.4}{task}",
            nll(raw) - full_precision,
            nll(best) - full_precision,
            raw.mean_divergence().unwrap_or(f64::NAN),
            best.mean_divergence().unwrap_or(f64::NAN),
        ),
    }
}

fn inverted_gains_hurt(evidence: &Evidence<'_>, inversion: Interval) -> Hypothesis {
    let Evidence { raw, fitted, inverted, .. } = evidence;
    Hypothesis {
        id: "H3".to_owned(),
        claim: "mis-specified gains hurt, so the effect is not one of temperature".to_owned(),
        finding: finding(inversion),
        condition: inverted.name.clone(),
        measure: "NLL, inverted less fitted gains, nats a token".to_owned(),
        interval: inversion,
        statement: format!(
            "perplexity {:.2} with fitted gains ({}), {:.2} with inverted ones, {:.2} without KLS",
            perplexity(fitted),
            fitted.name,
            perplexity(inverted),
            perplexity(raw),
        ),
    }
}

fn finding(interval: Interval) -> Finding {
    if 0.0 < interval.low {
        Finding::Supported
    } else if interval.high < 0.0 {
        Finding::Refuted
    } else {
        Finding::Undecided
    }
}

fn perplexity(score: &ConditionScore) -> f64 {
    score.mean_negative_log_likelihood().exp()
}

impl Subject {
    /// The result of the first condition in a group.
    #[must_use]
    pub fn first_of(&self, group: Group) -> Option<&super::ConditionResult> {
        self.conditions.iter().find(|condition| condition.group == group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_decides_only_when_it_leaves_out_zero() {
        let check = |low: f64, high: f64, expected: Finding| {
            let interval = Interval { mean: (low + high) / 2.0, low, high, standard_error: 0.1 };
            assert_eq!(finding(interval), expected, "{low} {high}");
        };
        check(0.1, 0.3, Finding::Supported);
        check(-0.3, -0.1, Finding::Refuted);
        check(-0.1, 0.1, Finding::Undecided);
        check(0.0, 0.2, Finding::Undecided);
        check(-0.2, 0.0, Finding::Undecided);
    }
}
