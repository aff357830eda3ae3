//! On data of the model itself, the sound estimators find its gain.
//!
//! The expected means and deviations were simulated independently of this code, with
//! 2 000 rows and 60 replicas, each replica here being one token.

use lapwing_eval::estimators::{
    Bands, GainEstimate, GainFit, GainSearch, N_ERRORS_MIN, SeriesMoments, moments,
    steady_state_gain,
};

use super::{Series, Simulation, mean_and_deviation, near};

const N_ROWS: usize = 2000;
const N_REPLICAS: usize = 60;

struct Fits {
    moments: Vec<f64>,
    likelihood: Vec<GainFit>,
    pooled: GainFit,
}

fn fit(ratio: f64, seed: u64) -> Fits {
    let mut simulation = Simulation::new(vec![Series::local_level(ratio); N_REPLICAS], seed);
    let mut series = SeriesMoments::new(N_REPLICAS);
    let ranks: Vec<f64> = (0..N_REPLICAS).map(|rank| rank as f64).collect();
    let each = Bands::by_mean(&ranks, N_REPLICAS);
    let mut search = GainSearch::new(N_REPLICAS, &each, 33);
    let mut pooled = GainSearch::new(N_REPLICAS, &Bands::one(N_REPLICAS), 33);
    for _ in 0..N_ROWS {
        simulation.step();
        series.push(&simulation.model);
        search.push(&simulation.model);
        pooled.push(&simulation.model);
    }
    Fits {
        moments: (0..N_REPLICAS).map(|token| moments(&series.token(token)).gain).collect(),
        likelihood: search.best(),
        pooled: pooled.best()[0],
    }
}

fn gains(fits: &[GainFit]) -> Vec<f64> {
    fits.iter().map(|fit| fit.gain).collect()
}

/// Both samples have 60 replicas. Their means differ by `sqrt(2/60)` deviations in one
/// standard error; four are allowed. Deviations of 60 normal values have a ratio within
/// 0.65 and 1.54 in 999 of 1000 cases; 0.6 and 1.6 leave room for clipped gains.
fn check(gains: &[f64], expected_mean: f64, expected_deviation: f64) {
    let (mean, deviation) = mean_and_deviation(gains);
    let standard_error = expected_deviation * (2.0 / N_REPLICAS as f64).sqrt();
    assert!((mean - expected_mean).abs() < 4.0 * standard_error, "mean {mean}");
    let ratio = deviation / expected_deviation;
    assert!((0.6..1.6).contains(&ratio), "deviation {deviation}, {ratio} of the expected");
}

#[test]
fn moments_recover_the_gain() {
    check(&fit(0.1, 11).moments, 0.231, 0.111);
    check(&fit(1.0, 12).moments, 0.615, 0.032);
    check(&fit(10.0, 13).moments, 0.917, 0.023);
}

#[test]
fn maximum_likelihood_recovers_the_gain() {
    for (ratio, seed, mean, deviation) in [
        (0.01, 14, 0.0976, 0.011),
        (0.1, 11, 0.2694, 0.0145),
        (1.0, 12, 0.614, 0.020),
        (10.0, 13, 0.916, 0.023),
    ] {
        let fits = fit(ratio, seed);
        check(&gains(&fits.likelihood), mean, deviation);
        // Pooling 60 tokens divides the error by sqrt(60); the variances follow.
        let truth = steady_state_gain(ratio, 1.0);
        let error = (fits.pooled.gain - truth).abs();
        assert!(error < 4.0 * deviation / (N_REPLICAS as f64).sqrt(), "{truth}: {:?}", fits.pooled);
        assert_eq!(fits.pooled.n, (N_ROWS - 1) * N_REPLICAS);
        near(fits.pooled.r, 1.0, 0.05);
        near(fits.pooled.q, ratio, 0.06);
    }
}

#[test]
fn maximum_likelihood_is_sharper_than_moments() {
    let fits = fit(0.1, 15);
    let gains = gains(&fits.likelihood);
    // 0.111 against 0.0145: half of that ratio can be relied on.
    let ratio = mean_and_deviation(&fits.moments).1 / mean_and_deviation(&gains).1;
    assert!(3.8 < ratio, "{ratio}");
}

#[test]
fn a_fit_is_the_steady_state_of_its_variances() {
    for fit in fit(1.0, 16).likelihood {
        let GainEstimate { q, r, gain } = fit.into();
        near(steady_state_gain(q, r), gain, 1e-9);
    }
}

#[test]
fn bands_get_their_own_gain() {
    // Even tokens are smooth and low, odd ones rough and high.
    let of = |token: usize| Series::local_level(if token.is_multiple_of(2) { 0.1 } else { 10.0 });
    let n_tokens = 70;
    let mut simulation = Simulation::new((0..n_tokens).map(of).collect(), 17);
    let means: Vec<f64> = (0..n_tokens).map(|token| (token % 2) as f64).collect();
    let mut search = GainSearch::new(n_tokens, &Bands::by_mean(&means, 2), 33);
    for _ in 0..N_ROWS {
        simulation.step();
        search.push(&simulation.model);
    }
    let [low, high] = search.best().try_into().expect("two bands");
    // Deviations of one replica over sqrt(35), four of them.
    assert!((low.gain - 0.2702).abs() < 0.01, "{low:?}");
    assert!((high.gain - 0.9161).abs() < 0.016, "{high:?}");
}

#[test]
fn empty_and_small_bands_pass_through() {
    let mut simulation = Simulation::new(vec![Series::local_level(0.1); 2], 18);
    // Four bands for two tokens: one in the first, one in the third.
    let mut search = GainSearch::new(2, &Bands::by_mean(&[0.0, 1.0], 4), 33);
    let push = |simulation: &mut Simulation, search: &mut GainSearch| {
        simulation.step();
        search.push(&simulation.model);
    };
    // One error less than there are rows.
    (0..N_ERRORS_MIN).for_each(|_| push(&mut simulation, &mut search));
    assert_eq!(gains(&search.best()), [1.0; 4]);
    push(&mut simulation, &mut search);
    let found = gains(&search.best());
    assert_eq!([found[1], found[3]], [1.0; 2]);
    assert!(found[0] < 0.5 && found[2] < 0.5, "{found:?}");
}
