//! Scores of treatments against sums written out in double precision.

use std::sync::Arc;

use lapwing_backend::Model;
use lapwing_eval::{
    CommonTokens, JudgeInputs, JudgeOptions, RareScore, ScoreError, TextWindow, Treatment,
    TreatmentScore, judge,
};
use lapwing_logits::{Correction, Corrector, Gains, Gauge, Level, Rescale, Scope, Smoothing};

use crate::models::go_on;
use crate::simulated::{Damage, Signal, SimulatedModel};

const N_TOKENS: usize = 70;

fn model() -> SimulatedModel {
    let offset = (0..N_TOKENS).map(|idx| (idx % 3) as f32 * 0.2).collect();
    let damage = Damage { noise: 0.5, offset, distortion: None };
    SimulatedModel::new(N_TOKENS, Signal::Reverting { a: 0.5 }, damage)
}

/// The second is longer than a block of rows.
fn windows() -> Vec<Vec<u32>> {
    let window = |seed: u64, n: usize| model().reference().write(seed, 1, n, 1.0);
    vec![window(1, 40), window(2, 150), window(3, 2)]
}

fn scored(windows: &[Vec<u32>], n_unscored_rows: usize) -> Vec<TextWindow> {
    let window = |tokens: &Vec<u32>| TextWindow { tokens: tokens.clone(), n_unscored_rows };
    windows.iter().map(window).collect()
}

fn treatments() -> Vec<Treatment> {
    let smoothing = Smoothing {
        gains: Gains::One(0.7),
        scope: Scope::Full,
        gauge: Gauge::Mean,
        reversion: None,
        rescale: Rescale::Off,
    };
    let offset: Arc<[f32]> = (0..N_TOKENS).map(|idx| (idx % 3) as f32 * -0.2).collect();
    let correction = |offset, smoothing| Correction::new(N_TOKENS, offset, smoothing);
    vec![
        Treatment::raw(),
        Treatment::corrected("bias", correction(Some(offset), None).expect("fits")),
        Treatment::corrected("kls", correction(None, Some(smoothing)).expect("fits")),
    ]
}

fn rows(model: &SimulatedModel, window: &[u32], treatment: &Treatment) -> Vec<Vec<f32>> {
    let mut corrector = match &treatment.kind {
        lapwing_eval::TreatmentKind::Corrected(correction) => {
            Some(Corrector::new(Arc::clone(correction), Level::SCALAR))
        }
        _ => None,
    };
    let mut rows = Vec::new();
    let mut decoder = model.decoder().expect("a decoder");
    let take = &mut |row: lapwing_backend::Row<'_>| {
        let mut row = row.logits.to_vec();
        if let Some(corrector) = &mut corrector {
            corrector.apply(&mut row).expect("applies");
        }
        rows.push(row);
    };
    decoder.score(&window[..window.len() - 1], take).expect("scores");
    rows
}

fn log_probabilities(row: &[f32]) -> Vec<f64> {
    let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
    row.iter().map(|&logit| f64::from(logit) - sum.ln()).collect()
}

fn likeliest(row: &[f32]) -> usize {
    (0..row.len()).fold(0, |best, idx| if row[best] < row[idx] { idx } else { best })
}

