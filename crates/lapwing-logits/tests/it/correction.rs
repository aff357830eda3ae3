//! The correction stage against its definition, its special rows, and what it refuses.

use std::sync::Arc;

use lapwing_logits::{
    CorrectRowError, Correction, CorrectionError, Corrector, Gains, Gauge, Level, Levels, Rescale,
    Scope, Smoothing,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::naive_kls::{NaiveKls, NaiveStep, entropy, mean_and_deviation};

const N_VOCAB: usize = 203;
const N_STEPS: usize = 30;
/// In every sequence there is one step of which nothing is left.
const ALL_NAN_IDX: usize = 7;
/// Exports pad their heads; what lies there must not be looked at.
const PADDING: [f32; 4] = [900.0, f32::NAN, f32::INFINITY, -900.0];

/// Logits that wander, on a grid when `ties`, now and then not finite.
fn rows(seed: u64, ties: bool, infinite: bool) -> Vec<Vec<f32>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut unit = move || (random.next_u32() >> 8) as f32 / (1 << 24) as f32;
    let mut walk: Vec<f32> = (0..N_VOCAB).map(|_| (unit() + unit() - 1.0) * 12.0).collect();
    let mut next_row = || -> Vec<f32> {
        let shift = unit() * 40.0 - 20.0;
        let mut logit = |walk: &mut f32| {
            *walk = *walk * 0.8 + (unit() + unit() - 1.0) * 3.0;
            let logit = if ties { (*walk * 2.0).round() / 2.0 } else { *walk + shift };
            match unit() {
                0.0..0.03 => f32::NAN,
                0.03..0.06 => f32::NEG_INFINITY,
                0.06..0.07 if infinite => f32::INFINITY,
                _ => logit,
            }
        };
        walk.iter_mut().map(&mut logit).collect()
    };
    let mut rows: Vec<Vec<f32>> = (0..N_STEPS).map(|_| next_row()).collect();
    rows[ALL_NAN_IDX] = vec![f32::NAN; N_VOCAB];
    rows
}

fn per_token(of: impl Fn(usize) -> f32) -> Arc<[f32]> {
    (0..N_VOCAB).map(of).collect()
}

fn corrector(offset: Option<Arc<[f32]>>, smoothing: Smoothing, level: Level) -> Corrector {
    let correction = Correction::new(N_VOCAB, offset, Some(smoothing)).expect("in range");
    Corrector::new(Arc::new(correction), level)
}

fn plain(gain: f32) -> Smoothing {
    Smoothing {
        gains: Gains::One(gain),
        scope: Scope::Full,
        gauge: Gauge::Mean,
        reversion: None,
        rescale: Rescale::Off,
    }
}

/// Every setting that there is.
fn settings() -> Vec<Smoothing> {
    let each = per_token(|token| [0.9, 1.0, 0.4, 0.0, 0.75][token % 5]);
    let levels = per_token(|token| (token % 17) as f32 - 8.0);
    let all_gains = [0.0, 0.3, 0.97].map(Gains::One).into_iter().chain([Gains::Each(each)]);
    let mut settings = Vec::new();
    for gains in all_gains {
        let scopes = [2, 7, 64, 10_000].map(|n_tracked_max| Scope::TopK { n_tracked_max });
        for scope in scopes.into_iter().chain([Scope::Full]) {
            for gauge in [Gauge::Mean, Gauge::LogSumExp] {
                for coefficient in [None, Some(0.6)] {
                    for rescale in [
                        Rescale::Off,
                        Rescale::Variance,
                        Rescale::TopVariance { n_top: 16 },
                        Rescale::Entropy,
                    ] {
                        let levels = Arc::clone(&levels);
                        let reversion =
                            coefficient.map(|coefficient| Levels { coefficient, levels });
                        settings.push(Smoothing {
                            gains: gains.clone(),
                            scope,
                            gauge,
                            reversion,
                            rescale,
                        });
                    }
                }
            }
        }
    }
    settings
}

#[test]
fn agrees_with_the_definition_in_f64() {
    let sequences = [rows(1, false, false), rows(2, true, false), rows(3, true, true)];
    let offset = per_token(|token| (token % 7) as f32 * 0.25 - 0.5);
    for (setting_idx, smoothing) in settings().into_iter().enumerate() {
        let rows = &sequences[setting_idx % sequences.len()];
        // A third of the settings comes with an offset, whichever the sequence.
        let offset = (setting_idx / 3 % 3 == 0).then(|| Arc::clone(&offset));
        check_sequence(rows, offset, &smoothing);
    }
}

