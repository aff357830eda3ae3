use super::{Reversion, kls_update, kls_update_each, kls_update_reverting};
use crate::Level;
use crate::oracle::{bits, rows_with_infinity, spread_from};

const NAN: f32 = f32::NAN;
const INFINITY: f32 = f32::INFINITY;

/// Which of the three, with what it needs beside row and state.
#[derive(Debug)]
enum Update {
    One { gain: f32 },
    Each { gains: Vec<f32> },
    Reverting { gains: Vec<f32>, coefficient: f32, levels: Vec<f32> },
}

impl Update {
    fn run(&self, level: Level, row: &[f32], state: &[f32], gauge: f32) -> [Vec<f32>; 2] {
        let (mut row, mut state) = (row.to_vec(), state.to_vec());
        match self {
            Update::One { gain } => kls_update(level, &mut row, &mut state, gauge, *gain),
            Update::Each { gains } => kls_update_each(level, &mut row, &mut state, gauge, gains),
            Update::Reverting { gains, coefficient, levels } => {
                let reversion = Reversion { coefficient: *coefficient, levels };
                kls_update_reverting(level, &mut row, &mut state, gauge, gains, reversion);
            }
        }
        [row, state]
    }

    fn gain(&self, idx: usize) -> f32 {
        match self {
            Update::One { gain } => *gain,
            Update::Each { gains } | Update::Reverting { gains, .. } => gains[idx],
        }
    }

    fn prior(&self, s: f64, idx: usize) -> f64 {
        match self {
            Update::One { .. } | Update::Each { .. } => s,
            Update::Reverting { coefficient, levels, .. } => {
                let a = f64::from(*coefficient);
                a * s + (1.0 - a) * f64::from(levels[idx])
            }
        }
    }
}

/// Gains that hold 0 and 1 among others, for `len` entries.
fn gains(len: usize) -> Vec<f32> {
    (0..len).map(|i| [0.25, 1.0, 0.9, 0.0, 0.618][i % 5]).collect()
}

fn updates(len: usize) -> Vec<Update> {
    let each = [0.0, 0.1, 0.618, 1.0].map(|gain| Update::One { gain });
    let reverting = [0.0, 0.45, 1.0].map(|coefficient| Update::Reverting {
        gains: gains(len),
        coefficient,
        levels: spread_from(len, 5),
    });
    each.into_iter().chain([Update::Each { gains: gains(len) }]).chain(reverting).collect()
}

/// A state of which every fourth entry was never observed.
fn state(len: usize) -> Vec<f32> {
    let mut state = spread_from(len, 3);
    state.iter_mut().step_by(4).for_each(|s| *s = NAN);
    state
}

#[test]
fn every_level_writes_the_same_bits() {
    for row in rows_with_infinity() {
        let len = row.logits.len();
        for update in updates(len) {
            let expected = update.run(Level::SCALAR, &row.logits, &state(len), -0.7);
            for level in Level::available_for_floats() {
                let found = update.run(level, &row.logits, &state(len), -0.7);
                let name = format!("{level:?} {}", row.name);
                assert_eq!(bits(&found[0]), bits(&expected[0]), "{name} row");
                assert_eq!(bits(&found[1]), bits(&expected[1]), "{name} state");
            }
        }
    }
}

/// The table in the module's documentation, in `f64`.
#[test]
fn is_close_to_the_definition_in_f64() {
    let gauge = -0.7f32;
    for row in rows_with_infinity() {
        let len = row.logits.len();
        let state = state(len);
        for update in updates(len) {
            for level in Level::available_for_floats() {
                let [found_row, found_state] = update.run(level, &row.logits, &state, gauge);
                for idx in 0..len {
                    let (y, s) = (row.logits[idx], state[idx]);
                    let x = f64::from(y) - f64::from(gauge);
                    let gain = update.gain(idx);
                    let prior = update.prior(f64::from(s), idx);
                    let (expected_row, expected_state) = if !y.is_finite() {
                        (f64::from(y), f64::from(s))
                    } else if prior.is_nan() || gain == 1.0 {
                        (f64::from(y), x)
                    } else {
                        let smoothed = prior + f64::from(gain) * (x - prior);
                        (smoothed + f64::from(gauge), smoothed)
                    };
                    let close = |found: f32, expected: f64| {
                        let found = f64::from(found);
                        found == expected
                            || (found.is_nan() && expected.is_nan())
                            || (found - expected).abs()
                                <= 2e-6 * (1.0 + x.abs() + prior.abs().max(0.0))
                    };
                    let is_close = close(found_row[idx], expected_row)
                        && close(found_state[idx], expected_state);
                    // The message is made only when it is needed: there are millions of entries.
                    assert!(is_close, "{level:?} {} [{idx}] y={y} s={s} {gain}", row.name);
                }
            }
        }
    }
}