#[test]
fn scores_agree_with_plain_sums() {
    let (model, windows, treatments) = (model(), windows(), treatments());
    let reference = model.reference();
    let common = CommonTokens::of_text(windows.iter().flatten().copied(), N_TOKENS);
    let check = |with_reference: bool, n_unscored_rows: usize, windows: &[Vec<u32>]| {
        let inputs = JudgeInputs {
            model: &model,
            reference: with_reference.then_some(&reference as &dyn Model),
            head: None,
            n_tokens: N_TOKENS,
            windows: &scored(windows, n_unscored_rows),
            common: Some(&common),
        };
        let options = JudgeOptions { level: Level::detect(), n_threads: 2 };
        let judged = judge(&inputs, &treatments, options, &mut go_on);
        let scores: Vec<TreatmentScore> = judged.expect("judges");
        assert_eq!(scores.len(), treatments.len());
        for (score, treatment) in scores.iter().zip(&treatments) {
            assert_eq!(score.name, treatment.name);
            for (found, window) in score.windows.iter().zip(windows) {
                let of_reference = rows(&reference, window, &Treatment::raw());
                let of_model = rows(&model, window, treatment);
                let (mut surprise, mut divergence, mut n_agreeing) = (0.0, 0.0, 0);
                let (mut rare, mut rare_of_reference) = (RareScore::default(), 0.0);
                for position in n_unscored_rows..window.len() - 1 {
                    let p = log_probabilities(&of_reference[position]);
                    let q = log_probabilities(&of_model[position]);
                    let next = window[position + 1];
                    surprise -= q[next as usize];
                    if !common.contains(next) {
                        rare.n += 1;
                        rare_of_reference -= p[next as usize];
                        rare.negative_log_likelihood -= q[next as usize];
                        rare.probability += q[next as usize].exp();
                    }
                    divergence += p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
                    let same = likeliest(&of_reference[position]);
                    n_agreeing += usize::from(same == likeliest(&of_model[position]));
                }
                let n = window.len() - 1 - n_unscored_rows;
                let what = format!("{} {n} {with_reference}", score.name);
                assert_eq!(found.n, n, "{what}");
                assert!((found.negative_log_likelihood - surprise).abs() < 1e-4, "{what}");
                let of_rare = found.rare.expect("the commonest tokens were given");
                assert_eq!(of_rare.n, rare.n, "{what}");
                assert!((of_rare.probability - rare.probability).abs() < 1e-4, "{what}");
                let rare_surprise = rare.negative_log_likelihood;
                let distance = (of_rare.negative_log_likelihood - rare_surprise).abs();
                assert!(distance < 1e-4, "{what}");
                assert!(n < 20 || 0 < rare.n && rare.n < n, "{what}");
                assert_eq!(of_rare.of_reference.is_some(), with_reference && 0 < rare.n, "{what}");
                if let Some(of_reference) = of_rare.of_reference {
                    let found = of_reference.negative_log_likelihood;
                    assert!((found - rare_of_reference).abs() < 1e-4, "{what}");
                }
                assert_eq!(found.n_agreeing, with_reference.then_some(n_agreeing), "{what}");
                let found = found.divergence;
                assert_eq!(found.is_some(), with_reference, "{what}");
                assert!((found.unwrap_or(divergence) - divergence).abs() < 1e-4, "{what}");
            }
        }
        scores
    };
    let scores = check(true, 0, &windows);
    check(false, 0, &windows);
    let late = check(true, 10, &windows[..2]);
    // Positions count from the window's start, scored or not.
    assert_eq!(scores[0].divergence_by_position.len(), 149);
    assert!(late[0].divergence_by_position[..10].iter().all(|mean| mean.is_nan()));
    let of_window: f64 = scores[0].divergence_by_position[39..].iter().sum();
    assert!(of_window < scores[0].windows[1].divergence.expect("a reference"));
}

#[test]
fn a_reference_that_excludes_the_text_is_refused() {
    const EXCLUDED: usize = 5;
    let offset = (0..N_TOKENS).map(|idx| if idx == EXCLUDED { f32::NEG_INFINITY } else { 0.0 });
    let damage = Damage { offset: offset.collect(), ..Damage::default() };
    let reference = SimulatedModel::new(N_TOKENS, Signal::Reverting { a: 0.5 }, damage);
    let (model, excluded) = (model(), EXCLUDED as u32);
    let check = |window: &[u32], n_unscored_rows: usize, expected: Option<&str>| {
        let inputs = JudgeInputs {
            model: &model,
            reference: Some(&reference),
            head: None,
            n_tokens: N_TOKENS,
            windows: &scored(&[vec![1, 2, 3, 4], window.to_vec()], n_unscored_rows),
            common: None,
        };
        let options = JudgeOptions { level: Level::detect(), n_threads: 2 };
        let judged = judge(&inputs, &treatments(), options, &mut go_on);
        assert_eq!(judged.err().map(|error| error.to_string()).as_deref(), expected);
    };
    let says = "reference excludes what the text or the reference allows after position 1 of \
                window 1: the logit is -inf";
    check(&[1, 2, excluded, 4], 0, Some(says));
    check(&[1, 2, excluded, 4], 1, Some(says));
    // What is not scored may be anything, and so may what is only read.
    check(&[1, 2, excluded, 4], 2, None);
    check(&[excluded, 2, 3, 4], 0, None);
}

#[test]
fn what_cannot_be_scored_is_refused() {
    let model = model();
    let check = |windows: &[Vec<u32>], n_tokens: usize, expected: &str| {
        let inputs = JudgeInputs {
            model: &model,
            reference: None,
            head: None,
            n_tokens,
            windows: &scored(windows, 0),
            common: None,
        };
        let options = JudgeOptions { level: Level::SCALAR, n_threads: 1 };
        let judged = judge(&inputs, &treatments(), options, &mut go_on);
        let error: ScoreError = judged.expect_err(expected);
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(next) = cause {
            text += &format!(": {next}");
            cause = next.source();
        }
        assert_eq!(text, expected);
    };
    check(&[], N_TOKENS, "cannot judge on no windows: expected at least one");
    check(
        &[vec![1, 2], vec![1]],
        N_TOKENS,
        "window 1 of 1 tokens leaves nothing to score: more are needed",
    );
    check(
        &[vec![1, 2], vec![1, 70]],
        N_TOKENS,
        "window 1 cannot be scored: token 70 at position 1 is not in the vocabulary of 70",
    );
    check(
        &[vec![1, 2]],
        N_TOKENS + 1,
        "a condition cannot be applied: condition bias is for a vocabulary of length 70, \
         expected 71",
    );
}