fn check_sequence(rows: &[Vec<f32>], offset: Option<Arc<[f32]>>, smoothing: &Smoothing) {
    let mut naive = NaiveKls::new(smoothing.clone());
    let mut correctors: Vec<Corrector> = Level::available_for_floats()
        .map(|level| corrector(offset.clone(), smoothing.clone(), level))
        .collect();
    for (step_idx, row) in rows.iter().enumerate() {
        let what = format!("step {step_idx}, {smoothing:?}");
        let found = correctors.iter_mut().map(|corrector| {
            let mut row = [row, &PADDING[..]].concat();
            assert_eq!(corrector.apply(&mut row).is_err(), step_idx == ALL_NAN_IDX);
            row
        });
        let found: Vec<Vec<f32>> = found.collect();
        for at_level in &found {
            assert_eq!(bits(at_level), bits(&found[0]), "every level writes the same: {what}");
        }
        let (found, padding) = found[0].split_at(N_VOCAB);
        assert_eq!(bits(padding), bits(&PADDING), "{what}");
        let y: Vec<f32> = match &offset {
            Some(offset) => row.iter().zip(offset.iter()).map(|(y, add)| y + add).collect(),
            None => row.clone(),
        };
        match naive.step(&y) {
            Some(step) => check_step(&y, found, &step, smoothing.rescale, &what),
            None => assert_eq!(bits(found), bits(row), "{what}"),
        }
    }
}

fn check_step(y: &[f32], found: &[f32], step: &NaiveStep, rescale: Rescale, what: &str) {
    let mut others: Vec<usize> = (0..N_VOCAB).collect();
    others.retain(|token| !step.followed.contains(token));
    for token in others {
        assert_eq!(found[token].to_bits(), y[token].to_bits(), "token {token} passes, {what}");
    }
    let of = |value: &dyn Fn(usize) -> f64| step.followed.iter().map(|&i| value(i)).collect();
    let found: Vec<f64> = of(&|i| f64::from(found[i]));
    let smoothed: Vec<f64> = of(&|i| step.smoothed[i]);
    if rescale == Rescale::Entropy && !step.follows_infinity {
        let before: Vec<f64> = of(&|i| f64::from(y[i]));
        return check_entropy(&before, &smoothed, &found, what);
    }
    let (mean_from, scale, mean_to) = step.map;
    for (&smoothed, &found) in smoothed.iter().zip(&found) {
        let expected = mean_to + (smoothed - mean_from) * scale;
        let tolerance = 2e-5 * (1.0 + scale.abs());
        assert!((found - expected).abs() < tolerance, "{found} {expected}, {what}");
    }
}

/// An affine map of the smoothed logits, to the mean and the entropy of before.
fn check_entropy(before: &[f64], smoothed: &[f64], found: &[f64], what: &str) {
    let (mean_to, _) = mean_and_deviation(before);
    let (mean_from, deviation_from) = mean_and_deviation(smoothed);
    let (mean, deviation) = mean_and_deviation(found);
    assert!((mean - mean_to).abs() < 1e-4, "mean {mean} {mean_to}, {what}");
    let scale = if deviation_from < 1e-6 { 1.0 } else { deviation / deviation_from };
    for (&smoothed, &found) in smoothed.iter().zip(found) {
        let expected = mean_to + (smoothed - mean_from) * scale;
        assert!((found - expected).abs() < 1e-4, "{found} {expected}, {what}");
    }
    let (wanted, found) = (entropy(before), entropy(found));
    let at = |scale: f64| entropy(&smoothed.iter().map(|s| s * scale).collect::<Vec<f64>>());
    let reachable = wanted.clamp(at(8.0), at(0.125));
    assert!((found - reachable).abs() < 2e-4, "entropy {found} {reachable} {scale}, {what}");
}

#[test]
fn special_sequences() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let check = |smoothing: &Smoothing, steps: &[([f32; 4], [f32; 4])]| {
        for level in Level::available_for_floats() {
            let correction = Correction::new(4, None, Some(smoothing.clone())).expect("in range");
            let mut corrector = Corrector::new(Arc::new(correction), level);
            for (row, expected) in steps {
                let mut found = *row;
                corrector.apply(&mut found).expect("a finite logit");
                assert_eq!(bits(&found), bits(expected), "{level:?} {smoothing:?} {row:?}");
            }
        }
    };
    let half = plain(0.5);
    let first = [0.0, 1.0, 2.0, 5.0];
    check(&half, &[(first, first), ([5.0, 1.0, 2.0, 0.0], [2.5, 1.0, 2.0, 2.5])]);
    // A logit that is not finite leaves no trace: the state is that of two steps ago.
    let gap = [nan, 1.0, -inf, 1.0];
    let after_gap = ([5.0, 1.0, 2.0, 0.0], [2.5, 1.25, 2.0, 1.75]);
    check(&half, &[(first, first), (gap, [nan, 0.5, -inf, 2.5]), after_gap]);
    // What was never finite enters as it is.
    let hidden = [0.0, inf, 4.0, nan];
    check(&half, &[(hidden, hidden), ([4.0, 9.0, 0.0, 3.0], [3.0, 9.0, 3.0, 3.0])]);
    // A frozen state without spread cannot be scaled to any.
    let flat = [1.0; 4];
    for rescale in [Rescale::Variance, Rescale::TopVariance { n_top: 2 }] {
        let frozen = Smoothing { rescale, ..plain(0.0) };
        let mean = if rescale == Rescale::Variance { 1.5 } else { 2.5 };
        check(&frozen, &[(flat, flat), ([0.0, 1.0, 2.0, 3.0], [mean; 4])]);
    }
    let frozen = Smoothing { rescale: Rescale::Entropy, ..plain(0.0) };
    check(&frozen, &[(flat, flat), ([0.0, 1.0, 2.0, 3.0], [1.5; 4])]);
    // k = 1 with ties: the lower id is followed. Tokens 0, then 2, then 3, then 0 as a new one.
    let top = Smoothing { scope: Scope::TopK { n_tracked_max: 3 }, ..plain(0.5) };
    check(
        &top,
        &[
            ([4.0, 4.0, 0.0, 0.0], [4.0, 4.0, 0.0, 0.0]),
            ([0.0, 4.0, 8.0, 8.0], [3.5, 4.0, 8.0, 8.0]),
            ([0.0, 0.0, 0.0, 8.0], [0.0, 0.0, 2.5, 8.0]),
            ([8.0, 0.0, 0.0, 0.0], [8.0, 0.0, 0.0, 4.0]),
            ([8.0, 0.0, 0.0, 0.0], [8.0, 0.0, 0.0, 0.0]),
        ],
    );
}

