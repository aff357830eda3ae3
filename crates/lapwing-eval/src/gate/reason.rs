//! The decision on one candidate, in words.

use lapwing_report::number;
use lapwing_report::statistics::Interval;

use crate::gate::{
    AS_GOOD_NATS, AS_GOOD_SHARE, Comparison, Domain, GateOptions, Measure, N_WINDOWS_MIN,
    RepetitionComparison, deciding_measure,
};

/// Whether a candidate passes, and why.
pub(super) struct Finding {
    pub(super) passes: bool,
    pub(super) text: String,
}

/// The decision as far as scores go; `sparse` are the domains with too few windows in which there
/// are rare tokens, and how many these are.
pub(super) fn of_scores(
    comparisons: &[Comparison],
    sparse: &[(Domain, usize)],
    options: &GateOptions,
) -> Finding {
    let refused = |text: String| Finding { passes: false, text };
    let measure = deciding_measure(comparisons);
    let (of_rare, of_all): (Vec<&Comparison>, Vec<&Comparison>) =
        comparisons.iter().partition(|found| found.measure.is_of_rare());
    for found in of_all.iter().copied() {
        if found.improvement_plain.high < 0.0 {
            return refused(format!(
                "{} gets worse {}: by {}",
                name(found.measure),
                place(found.domain),
                amount(&negated(&found.improvement_plain)),
            ));
        }
    }
    // Without a reference the other domain only has to be no worse: NLL is the noisier measure.
    let must_improve = |found: &&Comparison| {
        found.measure == measure && (measure == Measure::Divergence || found.domain == Domain::Home)
    };
    let deciding: Vec<&Comparison> = of_all.iter().copied().filter(must_improve).collect();
    if let Some(text) = deciding.iter().find_map(|found| too_little(found, options)) {
        return refused(text);
    }
    if let Some(&(domain, n)) = sparse.first() {
        return refused(format!(
            "{}, but only {n} windows {} hold rare tokens: at least {N_WINDOWS_MIN} are needed",
            falls(&deciding, measure),
            place(domain),
        ));
    }
    if let Some(found) = of_rare.iter().find(|found| is_harm(found)) {
        let text = format!("{}, but {}", falls(&deciding, measure), harm_to_rare(found));
        return refused(text);
    }
    let is_judged_elsewhere = comparisons.iter().any(|found| found.domain == Domain::Other);
    if !is_judged_elsewhere && !options.allow_one_domain {
        return refused("there is no text of another domain to judge it on".to_owned());
    }
    Finding { passes: true, text: falls(&deciding, measure) }
}

/// What keeps a change of the measure that decides from being enough, if anything does.
fn too_little(found: &Comparison, options: &GateOptions) -> Option<String> {
    let (measure, place) = (found.measure, place(found.domain));
    let Interval { estimate, low, .. } = found.improvement;
    let amount = amount(&found.improvement);
    if low <= 0.0 {
        return Some(format!("{} does not surely fall {place}: by {amount}", name(measure)));
    }
    if low < options.min_gain_nats {
        let least = options.min_gain_nats;
        return Some(format!(
            "{} does not surely fall {place} by {least} nat: by {amount}",
            name(measure)
        ));
    }
    let share = estimate / found.raw;
    if measure == Measure::Divergence && share < options.min_divergence_share {
        return Some(format!(
            "{} falls {place} by {:.2} % only, less than {:.2} %",
            name(measure),
            share * 100.0,
            options.min_divergence_share * 100.0,
        ));
    }
    None
}

fn falls(deciding: &[&Comparison], measure: Measure) -> String {
    let falls: Vec<String> = deciding
        .iter()
        .map(|found| format!("{} by {}", place(found.domain), amount(&found.improvement)))
        .collect();
    format!("{} falls {}", name(measure), falls.join(", "))
}

/// Whether rare tokens may lose. What is as good as the reference is no harm: a model that
/// bets on rare tokens more than the reference does may bet less.
fn is_harm(found: &Comparison) -> bool {
    let is_as_good = |reference: f64| {
        let slack = match found.measure {
            Measure::RareMisses => AS_GOOD_SHARE * (1.0 - reference),
            _ => AS_GOOD_NATS,
        };
        found.corrected <= reference + slack
    };
    found.improvement_plain.low < 0.0 && !found.reference.is_some_and(is_as_good)
}

/// What a measure of rare tokens says against a candidate.
fn harm_to_rare(found: &Comparison) -> String {
    let place = place(found.domain);
    let harm = negated(&found.improvement_plain);
    let Interval { estimate, low, high, .. } = harm;
    let may = if 0.0 < low { "" } else { "may " };
    let s = if 0.0 < low { "s" } else { "" };
    match found.measure {
        Measure::RareMisses => format!(
            "the probability of rare tokens {may}fall{s} {place}: by {:.3} % ({})",
            estimate * 100.0,
            number::interval(low * 100.0, high * 100.0, |end| format!("{end:.3}")),
        ),
        _ => format!("NLL of rare tokens {may}rise{s} {place}: by {}", amount(&harm)),
    }
}

/// The decision on a candidate that passed by its scores, `so_far` saying how.
pub(super) fn of_repetition(found: &RepetitionComparison, so_far: &str) -> Finding {
    for (what, shares) in [("4-grams", &found.grams), ("tokens at once", &found.immediate)] {
        let is_over_reference = shares.excess.is_none_or(|excess| 0.0 < excess.low);
        if 0.0 < shares.increase.low && is_over_reference {
            let text = format!(
                "{so_far}, but free generation repeats more {what}: {:.1} % instead of {:.1} %",
                shares.corrected * 100.0,
                shares.raw * 100.0,
            );
            return Finding { passes: false, text };
        }
    }
    let text = format!("{so_far}; free generation does not surely repeat more");
    Finding { passes: true, text }
}

fn name(measure: Measure) -> &'static str {
    match measure {
        Measure::NegativeLogLikelihood => "NLL",
        Measure::Divergence => "KL",
        Measure::RareNegativeLogLikelihood => "NLL of rare tokens",
        Measure::RareMisses => "probability beside rare tokens",
    }
}

fn place(domain: Domain) -> &'static str {
    match domain {
        Domain::Home => "at home",
        Domain::Other => "in the other domain",
    }
}

fn negated(interval: &Interval) -> Interval {
    let Interval { estimate, low, high, .. } = *interval;
    Interval { estimate: -estimate, low: -high, high: -low, ..*interval }
}

fn amount(interval: &Interval) -> String {
    let Interval { estimate, low, high, .. } = *interval;
    format!("{estimate:.5} nat ({})", number::interval(low, high, |end| format!("{end:.5}")))
}
