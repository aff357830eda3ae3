use super::*;
use crate::judge::{RareScore, RareSums, WindowScore};
use crate::repetition::Repetition;
use crate::test_numbers::Numbers;

const OPTIONS: GateOptions = GateOptions {
    confidence: 0.95,
    n_resamples: 1000,
    seed: 5,
    min_divergence_share: 0.0,
    min_gain_nats: 0.0,
    allow_one_domain: false,
};

const N_WINDOWS: usize = 24;

/// How far the windows of a changed treatment are from its mean change, in nats, up and down.
const NOISE: f64 = 0.01;

/// Scores about 3 nats (NLL) and 0.5 nats (KL) a token, which depend on the window's text; a
/// `change` is added to both, with noise.
fn score(change: Option<(f64, Option<f64>)>, has_reference: bool) -> TreatmentScore {
    let mut numbers = Numbers::new(1);
    let n = 100;
    let window = |window_idx: usize| {
        let text = numbers.normal();
        let noise = if window_idx.is_multiple_of(2) { NOISE } else { -NOISE };
        let (nll, kl) =
            change.map_or((0.0, 0.0), |(nll, kl)| (nll + noise, kl.unwrap_or(0.0) + noise));
        WindowScore {
            n,
            negative_log_likelihood: n as f64 * (3.0 + 0.3 * text + nll),
            divergence: has_reference.then_some(n as f64 * (0.5 + 0.1 * text + kl)),
            n_agreeing: has_reference.then_some(70),
            rare: None,
        }
    };
    TreatmentScore {
        name: "c".into(),
        windows: (0..N_WINDOWS).map(window).collect(),
        divergence_by_position: Vec::new(),
    }
}

/// Changes of NLL and KL in a domain.
type Change = (f64, Option<f64>);

fn verdict(options: GateOptions, home: Change, other: Option<Change>) -> Verdict {
    let has_reference = home.1.is_some();
    let raw = score(None, has_reference);
    let home = score(Some(home), has_reference);
    let other = other.map(|other| score(Some(other), has_reference));
    let pair = |corrected| ScorePair { raw: &raw, corrected };
    Gate::new(options, 20)
        .judge("c", Place::RunTime, pair(&home), other.as_ref().map(pair))
        .expect("intervals")
}

#[test]
fn only_sure_improvements_pass() {
    let check = |home: Change, other: Option<Change>, passes: bool, reason: &str| {
        let found = verdict(OPTIONS, home, other);
        assert_eq!(found.passes, passes, "{found:?}");
        assert!(found.reason.starts_with(reason), "{:?} is not {reason:?}", found.reason);
    };
    let better = (-0.05, Some(-0.05));
    let same = (0.0, Some(0.0));
    check(better, Some(better), true, "KL falls at home by 0.05");
    check((0.0, Some(-0.05)), Some(better), true, "KL falls at home by 0.05");
    check(better, Some(same), false, "KL does not surely fall in the other domain");
    check(same, Some(better), false, "KL does not surely fall at home");
    check(better, Some((0.05, Some(-0.05))), false, "NLL gets worse in the other domain: by 0.0");
    check(better, Some((0.0, Some(0.05))), false, "KL gets worse in the other domain");
    check(better, None, false, "there is no text of another domain");
    // Without a reference.
    check((-0.05, None), Some((0.0, None)), true, "NLL falls at home by 0.05");
    check((0.0, None), Some((-0.05, None)), false, "NLL does not surely fall at home");
    check((-0.05, None), Some((0.05, None)), false, "NLL gets worse in the other domain");
    check((-0.05, None), None, false, "there is no text of another domain");
}

/// Changes of the NLL and of the probability of rare tokens.
type Rare = (f64, f64);

/// A score with rare tokens in its last `n_filled` windows; a change comes with noise.
fn with_rare(
    mut score: TreatmentScore,
    (nll, probability): Rare,
    reference: Option<Rare>,
    n_filled: usize,
) -> TreatmentScore {
    for (window_idx, window) in score.windows.iter_mut().enumerate() {
        let n = if window_idx < N_WINDOWS - n_filled { 0 } else { 40 };
        let side = if window_idx.is_multiple_of(2) { 1.0 } else { -1.0 };
        let noisy = |change: f64, noise: f64| match change {
            0.0 => 0.0,
            _ => change + side * noise,
        };
        let of_reference = reference.map(|(nll, probability)| RareSums {
            negative_log_likelihood: n as f64 * nll,
            probability: n as f64 * probability,
        });
        window.rare = Some(RareScore {
            n,
            negative_log_likelihood: n as f64 * (6.0 + noisy(nll, NOISE)),
            probability: n as f64 * (0.25 + noisy(probability, 0.1 * NOISE)),
            of_reference,
        });
    }
    score
}