#[test]
fn a_row_without_a_finite_logit_is_refused_and_forgotten() {
    for level in Level::available_for_floats() {
        let offset = Some(per_token(|_| 1.0));
        for smoothing in [plain(0.5), plain(1.0)] {
            let mut corrector = corrector(offset.clone(), smoothing, level);
            let mut untouched = corrector.clone();
            let nothing = CorrectRowError::NothingFinite { n_vocab: N_VOCAB };
            for logit in [f32::NAN, f32::NEG_INFINITY, f32::INFINITY] {
                // What lies in the padding does not count.
                let row = [vec![logit; N_VOCAB], vec![1.0; 3]].concat();
                let mut found = row.clone();
                assert_eq!(corrector.apply(&mut found), Err(nothing.clone()));
                assert_eq!(bits(&found), bits(&row));
            }
            let short = CorrectRowError::RowLength { expected: N_VOCAB, found: N_VOCAB - 1 };
            assert_eq!(corrector.apply(&mut [0.0; N_VOCAB - 1]), Err(short));
            for row in &rows(4, false, false)[..3] {
                let (mut found, mut expected) = (row.clone(), row.clone());
                corrector.apply(&mut found).expect("a finite logit");
                untouched.apply(&mut expected).expect("a finite logit");
                assert_eq!(bits(&found), bits(&expected));
            }
        }
    }
}

#[test]
fn corrections_out_of_range_are_refused() {
    let check = |offset: Option<Arc<[f32]>>, smoothing: Smoothing, expected: &str| {
        let refused = Correction::new(N_VOCAB, offset, Some(smoothing)).expect_err(expected);
        assert_eq!(refused.to_string(), expected);
    };
    let with = |token: usize, value: f32| per_token(|id| if id == token { value } else { 0.5 });
    check(
        Some([0.0; 5].into()),
        plain(0.5),
        "the correction's offsets are for 5 tokens: expected 203",
    );
    check(
        Some(with(9, f32::NAN)),
        plain(0.5),
        "the correction's offsets hold NaN at token 9: expected a finite number",
    );
    check(None, plain(1.5), "the correction's gain is 1.5: expected 0 to 1");
    check(None, plain(f32::NAN), "the correction's gain is NaN: expected 0 to 1");
    check(
        None,
        Smoothing { gains: Gains::Each(with(2, -0.25)), ..plain(0.5) },
        "the correction's gains hold -0.25 at token 2: expected 0 to 1",
    );
    check(
        None,
        Smoothing { gains: Gains::Each([0.5; 3].into()), ..plain(0.5) },
        "the correction's gains are for 3 tokens: expected 203",
    );
    let reverting = |coefficient, levels| Some(Levels { coefficient, levels });
    check(
        None,
        Smoothing { reversion: reverting(-1.0, with(0, 0.0)), ..plain(0.5) },
        "the correction's reversion coefficient is -1: expected 0 to 1",
    );
    check(
        None,
        Smoothing { reversion: reverting(0.5, with(7, f32::INFINITY)), ..plain(0.5) },
        "the correction's levels hold inf at token 7: expected a finite number",
    );
    check(
        None,
        Smoothing { scope: Scope::TopK { n_tracked_max: 1 }, ..plain(0.5) },
        "the correction's number of tracked tokens is 1: expected at least 2",
    );
    check(
        None,
        Smoothing { rescale: Rescale::TopVariance { n_top: 1 }, ..plain(0.5) },
        "the correction's number of rescaled tokens is 1: expected at least 2",
    );
    for found in [0, usize::MAX] {
        let refused = Correction::new(found, None, None).expect_err("no such vocabulary");
        assert_eq!(refused, CorrectionError::Vocabulary { expected: 1 << 24, found });
    }
}

fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|logit| logit.to_bits()).collect()
}
