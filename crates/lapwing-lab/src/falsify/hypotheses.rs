//! The three claims, each decided by one interval and what may speak against it.

use lapwing_eval::{Domain, Gate, Measure, Place, ScorePair, TreatmentScore};
use lapwing_report::number;
use lapwing_report::statistics::Interval;

use super::{Accuracy, FalsifyError, FalsifyOptions, Finding, Hypothesis, Speed};

/// What is slower than this share of the raw model's speed is not at matched latency.
const SPEED_RATIO_MIN: f64 = 0.99;

/// What cannot be done where scores give no interval.
pub(super) const INTERVALS: &str = "form the intervals of";

/// What the claims are decided on.
pub(super) struct Evidence<'a> {
    pub(super) options: &'a FalsifyOptions,
    /// The raw model's, in both domains where there are two.
    pub(super) raw: &'a TreatmentScore,
    /// The KLS that did best on windows of the calibration text.
    pub(super) best: &'a TreatmentScore,
    /// The default KLS.
    pub(super) fitted: &'a TreatmentScore,
    /// The default KLS with inverted gains.
    pub(super) inverted: &'a TreatmentScore,
    pub(super) speeds: &'a [Speed],
    pub(super) accuracies: &'a [Accuracy],
    /// NLL of the reference at home.
    pub(super) full_precision: f64,
}

/// H1, H2 and H3.
pub(super) fn decide(name: &str, evidence: &Evidence<'_>) -> Result<Vec<Hypothesis>, FalsifyError> {
    let improvement = |from: &TreatmentScore, to: &TreatmentScore, measure: Measure| {
        let gate = Gate::new(evidence.options.calibrate.gate, 1);
        let pair = ScorePair { raw: from, corrected: to };
        let verdict = gate
            .judge(&to.name, Place::RunTime, pair, None)
            .map_err(FalsifyError::part(INTERVALS, name))?;
        let of_measure = verdict
            .comparisons
            .into_iter()
            .find(|found| found.domain == Domain::Home && found.measure == measure);
        Ok::<_, FalsifyError>(
            of_measure.expect("both measures are taken with a reference").improvement_plain,
        )
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
    let speed = speeds.iter().find(|speed| speed.name == best.name);
    let ratios = speed.map(|speed| speed.ratio_range);
    let speed = speed.map_or(String::new(), |Speed { ratio, ratio_range: [low, high], .. }| {
        format!(
            "; tokens a second are {ratio:.3} of the raw model's, {} in single rounds",
            number::interval(*low, *high, |end| format!("{end:.3}")),
        )
    });
    Hypothesis {
        id: "H1".to_owned(),
        claim: "KLS lowers perplexity against the quantised baseline at matched latency".to_owned(),
        finding: at_matched_latency(finding(likelihood), ratios),
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

/// The finding on the likelihood, unless the correction is surely too slow.
///
/// `ratios` are the least and the largest of the rounds' ratios to the raw model's speed. The median
/// lies between them but for one chance in `2^(n_rounds - 1)`, so the verdict does not turn on the
/// noise of a single round.
fn at_matched_latency(likelihood: Finding, ratios: Option<[f64; 2]>) -> Finding {
    let is_slower = ratios.is_some_and(|[_, high]| high < SPEED_RATIO_MIN);
    match likelihood {
        // The claim is of both.
        Finding::Supported if is_slower => Finding::Refuted,
        finding => finding,
    }
}

fn narrower_gap(evidence: &Evidence<'_>, likelihood: Interval, divergence: Interval) -> Hypothesis {
    let Evidence { raw, best, accuracies, full_precision, .. } = evidence;
    let nll = TreatmentScore::mean_negative_log_likelihood;
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

fn perplexity(score: &TreatmentScore) -> f64 {
    score.mean_negative_log_likelihood().exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_decides_only_when_it_leaves_out_zero() {
        let check = |low: f64, high: f64, expected: Finding| {
            let estimate = (low + high) / 2.0;
            let interval = Interval { estimate, low, high, standard_error: Some(0.1) };
            assert_eq!(finding(interval), expected, "{low} {high}");
        };
        check(0.1, 0.3, Finding::Supported);
        check(-0.3, -0.1, Finding::Refuted);
        check(-0.1, 0.1, Finding::Undecided);
        check(0.0, 0.2, Finding::Undecided);
        check(-0.2, 0.0, Finding::Undecided);
    }

    #[test]
    fn a_noisy_ratio_of_speeds_does_not_turn_the_first_claim() {
        let check = |likelihood: Finding, ratios: Option<[f64; 2]>, expected: Finding| {
            assert_eq!(at_matched_latency(likelihood, ratios), expected, "{ratios:?}");
        };
        check(Finding::Supported, Some([0.9, 1.1]), Finding::Supported);
        // Slower in the middle and as fast in one round: not surely slower.
        check(Finding::Supported, Some([0.95, 0.991]), Finding::Supported);
        check(Finding::Supported, Some([0.8, 0.98]), Finding::Refuted);
        check(Finding::Supported, None, Finding::Supported);
        // Speed does not rescue what the likelihood says.
        check(Finding::Undecided, Some([0.8, 0.98]), Finding::Undecided);
        check(Finding::Refuted, Some([1.1, 1.2]), Finding::Refuted);
    }
}
