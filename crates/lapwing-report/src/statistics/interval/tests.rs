use rand_chacha::rand_core::Rng as _;

use super::*;

fn samples(values: &[f64]) -> Samples {
    Samples::new(values).unwrap()
}

/// A way to draw one sample, and the true median.
type Source = (&'static str, fn(&mut ChaCha8Rng) -> f64, f64);

fn unit(random: &mut ChaCha8Rng) -> f64 {
    ((random.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// Box and Muller's.
fn normal(random: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * unit(random).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(random)).cos()
}

const SOURCES: [Source; 5] = [
    ("normal", |random| 100.0 + 2.0 * normal(random), 100.0),
    ("lognormal", |random| 100.0 * (0.3 * normal(random)).exp(), 100.0),
    ("exponential", |random| 100.0 - 5.0 * unit(random).ln(), 103.465_735_902_799_73),
    ("uniform", |random| 98.0 + 4.0 * unit(random), 100.0),
    // A tenth shifted by 15: the median of the mixture is where 0.9 Φ(x) = 0.5.
    (
        "outliers",
        |random| {
            let shift = if unit(random) < 0.1 { 15.0 } else { 0.0 };
            100.0 + 2.0 * normal(random) + shift
        },
        100.279_420_597_763_67,
    ),
];

#[test]
fn intervals_hold_the_median_as_often_as_they_say() {
    const N_TRIALS: usize = 400;
    for n in [2, 3, 5, 10] {
        for (name, draw, truth) in SOURCES {
            let mut random = ChaCha8Rng::seed_from_u64(n as u64);
            let mut n_holding = 0;
            for seed in 0..N_TRIALS {
                let values: Vec<f64> = (0..n).map(|_| draw(&mut random)).collect();
                let interval = median_interval(&samples(&values), seed as u64).unwrap();
                n_holding += usize::from(interval.contains(truth));
            }
            let share = n_holding as f64 / N_TRIALS as f64;
            // The standard deviation of a share of 0.95 is 0.011.
            let lowest = if n == 2 { 0.85 } else { 0.90 };
            assert!((lowest..=0.995).contains(&share), "{name} {n}: {share}");
        }
    }
}

#[test]
fn ratios_hold_the_truth_as_often_as_they_say() {
    const N_TRIALS: usize = 400;
    for (n_above, n_below) in [(3, 3), (5, 5), (3, 10), (10, 5)] {
        for (name, draw, truth) in SOURCES {
            let mut random = ChaCha8Rng::seed_from_u64((100 * n_above + n_below) as u64);
            let mut n_holding = 0;
            for seed in 0..N_TRIALS {
                let above: Vec<f64> = (0..n_above).map(|_| 3.0 * draw(&mut random)).collect();
                let below: Vec<f64> = (0..n_below).map(|_| normal(&mut random) + 50.0).collect();
                let interval =
                    ratio_interval(&samples(&above), &samples(&below), seed as u64).unwrap();
                n_holding += usize::from(interval.contains(3.0 * truth / 50.0));
            }
            let share = n_holding as f64 / N_TRIALS as f64;
            assert!((0.90..=0.998).contains(&share), "{name} {n_above} {n_below}: {share}");
        }
    }
}

/// Wide intervals hold everything: these must also be narrow enough to tell something.
#[test]
fn a_tenth_slower_is_seen_with_five_quiet_repetitions() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut n_seen = 0;
    for seed in 0..200 {
        let mut draw = |centre: f64| -> Vec<f64> {
            (0..5).map(|_| centre * (1.0 + 0.02 * normal(&mut random))).collect()
        };
        let (slow, fast) = (samples(&draw(1.1)), samples(&draw(1.0)));
        let interval = ratio_interval(&slow, &fast, seed).unwrap();
        n_seen += usize::from(1.0 < interval.low);
    }
    assert!(190 <= n_seen, "{n_seen} of 200");
}

#[test]
fn rates_are_reciprocals_of_times_and_seeds_decide() {
    let times = [4.0, 5.0, 5.5, 4.4, 9.0];
    let time = median_interval(&samples(&times), 1).unwrap();
    assert!(time.low < 5.0 && time.estimate == 5.0 && 5.0 < time.high, "{time:?}");
    assert_eq!(time, median_interval(&samples(&times), 1).unwrap());
    assert_ne!(time, median_interval(&samples(&times), 2).unwrap());
    let rate = median_interval(&samples(&times.map(|time| 1.0 / time)), 1).unwrap();
    // Other draws fall on other places, so only nearly.
    assert!((rate.low * time.high - 1.0).abs() < 0.05, "{rate:?} {time:?}");
    let ratio = ratio_interval(&samples(&times), &samples(&times), 3).unwrap();
    assert!(ratio.estimate == 1.0 && (ratio.low * ratio.high - 1.0).abs() < 1e-12, "{ratio:?}");
}

#[test]
fn extremes_stay_finite() {
    let check = |values: &[f64], expected: Option<[f64; 3]>| {
        let found = median_interval(&samples(values), 1).unwrap();
        assert!(found.low.is_finite() && found.high.is_finite(), "{found:?}");
        assert!(found.low <= found.estimate && found.estimate <= found.high, "{found:?}");
        if let Some([low, median, high]) = expected {
            assert_eq!((found.low, found.estimate, found.high), (low, median, high), "{values:?}");
        }
    };
    check(&[0.1, 0.1, 0.1], Some([0.1, 0.1, 0.1]));
    check(&[0.0, 0.0], Some([0.0, 0.0, 0.0]));
    check(&[-3.0, -3.0, -3.0], Some([-3.0, -3.0, -3.0]));
    check(&[-1.0, 2.0, 7.0], None);
    check(&[1e-100, 1e100], None);
    check(&[-1e100, 1e100], None);
    check(&[f64::MIN_POSITIVE, 1e100], None);
    let (small, large) = (samples(&[5e-324, 1e-300]), samples(&[1e100, 1e-300]));
    for (above, below) in [(&small, &large), (&large, &small)] {
        let found = ratio_interval(above, below, 1).unwrap();
        assert!(!found.low.is_nan() && found.high.is_finite() && 0.0 <= found.low, "{found:?}");
    }
}

#[test]
fn too_little_is_refused() {
    let (one, two) = (samples(&[1.0]), samples(&[1.0, 2.0]));
    let too_few = "no interval from 1 sample, expected at least 2";
    assert_eq!(median_interval(&one, 0).unwrap_err().to_string(), too_few);
    assert_eq!(ratio_interval(&two, &one, 0).unwrap_err().to_string(), too_few);
    let error = ratio_interval(&samples(&[0.0, 2.0]), &two, 0).unwrap_err();
    assert_eq!(error.to_string(), "no ratio with sample 0, expected positive samples");
}

#[test]
fn widths_are_told_relative_to_the_median() {
    let check = |low: f64, estimate: f64, high: f64, expected: Option<f64>| {
        let interval = Interval { estimate, low, high, standard_error: None };
        assert_eq!(interval.relative_half_width(), expected);
    };
    check(98.0, 100.0, 102.0, Some(0.02));
    check(-102.0, -100.0, -98.0, Some(0.02));
    check(-1.0, 0.0, 1.0, None);
    check(0.0, 0.0, 0.0, None);
}

#[test]
fn t_is_the_tables_and_never_below_it_between() {
    let check = |freedom: f64, expected: f64, tolerance: f64| {
        let found = t_quantile(freedom);
        let excess = found - expected;
        assert!((-0.001..=tolerance).contains(&excess), "{freedom}: {found} {expected}");
    };
    // Between whole degrees: from the distribution's own inverse.
    check(1.0, 12.706, 0.0);
    check(1.5, 6.017, 1.2);
    check(2.0, 4.303, 0.0);
    check(2.5, 3.575, 0.12);
    check(9.5, 2.244, 0.001);
    check(30.0, 2.042, 0.001);
    check(60.0, 2.000, 0.002);
    check(1e9, 1.960, 0.001);
    check(0.2, 12.706, 0.0);
}