#[test]
fn special_entries() {
    // Observation, state, gain; then the new ones, with a gauge of 0.5.
    let check = |[y, s, gain]: [f32; 3], expected: [f32; 2]| {
        for level in Level::available_for_floats() {
            for len in [1, 4, 8, 16, 67] {
                let levels = vec![9.0; len];
                let updates = [
                    Update::One { gain },
                    Update::Each { gains: vec![gain; len] },
                    Update::Reverting { gains: vec![gain; len], coefficient: 1.0, levels },
                ];
                for update in updates {
                    let found = update.run(level, &vec![y; len], &vec![s; len], 0.5);
                    let expected = expected.map(|value| vec![value; len]);
                    let name = format!("{level:?} {update:?} {y} {s}");
                    assert_eq!(found.map(|it| bits(&it)), expected.map(|it| bits(&it)), "{name}");
                }
            }
        }
    };
    check([NAN, 3.0, 0.5], [NAN, 3.0]);
    check([INFINITY, 3.0, 0.5], [INFINITY, 3.0]);
    check([-INFINITY, 3.0, 1.0], [-INFINITY, 3.0]);
    check([-INFINITY, NAN, 0.5], [-INFINITY, NAN]);
    check([4.5, NAN, 0.5], [4.5, 4.0]);
    check([4.5, NAN, 0.0], [4.5, 4.0]);
    check([4.5, INFINITY, 0.5], [4.5, 4.0]);
    check([4.5, 2.0, 0.5], [3.5, 3.0]);
    check([4.5, 2.0, 0.0], [2.5, 2.0]);
    check([4.5, 2.0, 1.0], [4.5, 4.0]);
    // 0.1 - 0.5 + 0.5 is not 0.1 in f32, nor is -0.0 + 0.5 - 0.5: yet K = 1 changes no bit.
    check([1e-9, 2.0, 1.0], [1e-9, -0.5]);
    check([-0.0, 2.0, 1.0], [-0.0, -0.5]);
}

#[test]
fn a_level_without_a_value_enters_anew() {
    for level in Level::available_for_floats() {
        let levels = vec![NAN; 40];
        let update = Update::Reverting { gains: vec![0.5; 40], coefficient: 0.9, levels };
        let [row, state] = update.run(level, &[3.0; 40], &[7.0; 40], 1.0);
        assert_eq!((row, state), (vec![3.0; 40], vec![2.0; 40]), "{level:?}");
    }
}

#[test]
#[should_panic(expected = "row and state")]
fn another_length_of_state_is_a_programmer_error() {
    kls_update(Level::SCALAR, &mut [0.0; 3], &mut [0.0; 2], 0.0, 0.5);
}

#[test]
#[should_panic(expected = "row and gains")]
fn another_length_of_gains_is_a_programmer_error() {
    kls_update_each(Level::SCALAR, &mut [0.0; 3], &mut [0.0; 3], 0.0, &[0.5; 4]);
}

#[test]
#[should_panic(expected = "row and levels")]
fn another_length_of_levels_is_a_programmer_error() {
    let reversion = Reversion { coefficient: 0.5, levels: &[0.0; 2] };
    kls_update_reverting(Level::SCALAR, &mut [0.0; 3], &mut [0.0; 3], 0.0, &[0.5; 3], reversion);
}
