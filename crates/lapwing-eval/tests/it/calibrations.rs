//! Calibrations of made-up models: what the theory says must come out.

use std::ops::ControlFlow;

use lapwing_backend::Model;
use lapwing_eval::{
    CalibrateError, CalibrateInputs, CalibrateOptions, Calibration, Comparison, Domain,
    GateOptions, HeadMatrix, Measure, Place, ProfileLabels, RepetitionOptions, Stage, Verdict,
    calibrate,
};
use lapwing_logits::profile::{CorrectionProfile, ProfiledModel};
use lapwing_logits::{Gauge, Level};

use crate::simulated::{Damage, Random, Signal, SimulatedModel};

const N_TOKENS: usize = 48;
const N_WINDOW: usize = 48;

pub(crate) fn options() -> CalibrateOptions {
    CalibrateOptions {
        n_window_tokens: N_WINDOW,
        n_calibration_windows_max: 40,
        n_judged_windows_max: 24,
        n_bands: 12,
        n_grid: 33,
        given_gains: vec![0.99, 0.97, 0.9],
        ridges: vec![1e-3, 1e-1],
        gauge: Gauge::Mean,
        gate: GateOptions {
            confidence: 0.95,
            n_resamples: 2000,
            seed: 11,
            min_divergence_share: 0.02,
            min_gain_nats: 0.0,
            allow_one_domain: false,
        },
        repetition: RepetitionOptions {
            n_prompts: 16,
            n_prompt_tokens: 8,
            n_new_tokens: 32,
            stop_ids: Vec::new(),
        },
        level: Level::detect(),
        n_threads: 2,
    }
}

/// Texts that the reference wrote: to fit, held out, and of another domain, which is wilder.
struct Texts {
    calibration: Vec<u32>,
    held_out: Vec<u32>,
    other_domain: Vec<u32>,
}

impl Texts {
    fn by(reference: &SimulatedModel) -> Texts {
        Texts {
            calibration: reference.write(1, 40, N_WINDOW, 1.0),
            held_out: reference.write(2, 24, N_WINDOW, 1.0),
            other_domain: reference.write(3, 24, N_WINDOW, 1.5),
        }
    }
}

fn run(
    model: &SimulatedModel,
    with_reference: bool,
    head: Option<HeadMatrix<'_>>,
    options: &CalibrateOptions,
) -> Calibration {
    let reference = model.reference();
    let texts = Texts::by(&reference);
    let inputs = CalibrateInputs {
        model,
        reference: with_reference.then_some(&reference as &dyn Model),
        head,
        n_tokens: N_TOKENS,
        begin: None,
        calibration: &[&texts.calibration],
        held_out: &texts.held_out,
        other_domain: Some(&texts.other_domain),
    };
    let outcome = calibrate(&inputs, options, &mut |_| ControlFlow::Continue(()));
    outcome.expect("it can be calibrated")
}

fn reverting(a: f64, noise: f64) -> SimulatedModel {
    let damage = Damage { noise, ..Damage::default() };
    SimulatedModel::new(N_TOKENS, Signal::Reverting { a }, damage)
}

fn lines(verdicts: &[Verdict]) -> String {
    let line = |verdict: &Verdict| {
        format!("{} {}: {}", if verdict.passes { "+" } else { "-" }, verdict.name, verdict.reason)
    };
    verdicts.iter().map(line).collect::<Vec<String>>().join("\n")
}

fn labels() -> ProfileLabels {
    let model = ProfiledModel {
        name: "simulated".into(),
        sha256: "0".repeat(64),
        backend: "none".into(),
        device: "CPU".into(),
        precision: "f32".into(),
        n_vocab: N_TOKENS,
    };
    ProfileLabels { model, reference: None, texts: Vec::new(), body_recipe: None }
}

/// Mean reversion looks like noise to a filter that believes in a random walk.
#[test]
fn the_ar1_trap_keeps_the_gate_closed() {
    let check = |a: f64, noise: f64, with_reference: bool| {
        let found = run(&reverting(a, noise), with_reference, None, &options());
        let what = format!("a {a}, noise {noise}, reference {with_reference}");
        assert_eq!(
            (found.run_time, found.export),
            (None, None),
            "{what}\n{}",
            lines(&found.verdicts)
        );
        let (profile, arrays) = found.profile(labels());
        assert!(!profile.gate.open && profile.gate.chosen.is_none(), "{what}");
        assert_eq!(arrays.names().count(), 0, "{what}");
    };
    for a in [0.0, 0.3, 0.6, 0.9] {
        check(a, 0.1, false);
        check(a, 0.03, true);
    }
    for a in [0.0, 0.3, 0.6] {
        check(a, 0.1, true);
    }
}

