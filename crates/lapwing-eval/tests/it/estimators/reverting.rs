//! States that revert to a mean: what the local level model makes of them, and what a
//! model with reversion does.

use lapwing_eval::estimators::{
    Bands, GainSearch, SeriesMoments, diagnose, moments, reverting, reverting_gain,
};

use super::held_out::{HeldOutError, HeldOutGain};
use super::{Series, Simulation, near};

const N_TOKENS: usize = 16;
const N_ROWS: usize = 20_000;

struct Trap {
    /// By moments, then by maximum likelihood.
    gains: [f64; 2],
    held_out: [HeldOutError; 2],
}

/// Fit on one text, filter another one.
fn trap(a: f64, seed: u64) -> Trap {
    let tokens = vec![Series::reverting(a, 0.01); N_TOKENS];
    let mut simulation = Simulation::new(tokens.clone(), seed);
    let mut series = SeriesMoments::new(N_TOKENS);
    let mut search = GainSearch::new(N_TOKENS, &Bands::one(N_TOKENS), 33);
    for _ in 0..N_ROWS {
        simulation.step();
        series.push(&simulation.model);
        search.push(&simulation.model);
    }
    let gains = [moments(&series.pooled(0..N_TOKENS)).gain, search.best()[0].gain];
    let held_out = gains.map(|gain| {
        let mut simulation = Simulation::new(tokens.clone(), seed + 1000);
        let mut held_out = HeldOutGain::new(vec![gain as f32; N_TOKENS]);
        for _ in 0..N_ROWS {
            simulation.step();
            held_out.push(&simulation.reference, &simulation.model);
        }
        held_out.error()
    });
    Trap { gains, held_out }
}

/// With 320 000 pairs a mean square has a standard error of at most 1 %, from a = 0.99
/// whose errors are correlated; five are allowed.
fn check(a: f64, seed: u64, gain: f64, filtered: f64) -> Trap {
    let trap = trap(a, seed);
    assert!((trap.gains[0] - gain).abs() < 0.01, "{:?}", trap.gains);
    near(trap.held_out[0].filtered, filtered, 0.05);
    near(trap.held_out[0].raw, 0.01, 0.02);
    trap
}

#[test]
fn what_reverts_looks_like_noise_and_filtering_it_hurts() {
    for (a, gain, filtered) in [(0.3, 0.59, 0.194), (0.6, 0.78, 0.0415)] {
        for error in check(a, 31, gain, filtered).held_out {
            assert!(2.0 * error.raw < error.filtered, "{a}: {error:?}");
        }
    }
}

#[test]
fn white_logits_are_filtered_away() {
    // At the border of the model: the fitted gain is 0 or, by chance, a little more, so
    // the filter keeps a constant, or the mean, which is 0.
    let trap = trap(0.0, 32);
    for (gain, error) in trap.gains.into_iter().zip(trap.held_out) {
        assert!(gain < 0.1, "{gain}");
        assert!((0.8..2.6).contains(&error.filtered), "{error:?}");
    }
}

#[test]
fn slow_reversion_gains_nothing() {
    // The two are equal in theory, 0.009999 against 0.01, so nothing opens a gate.
    for error in check(0.9, 33, 0.908, 0.0100).held_out {
        assert!(0.99 * error.raw < error.filtered, "{error:?}");
    }
}

#[test]
fn where_the_model_nearly_holds_filtering_helps() {
    for error in check(0.99, 34, 0.73, 0.0073).held_out {
        assert!(error.filtered < 0.8 * error.raw, "{error:?}");
    }
}

#[test]
fn reversion_is_found_and_its_gain_never_hurts() {
    for (a, r, seed) in [(0.3, 0.2, 41), (0.6, 0.2, 42), (0.9, 0.5, 43)] {
        let mut simulation = Simulation::new(vec![Series::reverting(a, r); N_TOKENS], seed);
        let mut series = SeriesMoments::new(N_TOKENS);
        for _ in 0..N_ROWS {
            simulation.step();
            series.push(&simulation.model);
        }
        let found = reverting(&series.pooled(0..N_TOKENS));
        // `a` has a standard error of about sqrt((1 + r) / n) / a^2 or less.
        let error_of_a = 5.0 * (1.2f64 / (N_ROWS * N_TOKENS) as f64).sqrt() / a;
        assert!((found.a - a).abs() < error_of_a, "{found:?}");
        // The state's variance is c1 / a, so R inherits the error of `a` divided by `a`.
        assert!((found.r - r).abs() < 2.0 * error_of_a / a + 0.02, "{found:?}");
        let truth = reverting_gain(a, 1.0 - a * a, r);
        assert!((found.gain - truth).abs() < 2.0 * error_of_a / a + 0.01, "{found:?} {truth}");
    }
}

#[test]
fn the_second_lag_tells_reversion_from_the_model() {
    let score = |series: Series, seed: u64| {
        let mut simulation = Simulation::new(vec![series; N_TOKENS], seed);
        let mut moments = SeriesMoments::new(N_TOKENS);
        for _ in 0..N_ROWS {
            simulation.step();
            moments.push(&simulation.model);
        }
        diagnose(&moments.pooled(0..N_TOKENS), &[1.0; N_TOKENS])
    };
    let model = score(Series::local_level(1.0), 51);
    assert!(model.lag_two_score.abs() < 3.0, "{model:?}");
    // -1 / (Q/R + 2), within a few 1/sqrt(320 000).
    near(model.increment_autocorrelations[0], -1.0 / 3.0, 0.02);
    assert!(0.95 < model.coefficient, "{model:?}");

    let reverts = score(Series::reverting(0.5, 0.1), 52);
    assert!(reverts.lag_two_score < -10.0, "{reverts:?}");
    // g2 = -(1-a)^2 a, g1 = -(1-a)^2 - R.
    near(reverts.increment_autocovariances[0], -0.35, 0.03);
    near(reverts.increment_autocovariances[1], -0.125, 0.05);
    near(reverts.coefficient, 0.5, 0.03);
}