/// The verdict on a candidate that gains enough elsewhere.
fn verdict_on_rare(reference: Option<Rare>, home: Rare, other: Rare, n_filled: usize) -> Verdict {
    let better = score(Some((-0.05, Some(-0.05))), true);
    let raw = with_rare(score(None, true), (0.0, 0.0), reference, n_filled);
    let home = with_rare(better.clone(), home, reference, n_filled);
    let other = with_rare(better, other, reference, n_filled);
    let pair = |corrected| ScorePair { raw: &raw, corrected };
    let gate = Gate::new(OPTIONS, 20);
    gate.judge("c", Place::RunTime, pair(&home), Some(pair(&other))).expect("intervals")
}

#[test]
fn rare_tokens_must_not_pay() {
    let check = |reference: Option<Rare>, home: Rare, other: Rare, passes: bool, reason: &str| {
        // A window without rare tokens says nothing.
        let found = verdict_on_rare(reference, home, other, N_WINDOWS - 2);
        assert_eq!(found.passes, passes, "{found:?}");
        assert!(found.reason.contains(reason), "{:?} has no {reason:?}", found.reason);
        assert_eq!(found.comparisons.len(), 8);
    };
    let passes = "KL falls at home by 0.05";
    check(None, (-0.1, 0.01), (-0.1, 0.01), true, passes);
    check(None, (0.0, 0.0), (0.0, 0.0), true, passes);
    let more = "but NLL of rare tokens may rise at home: by ";
    check(
        None,
        (0.01, 0.0),
        (0.0, 0.0),
        false,
        "but NLL of rare tokens rises at home: by 0.01000 nat (0.0",
    );
    let less = "but the probability of rare tokens may fall in the other domain: by ";
    check(
        None,
        (-0.1, 0.0),
        (-0.1, -0.001),
        false,
        "but the probability of rare tokens falls in the other domain: by 0.100 % (0.0",
    );
    // 1.4 standard errors for the better on average are not sure to be.
    check(None, (-0.003, 0.0), (0.0, 0.0), false, &format!("{more}-0.00300 nat (-0.0"));
    check(None, (0.0, 0.0), (0.0, 0.0003), false, &format!("{less}-0.030 % (-0.0"));
    // 2.8 are, without a correction for the number of candidates.
    check(None, (-0.006, 0.0006), (-0.006, 0.0006), true, passes);
    // What is as good as the reference is no harm.
    check(Some((6.5, 0.2)), (0.1, -0.01), (0.1, -0.01), true, passes);
    check(Some((6.05, 0.25)), (0.04, 0.0), (0.0, 0.0), true, passes);
    check(Some((6.0, 0.25)), (0.02, 0.0), (0.0, 0.0), false, "but NLL of rare tokens rises");
    check(Some((5.0, 0.3)), (0.1, 0.0), (0.0, 0.0), false, "but NLL of rare tokens rises");
    // What is better than both is never harm.
    check(Some((6.0, 0.25)), (-0.1, 0.1), (-0.1, 0.1), true, passes);
}

#[test]
fn rare_tokens_of_a_few_windows_are_not_enough() {
    let check = |n_filled: usize, passes: bool, reason: &str| {
        let found = verdict_on_rare(None, (-0.1, 0.01), (-0.1, 0.01), n_filled);
        assert_eq!(found.passes, passes, "{found:?}");
        assert!(found.reason.contains(reason), "{:?}", found.reason);
    };
    check(16, true, "KL falls at home by 0.05");
    check(15, false, "but only 15 windows at home hold rare tokens: at least 16 are needed");
    check(1, false, "but only 1 windows at home hold rare tokens");
    check(0, false, "but only 0 windows at home hold rare tokens");
}

#[test]
fn one_domain_can_be_allowed() {
    let options = GateOptions { allow_one_domain: true, ..OPTIONS };
    assert!(verdict(options, (-0.05, Some(-0.05)), None).passes);
    assert!(verdict(options, (-0.05, None), None).passes);
    assert!(!verdict(options, (0.05, None), None).passes);
}

