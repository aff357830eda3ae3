//! Offsets and noise measured against a reference.

use lapwing_eval::estimators::{PairedMoments, TokenOffset, reference, steady_state_gain};

use super::{Normal, Series, Simulation, near};

#[test]
fn standard_errors_come_from_windows_not_rows() {
    // A window shifts all its rows: 4 000 rows are worth no more than 200 windows.
    const N_TOKENS: usize = 64;
    const N_WINDOWS: usize = 200;
    let truth = |token: usize| token as f32 / 100.0;
    let mut normal = Normal::new(71);
    let mut paired = PairedMoments::new(N_TOKENS);
    for _ in 0..N_WINDOWS {
        paired.begin_window();
        let shifts: Vec<f32> = (0..N_TOKENS).map(|_| (0.5 * normal.next()) as f32).collect();
        for _ in 0..20 {
            let of = |(token, shift): (usize, &f32)| {
                let level = 10.0 + normal.next() as f32;
                (level, level - truth(token) - shift - (0.1 * normal.next()) as f32)
            };
            let (reference, model): (Vec<f32>, Vec<f32>) =
                shifts.iter().enumerate().map(of).unzip();
            paired.push(&reference, &model);
        }
    }
    // sqrt(0.25 + 0.01 / 20) / sqrt(200); from rows it would be 0.0081.
    let expected = 0.03539;
    let mut chi_square = 0.0;
    for token in 0..N_TOKENS {
        let TokenOffset { n, mean, standard_error } = paired.offset(token);
        assert_eq!(n, 4000);
        // Relative error of a deviation from 200 values: 1 / sqrt(400); five are allowed.
        near(standard_error, expected, 0.25);
        chi_square += ((mean - f64::from(truth(token))) / expected).powi(2);
    }
    // Sixty-four degrees of freedom: outside of 34.6 and 104.7 twice in a thousand seeds.
    assert!((34.6..104.7).contains(&chi_square), "{chi_square}");
}

#[test]
fn offsets_are_shrunk_by_their_error() {
    let check = |mean: f64, standard_error: f64, expected: f64| {
        let found = TokenOffset { n: 9, mean, standard_error }.shrunk();
        assert!((found - expected).abs() < 1e-12, "{mean} {standard_error}: {found}");
    };
    check(2.0, 0.0, 2.0);
    check(2.0, 2.0, 1.0);
    check(-2.0, 1.0, -1.6);
    check(0.1, 1.0, 0.001 / 1.01);
    check(2.0, f64::INFINITY, 0.0);
    check(0.0, 0.0, 0.0);
    check(f64::NAN, 1.0, 0.0);
    check(2.0, f64::NAN, 0.0);
}

#[test]
fn one_window_tells_no_error_and_so_no_offset() {
    let mut paired = PairedMoments::new(2);
    let push = |paired: &mut PairedMoments, difference: f32| {
        paired.begin_window();
        (0..9).for_each(|_| paired.push(&[1.0, 2.0], &[1.0 - difference, 2.0]));
    };
    push(&mut paired, 0.5);
    assert_eq!(paired.offset(0).standard_error, f64::INFINITY);
    assert_eq!(paired.shrunk_offsets(), [0.0, 0.0]);
    // Windows of the same mean: no error at all.
    push(&mut paired, 0.5);
    assert_eq!(paired.shrunk_offsets(), [0.5, 0.0]);
    // Means 0.5, 0.5, 0: 1/3 with the error sqrt(3/2 (2/36 + 1/9)) / 3 = 1/6.
    push(&mut paired, 0.0);
    near(paired.offset(0).standard_error, 1.0 / 6.0, 1e-6);
    near(f64::from(paired.shrunk_offsets()[0]), 4.0 / 15.0, 1e-6);
}

#[test]
fn noise_and_steps_measured_on_pairs_give_the_gain() {
    const N_ROWS: usize = 100_000;
    for (ratio, seed) in [(0.1, 72), (1.0, 73), (10.0, 74)] {
        let mut simulation = Simulation::new(vec![Series::local_level(ratio)], seed);
        let mut paired = PairedMoments::new(1);
        for _ in 0..N_ROWS {
            simulation.step();
            // A constant error is no noise.
            paired.push(&simulation.reference, &[simulation.model[0] + 3.0]);
        }
        let r = paired.noise_variance(0);
        let q = paired.reference_increment_variance(0);
        // Variances of 100 000 values have an error of 0.45 %; five are allowed.
        near(r, 1.0, 0.023);
        near(q, ratio, 0.023);
        near(reference(r, q).gain, steady_state_gain(ratio, 1.0), 0.02);
        near(paired.offset(0).mean, -3.0, 0.01);
        let noise = paired.noise(0);
        assert!(noise.autocovariance.abs() < 0.02, "{noise:?}");
    }
}

#[test]
fn noise_that_depends_on_the_signal_shows() {
    // model = 0.8 reference + noise: the covariance is -0.2 of the variance.
    let mut simulation = Simulation::new(vec![Series::reverting(0.5, 0.1)], 75);
    let mut paired = PairedMoments::new(1);
    for _ in 0..100_000 {
        simulation.step();
        let model = simulation.model[0] - 0.2 * simulation.reference[0];
        paired.push(&simulation.reference, &[model]);
    }
    let noise = paired.noise(0);
    near(noise.reference_variance, 1.0, 0.04);
    near(noise.covariance, -0.2, 0.05);
    near(noise.variance, 0.14, 0.04);
    // 0.04 of the signal's autocovariance, 0.5.
    near(noise.autocovariance, 0.02, 0.15);
}
