use lapwing_report::statistics::{Samples, median_interval};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::measuring;

const RULE: StopRule =
    StopRule { n_repetitions: None, time_budget: Duration::from_secs(10), relative_width: 0.04 };

fn check(
    rule: StopRule,
    n_done: usize,
    elapsed_s: u64,
    width: Option<f64>,
    expected: Option<StoppedBecause>,
) {
    let found = rule.stop(n_done, Duration::from_secs(elapsed_s), |_| width);
    assert_eq!(found, expected, "{n_done} after {elapsed_s} s, width {width:?}");
}

#[test]
fn repetitions_end_when_narrow_late_or_many() {
    check(RULE, 2, 99, Some(0.0), None);
    check(RULE, 3, 0, Some(0.0), None);
    check(RULE, 3, 10, Some(0.5), Some(StoppedBecause::TimeBudget));
    check(RULE, 5, 0, Some(0.0), None);
    check(RULE, 7, 0, Some(0.0), None);
    check(RULE, 8, 0, Some(0.04), Some(StoppedBecause::IntervalNarrow));
    check(RULE, 8, 0, Some(0.041), None);
    check(RULE, 8, 0, None, None);
    check(RULE, 1000, 0, None, Some(StoppedBecause::Repetitions));
}

#[test]
fn an_interval_has_to_be_narrow_twice_in_a_row() {
    let check = |n_done: usize, narrow: &[usize], expected: bool| {
        let width = |n: usize| Some(if narrow.contains(&n) { 0.03 } else { 0.05 });
        let found = RULE.stop(n_done, Duration::ZERO, width);
        let expected = expected.then_some(StoppedBecause::IntervalNarrow);
        assert_eq!(found, expected, "{n_done} {narrow:?}");
    };
    check(8, &[8], false);
    check(8, &[5, 8], true);
    check(12, &[5, 8], false);
    check(12, &[5, 12], false);
    check(12, &[8, 12], true);
    check(13, &[8, 12, 13], false);
    check(18, &[12, 18], true);
    check(27, &[18, 27], true);
    check(41, &[27, 41], true);
}

#[test]
fn a_given_number_is_kept() {
    let rule = StopRule { n_repetitions: Some(2), ..RULE };
    check(rule, 1, 99, Some(0.0), None);
    check(rule, 2, 0, None, Some(StoppedBecause::Repetitions));
}

/// One more time around 100, by Box and Muller.
fn draw(random: &mut ChaCha8Rng, variation: f64) -> f64 {
    let mut unit = || ((random.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    let radius = (-2.0 * unit().ln()).sqrt();
    100.0 * (variation * radius * (std::f64::consts::TAU * unit()).cos()).exp()
}

/// The samples that the rule asks for, at most so many.
fn repeat(random: &mut ChaCha8Rng, variation: f64, n_most: usize) -> (Vec<f64>, bool) {
    let mut times = Vec::new();
    while times.len() < n_most {
        times.push(draw(random, variation));
        let width = |n_first: usize| measuring::relative_width(&times[..n_first]);
        if RULE.stop(times.len(), Duration::ZERO, width).is_some() {
            return (times, true);
        }
    }
    (times, false)
}

#[test]
fn intervals_hold_the_median_although_the_rule_chose_when_to_stop() {
    const N_TRIALS: usize = 200;
    for (variation, n_usual_most) in [(0.01, 8.0), (0.02, 18.0), (0.05, 93.0)] {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut n_holding = 0;
        let mut n_repetitions = Vec::new();
        for _ in 0..N_TRIALS {
            let (times, _) = repeat(&mut random, variation, N_REPETITIONS_MAX);
            let interval = median_interval(&Samples::new(&times).unwrap(), 0).unwrap();
            n_holding += usize::from(interval.contains(100.0));
            n_repetitions.push(times.len() as f64);
        }
        let share = n_holding as f64 / N_TRIALS as f64;
        // The standard deviation of a share of 0.92 is 0.019.
        assert!((0.88..=0.99).contains(&share), "{variation}: {share}");
        // Nor may it ask for more than anyone waits for.
        let usual = Samples::new(&n_repetitions).unwrap().median();
        assert!(usual <= n_usual_most, "{variation}: {usual}");
    }
}

#[test]
fn scattered_times_seldom_look_narrow_by_chance() {
    const N_TRIALS: usize = 300;
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let stops_early = |_: &usize| repeat(&mut random, 0.05, 20).1;
    let n_early = (0..N_TRIALS).filter(stops_early).count();
    let share = n_early as f64 / N_TRIALS as f64;
    // With a look after every repetition it would be 0.24.
    assert!(share <= 0.08, "{share}");
}