#[test]
fn a_sure_change_can_be_too_small() {
    let check = |min_divergence_share: f64, passes: bool, reason: &str| {
        let options = GateOptions { min_divergence_share, ..OPTIONS };
        let better = (-0.02, Some(-0.02));
        let found = verdict(options, better, Some(better));
        assert_eq!(found.passes, passes, "{found:?}");
        assert!(found.reason.starts_with(reason), "{:?}", found.reason);
    };
    // 0.02 of about 0.5 nats.
    check(0.03, true, "KL falls at home by 0.02");
    check(0.05, false, "KL falls at home by 4.00 % only, less than 5.00 %");
    let check = |change: Change, min_gain_nats: f64, passes: bool, reason: &str| {
        let found =
            verdict(GateOptions { min_gain_nats, ..OPTIONS }, change, Some((0.0, change.1)));
        assert_eq!(found.passes, passes, "{found:?}");
        assert!(found.reason.starts_with(reason), "{:?}", found.reason);
    };
    check((0.0, Some(-0.02)), 0.01, true, "KL falls at home by 0.02");
    check((0.0, Some(-0.02)), 0.03, false, "KL does not surely fall at home by 0.03 nat: by 0.02");
    check((-0.02, None), 0.01, true, "NLL falls at home by 0.02");
    check((-0.02, None), 0.03, false, "NLL does not surely fall at home by 0.03 nat: by 0.02");
}

#[test]
fn an_improvement_must_hold_for_the_luckiest_of_many() {
    // Three standard errors are sure enough for one candidate, not for the best of 1000.
    let gain = 3.0 * NOISE / (N_WINDOWS as f64).sqrt();
    let (raw, corrected) = (score(None, true), score(Some((-gain, Some(-gain))), true));
    let pair = ScorePair { raw: &raw, corrected: &corrected };
    let check = |n_candidates: usize, passes: bool| {
        let gate = Gate::new(OPTIONS, n_candidates);
        let found = gate.judge("c", Place::RunTime, pair, Some(pair)).expect("intervals");
        assert_eq!(found.passes, passes, "{n_candidates}: {found:?}");
    };
    check(1, true);
    check(1000, false);
}

#[test]
fn the_worst_domain_of_the_best_counts() {
    let named = |name: &str, home: f64, other: f64, place: Place| {
        let found = verdict(OPTIONS, (0.0, Some(home)), Some((0.0, Some(other))));
        Verdict { name: name.into(), place, ..found }
    };
    let verdicts = [
        named("great at home", -0.2, -0.02, Place::RunTime),
        named("good in both", -0.06, -0.05, Place::RunTime),
        named("best, but an export", -0.3, -0.3, Place::Export),
        named("harmful", -0.4, 0.1, Place::RunTime),
    ];
    assert_eq!(choose(&verdicts, Place::RunTime), Some(1));
    assert_eq!(choose(&verdicts, Place::Export), Some(2));
    assert_eq!(choose(&verdicts[3..], Place::RunTime), None);
    assert_eq!(choose(&verdicts[..2], Place::Export), None);
    // What is added must add something.
    let verdicts = [
        named("simple", -0.06, -0.06, Place::RunTime),
        named("a hair better", -0.0602, -0.0602, Place::RunTime),
    ];
    assert_eq!(choose(&verdicts, Place::RunTime), Some(0));
}

#[test]
fn repetition_refuses_what_scores_allow() {
    let answers = |seed: u64, mean: f64| -> Vec<Repetition> {
        let mut numbers = Numbers::new(seed);
        let count = |share: f64| (100.0 * share.clamp(0.0, 1.0)) as usize;
        (0..24)
            .map(|_| Repetition {
                n_tokens: 100,
                n_immediate: 2,
                n_grams: 100,
                n_repeated_grams: count(mean + 0.1 * numbers.normal()),
            })
            .collect()
    };
    let check = |corrected: f64, reference: Option<f64>, passes: bool, reason: &str| {
        let gate = Gate::new(OPTIONS, 20);
        let better = (-0.05, Some(-0.05));
        let mut found = verdict(OPTIONS, better, Some(better));
        let (raw, reference) = (answers(1, 0.3), reference.map(|mean| answers(3, mean)));
        let given = Answers {
            raw: &raw,
            reference: reference.as_deref(),
            corrected: &answers(2, corrected),
        };
        gate.weigh_repetition(&mut found, given).expect("intervals");
        assert_eq!(found.passes, passes, "{found:?}");
        assert!(found.reason.contains(reason), "{:?}", found.reason);
        let increase = found.repetition.expect("was weighed").grams.increase.estimate;
        assert!((increase - (corrected - 0.3)).abs() < 0.06, "{increase}");
    };
    let fine = "; free generation does not surely repeat more";
    let too_much = ", but free generation repeats more 4-grams: ";
    check(0.3, None, true, fine);
    check(0.1, None, true, fine);
    check(0.6, None, false, too_much);
    check(0.6, Some(0.6), true, fine);
    check(0.6, Some(0.3), false, too_much);
}