#[test]
fn a_constant_offset_opens_the_gate_for_the_bias() {
    let mut random = Random::new(4);
    let offset: Vec<f32> = (0..N_TOKENS).map(|_| 0.6 * random.normal() as f32).collect();
    let damage = Damage { noise: 0.05, offset: offset.clone(), ..Damage::default() };
    let model = SimulatedModel::new(N_TOKENS, Signal::Reverting { a: 0.3 }, damage);
    let found = run(&model, true, None, &options());
    let chosen = found.run_time.unwrap_or_else(|| panic!("{}", lines(&found.verdicts)));
    assert_eq!(found.candidates[chosen].name, "bias", "{}", lines(&found.verdicts));
    let (profile, arrays) = found.profile(labels());
    assert_eq!(profile.gate.chosen.as_deref(), Some("bias"));
    assert_eq!((profile.gate.rules.confidence, profile.gate.rules.min_gain_nats), (0.95, 0.0));
    assert_eq!(profile.gate.rules.min_divergence_share, 0.02);
    // What is told of rare tokens is what was compared.
    let verdict = &found.verdicts[chosen];
    let of_rare = |measure: Measure| {
        let is_it = |one: &&Comparison| one.domain == Domain::Home && one.measure == measure;
        verdict.comparisons.iter().find(is_it).expect("was measured").improvement_plain
    };
    let told = &profile.candidates[chosen].texts[0];
    let nll = told.rare_nll_change.expect("was measured");
    let expected = of_rare(Measure::RareNegativeLogLikelihood);
    assert_eq!((-nll.high, -nll.mean, -nll.low), (expected.low, expected.estimate, expected.high));
    let probability = told.rare_probability_change.expect("was measured");
    let expected = of_rare(Measure::RareMisses);
    assert_eq!(
        (probability.low, probability.mean, probability.high),
        (expected.low, expected.estimate, expected.high)
    );
    let correction = profile.correction(&arrays).expect("fits").expect("there is one");
    assert!(correction.smoothing().is_none());
    let mean = offset.iter().sum::<f32>() / N_TOKENS as f32;
    for (found, offset) in correction.offset().expect("there is one").iter().zip(&offset) {
        assert!((found + (offset - mean)).abs() < 0.01, "{found} against {}", offset - mean);
    }
    // What is left of the KL is the noise's.
    let (raw, corrected) = (&found.home[0], &found.home[chosen + 1]);
    let share = corrected.mean_divergence().unwrap() / raw.mean_divergence().unwrap();
    assert!(share < 0.05, "{share}");
    // The profile is one that can be written and read.
    let json = profile.to_json().expect("writes");
    let read = CorrectionProfile::parse(&json).expect("reads");
    assert_eq!((read.correction, read.gate), (profile.correction, profile.gate));
}

#[test]
fn a_noisy_random_walk_opens_the_gate_for_kls() {
    let damage = Damage { noise: 1.0, ..Damage::default() };
    let model = SimulatedModel::new(N_TOKENS, Signal::Walk { step: 0.1 }, damage);
    let found = run(&model, true, None, &options());
    let chosen = found.run_time.unwrap_or_else(|| panic!("{}", lines(&found.verdicts)));
    let name = &found.candidates[chosen].name;
    assert!(name.contains("kls"), "{}", lines(&found.verdicts));
    // Q = 0.04 and R = 1 make 0.181; windows start afresh, where a larger gain is better.
    let scalar = found.diagnostics.scalar;
    assert!((0.181..0.25).contains(&scalar.gain), "{scalar:?}");
    let one = |name: &str| {
        let idx = found.candidates.iter().position(|candidate| candidate.name == name);
        let score = &found.home[idx.expect("is a candidate") + 1];
        score.mean_divergence().expect("has a reference")
    };
    let raw = found.home[0].mean_divergence().expect("has a reference");
    assert!(one("kls, maximum likelihood, one gain") < 0.5 * raw, "{raw}");
    // With the noise that the reference shows, nearly the same.
    let ratio = one("kls, reference, one gain") / one("kls, maximum likelihood, one gain");
    assert!((ratio - 1.0).abs() < 0.05, "{ratio}");
}

#[test]
fn a_distorted_hidden_state_is_put_right_by_the_head_map() {
    const N_HIDDEN: usize = 8;
    let mut random = Random::new(6);
    let head: Vec<f32> = (0..N_TOKENS * N_HIDDEN).map(|_| random.normal() as f32).collect();
    let signal = Signal::Hidden { head: head.clone(), n_hidden: N_HIDDEN };
    let damage = Damage { distortion: Some((0.8, 0.2)), ..Damage::default() };
    let model = SimulatedModel::new(N_TOKENS, signal, damage);
    let view = HeadMatrix::new(&head, N_TOKENS, N_HIDDEN).expect("fits");
    let found = run(&model, true, Some(view), &options());
    let chosen = found.export.unwrap_or_else(|| panic!("{}", lines(&found.verdicts)));
    assert_eq!(found.candidates[chosen].place, Place::Export);
    assert_eq!(found.candidates[chosen].name, "head map, ridge 0.001");
    let (raw, mapped) = (&found.home[0], &found.home[chosen + 1]);
    let share = mapped.mean_divergence().unwrap() / raw.mean_divergence().unwrap();
    assert!(share < 1e-3, "{share}");
    // The map undoes h' = 0.8 (h + 0.3 next) + 0.2: mapped twice it must give the identity.
    let (profile, arrays) = found.profile(labels());
    let map = profile.head_map(&arrays).expect("fits").expect("there is one");
    for row_idx in 0..N_HIDDEN {
        let row = &map.matrix[row_idx * N_HIDDEN..][..N_HIDDEN];
        for column_idx in 0..N_HIDDEN {
            // Column of the distortion: 0.8 on the diagonal, 0.24 one row above.
            let above = (column_idx + N_HIDDEN - 1) % N_HIDDEN;
            let product = 0.8 * row[column_idx] + 0.24 * row[above];
            let expected = if row_idx == column_idx { 1.0 } else { 0.0 };
            assert!((product - expected).abs() < 0.01, "{row_idx} {column_idx}: {product}");
        }
    }
}

