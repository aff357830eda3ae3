//! The published estimator: what it finds on data of its own model, and why it is kept
//! for study only.

use lapwing_eval::estimators::{
    EmaReading, GainEstimate, SeriesMoments, TokenMoments, diagnose, frozen_above, published,
    steady_state_gain,
};

use super::{Series, Simulation, near};

const N_ROWS: usize = 1_000_000;
/// Averaged over, so that a deviation of 1 % is no chance: one replica of a million rows
/// has a standard error of up to 0.7 % in `Q` of a constant signal.
const N_REPLICAS: usize = 8;

/// Mean estimates of each ratio `Q/R`, by both readings.
fn estimates(ratios: &[f64], alpha: f64, n_rows: usize, seed: u64) -> Vec<[GainEstimate; 2]> {
    let tokens: Vec<Series> =
        ratios.iter().flat_map(|&ratio| [Series::local_level(ratio); N_REPLICAS]).collect();
    let mut series = SeriesMoments::with_alpha(tokens.len(), alpha);
    let mut simulation = Simulation::new(tokens, seed);
    for _ in 0..n_rows {
        simulation.step();
        series.push(&simulation.model);
    }
    let mut of = |ratio_idx: usize| {
        let first = ratio_idx * N_REPLICAS;
        let replicas: Vec<TokenMoments> =
            (first..first + N_REPLICAS).map(|token| series.token(token)).collect();
        [EmaReading::Current, EmaReading::Previous].map(|reading| mean(&replicas, reading))
    };
    (0..ratios.len()).map(&mut of).collect()
}

fn mean(replicas: &[TokenMoments], reading: EmaReading) -> GainEstimate {
    let mean = |of: fn(GainEstimate) -> f64| {
        let sum: f64 = replicas.iter().map(|moments| of(published(moments, reading))).sum();
        sum / replicas.len() as f64
    };
    GainEstimate { q: mean(|e| e.q), r: mean(|e| e.r), gain: mean(|e| e.gain) }
}

/// The bias as derived for a stationary average, with R = 1.
fn expected(ratio: f64, alpha: f64) -> [GainEstimate; 2] {
    let previous = (ratio + 2.0 * alpha) / (alpha * (2.0 - alpha));
    let current = (1.0 - alpha).powi(2) * previous;
    [current, previous].map(|r| {
        let q = (ratio + 2.0 - 2.0 * r).max(0.0);
        GainEstimate { q, r, gain: steady_state_gain(q, r) }
    })
}

#[test]
fn variances_are_biased_as_derived_within_1_percent() {
    let ratios = [0.0, 0.01, 0.1, 1.0, 10.0];
    let found = estimates(&ratios, 0.1, N_ROWS, 21);
    for (&ratio, found) in ratios.iter().zip(found) {
        for (found, expected) in found.iter().zip(expected(ratio, 0.1)) {
            near(found.r, expected.r, 0.01);
            // Where 0 is expected, 0 must be found: a filter that never moves.
            near(found.q, expected.q, 0.01);
            near(found.gain, expected.gain, 0.01);
        }
    }
}

#[test]
fn the_derived_numbers_are_those_of_the_table() {
    let check = |ratio: f64, r: f64, q: f64, gain: f64| {
        let [current, previous] = expected(ratio, 0.1);
        let found = [current.r, current.q, current.gain];
        // The gains of the table were simulated, up to 0.004 off.
        let tolerances = [6e-4, 6e-4, 5e-3];
        let near = (0..3).all(|idx| (found[idx] - [r, q, gain][idx]).abs() < tolerances[idx]);
        assert!(near, "{ratio}: {found:?}");
        assert_eq!((previous.q, previous.gain), (0.0, 0.0), "{ratio}");
    };
    check(0.0, 0.8526, 0.2947, 0.441);
    check(0.001, 0.8568, 0.2872, 0.435);
    check(0.01, 0.8953, 0.2195, 0.389);
    check(0.03, 0.9805, 0.0690, 0.236);
    check(0.05, 1.0658, 0.0, 0.0);
    check(1.0, 5.1158, 0.0, 0.0);
}

#[test]
fn a_constant_signal_gets_the_largest_gain() {
    let found = estimates(&[0.0, 0.01, 1.0], 0.1, 100_000, 22);
    let gains: Vec<f64> = found.iter().map(|[current, _]| current.gain).collect();
    // The true gains are 0, 0.095 and 0.618.
    assert!((gains[0] - 0.441).abs() < 0.01, "{gains:?}");
    assert!(gains[1] < gains[0] && gains[2] == 0.0, "{gains:?}");
}

#[test]
fn the_filter_freezes_above_the_threshold() {
    let threshold = frozen_above(0.1, EmaReading::Current).expect("alpha is small");
    let found = estimates(&[threshold * 0.8, threshold * 1.2], 0.1, 200_000, 23);
    assert!(0.0 < found[0][0].q && 0.1 < found[0][0].gain, "{found:?}");
    assert_eq!((found[1][0].q, found[1][0].gain), (0.0, 0.0));
}

#[test]
fn the_other_meaning_of_alpha_passes_through_or_freezes() {
    for [current, previous] in estimates(&[0.0, 0.1, 10.0], 0.9, 100_000, 24) {
        assert!((current.gain - 0.991).abs() < 0.002, "{current:?}");
        assert_eq!(previous.gain, 0.0);
    }
}

#[test]
fn frozen_gains_are_counted() {
    let mut simulation =
        Simulation::new([0.0, 0.005, 1.0, 10.0, 1.0].map(Series::local_level).to_vec(), 25);
    let mut series = SeriesMoments::new(5);
    for _ in 0..50_000 {
        simulation.step();
        series.push(&simulation.model);
    }
    let gain = |token| published(&series.token(token), EmaReading::Current).gain as f32;
    let gains: Vec<f32> = (0..5).map(gain).collect();
    let diagnostics = diagnose(&series.pooled(0..5), &gains);
    assert_eq!(diagnostics.share_frozen, 0.6, "{gains:?}");
    assert_eq!((diagnostics.n_tokens, diagnostics.n), (5, 250_000));
}