#[test]
fn threads_change_nothing() {
    let model = reverting(0.5, 0.5);
    let scores = |n_threads: usize| {
        let found = run(&model, true, None, &CalibrateOptions { n_threads, ..options() });
        (found.home, found.verdicts)
    };
    assert_eq!(scores(1), scores(3));
}

#[test]
fn a_calibration_can_be_broken_off_at_every_stage() {
    let model = reverting(0.5, 0.5);
    let reference = model.reference();
    let texts = Texts::by(&reference);
    let inputs = CalibrateInputs {
        model: &model,
        reference: Some(&reference),
        head: None,
        n_tokens: N_TOKENS,
        begin: Some(0),
        calibration: &[&texts.calibration, &texts.calibration],
        held_out: &texts.held_out,
        other_domain: Some(&texts.other_domain),
    };
    let stages = [
        (Stage::Fit, 32),
        (Stage::Offsets, 8),
        (Stage::Select, 8),
        (Stage::JudgeHome, 24),
        (Stage::JudgeOther, 24),
    ];
    let stages = stages.map(|(stage, n_windows)| (stage, Some(n_windows)));
    for (stage, n_windows) in stages.into_iter().chain([(Stage::Generate, None)]) {
        let mut n_reported = 0;
        let outcome = calibrate(&inputs, &options(), &mut |progress| {
            if progress.stage != stage {
                return ControlFlow::Continue(());
            }
            n_reported += 1;
            assert_eq!(progress.n_total, n_windows.unwrap_or(progress.n_total), "{stage:?}");
            // At the second window: every one is reported.
            if progress.n_done == 0 && n_windows.is_some() {
                return ControlFlow::Continue(());
            }
            ControlFlow::Break(())
        });
        assert!(matches!(outcome, Err(CalibrateError::Stopped(_))), "{stage:?}");
        assert_eq!(n_reported, if n_windows.is_some() { 2 } else { 1 }, "{stage:?}");
    }
}

#[test]
fn what_was_fitted_is_not_judged_on() {
    let model = reverting(0.5, 0.5);
    let reference = model.reference();
    let texts = Texts::by(&reference);
    let check = |held_out: &[u32], other: &[u32], expected: &str| {
        let inputs = CalibrateInputs {
            model: &model,
            reference: Some(&reference),
            head: None,
            n_tokens: N_TOKENS,
            begin: None,
            calibration: &[&texts.calibration],
            held_out,
            other_domain: Some(other),
        };
        let error = calibrate(&inputs, &options(), &mut |_| panic!("no work")).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    };
    // The fourth of the calibration is fitted on, the fifth selects.
    let mut mixed = texts.held_out.clone();
    mixed[..2 * N_WINDOW].copy_from_slice(&texts.calibration[3 * N_WINDOW..5 * N_WINDOW]);
    let says = "windows of the held-out text are in the calibration text too: expected none";
    check(&mixed, &texts.other_domain, &format!("2 of 24 {says}"));
    let says = "windows of the other domain's text are in the calibration text too: expected none";
    check(&texts.held_out, &mixed, &format!("2 of 24 {says}"));
}

#[test]
fn bad_input_is_refused_before_any_work() {
    let model = reverting(0.5, 0.5);
    let text = model.write(1, 24, N_WINDOW, 1.0);
    let check =
        |calibration: &[u32], held_out: &[u32], options: CalibrateOptions, expected: &str| {
            let inputs = CalibrateInputs {
                model: &model,
                reference: None,
                head: None,
                n_tokens: N_TOKENS,
                begin: None,
                calibration: &[calibration],
                held_out,
                other_domain: None,
            };
            let found = calibrate(&inputs, &options, &mut |_| panic!("no work"));
            let error: CalibrateError = found.expect_err(expected);
            assert_eq!(error.to_string(), expected);
        };
    check(
        &text[..47],
        &text,
        options(),
        "the calibration text is too short: 47 tokens fill 0 windows of 48, expected at least 5",
    );
    check(
        &text,
        &text[..100],
        options(),
        "the held-out text is too short: 100 tokens fill 2 windows of 48, expected at least 16",
    );
    let bad = CalibrateOptions { given_gains: vec![1.5], ..options() };
    check(&text, &text, bad, "calibration option given_gains must be from 0 to 1, found 1.5");
    let bad = CalibrateOptions { ridges: vec![f64::NAN], ..options() };
    check(&text, &text, bad, "calibration option ridges must be finite and at least 0, found NaN");
}
