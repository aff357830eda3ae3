//! Perplexities of made-up models against plain loops.

use std::ops::Range;
use std::sync::Arc;

use lapwing_eval::{
    Convention, Journal, Perplexity, PerplexityOptions, Progress, ScoreError, Stopped, Text,
    perplexity,
};
use lapwing_logits::{Correction, Level};
use lapwing_report::statistics::BootstrapOptions;

use crate::models::{HashModel, go_on, hear, listen, nll, smooth, smoothing, stop_after, text};

const N_VOCAB: usize = 13;
const BEGIN: u32 = 1;

pub(crate) const BOOTSTRAP: BootstrapOptions =
    BootstrapOptions { n_resamples: 500, confidence: 0.95, seed: 1 };

fn options(convention: Convention) -> PerplexityOptions {
    PerplexityOptions {
        convention,
        n_windows_max: None,
        bootstrap: BOOTSTRAP,
        level: Level::detect(),
        correction: None,
    }
}

fn measure(model: &HashModel, tokens: &[u32], options: &PerplexityOptions) -> Perplexity {
    let text = Text { tokens, begin: Some(BEGIN), n_bytes: 3 * tokens.len() };
    perplexity(model, &text, options, None, &mut go_on).expect("it can be measured")
}

/// Windows by hand: what the model sees, and the places of the targets among it.
fn check(convention: Convention, tokens: &[u32], windows: &[(Vec<u32>, Range<usize>)]) {
    let model = HashModel::new(5, N_VOCAB);
    let found = measure(&model, tokens, &options(convention));
    let mut nlls = Vec::new();
    for (window, scored) in windows {
        nlls.extend(scored.clone().map(|idx| nll(&model.row(&window[..idx]), window[idx])));
    }
    let mean = nlls.iter().sum::<f64>() / nlls.len() as f64;
    assert!((found.mean_nll - mean).abs() < 1e-6, "{} {mean}", found.mean_nll);
    assert!((found.perplexity / mean.exp() - 1.0).abs() < 1e-6);
    assert_eq!((found.n_tokens, found.n_windows), (nlls.len(), windows.len()));
    let bits = mean / 2f64.ln() * found.n_text_tokens as f64 / (3 * tokens.len()) as f64;
    assert!((found.bits_per_byte - bits).abs() < 1e-6);
}

#[test]
fn both_conventions_agree_with_plain_loops() {
    let mut tokens = text(23, N_VOCAB);
    tokens[0] = BEGIN;
    let anew = |range: Range<usize>| {
        let mut window = tokens[range].to_vec();
        window[0] = BEGIN;
        window
    };
    check(
        Convention::LlamaCpp { n_window: 10 },
        &tokens,
        &[(anew(0..10), 6..10), (anew(10..20), 6..10)],
    );
    let plain = |range: Range<usize>| tokens[range].to_vec();
    check(
        Convention::HuggingFace { n_window: 10, stride: 6 },
        &tokens,
        &[
            (plain(0..10), 1..10),
            (plain(6..16), 4..10),
            (plain(12..22), 4..10),
            (plain(18..23), 4..5),
        ],
    );
    let found = measure(
        &HashModel::new(5, N_VOCAB),
        &tokens,
        &options(Convention::LlamaCpp { n_window: 10 }),
    );
    // The begin token is not of the text.
    assert_eq!((found.n_text_tokens, found.n_dropped_tokens), (22, 3));
}

#[test]
fn models_that_cannot_rewind_or_score_give_the_same() {
    let tokens = text(64, N_VOCAB);
    let convention = Convention::HuggingFace { n_window: 16, stride: 8 };
    let expected = measure(&HashModel::new(5, N_VOCAB), &tokens, &options(convention));
    for (can_rewind, can_score) in [(false, true), (true, false), (false, false)] {
        let model = HashModel { can_rewind, can_score, ..HashModel::new(5, N_VOCAB) };
        assert_eq!(measure(&model, &tokens, &options(convention)), expected);
    }
}

#[test]
fn standard_errors_and_intervals_belong_to_the_windows() {
    let tokens = text(400, N_VOCAB);
    let convention = Convention::LlamaCpp { n_window: 20 };
    let found = measure(&HashModel::new(5, N_VOCAB), &tokens, &options(convention));
    let error = found.mean_nll_standard_error_windows.expect("several windows");
    let delta = found.perplexity_standard_error_delta.expect("several windows");
    let interval = found.perplexity_interval_bootstrap.expect("several windows");
    assert!((delta - found.perplexity * error).abs() < 1e-12);
    assert!((interval.estimate / found.perplexity - 1.0).abs() < 1e-12);
    assert!((interval.standard_error.unwrap() / delta - 1.0).abs() < 0.2, "{interval:?} {delta}");
    assert!(interval.low < interval.estimate && interval.estimate < interval.high);
    let one = PerplexityOptions { n_windows_max: Some(1), ..options(convention) };
    let found = measure(&HashModel::new(5, N_VOCAB), &tokens, &one);
    assert_eq!(found.n_windows, 1);
    assert_eq!(found.mean_nll_standard_error_windows, None);
    assert_eq!(found.perplexity_interval_bootstrap, None);
}

#[test]
fn a_correction_starts_anew_with_each_window_and_sees_every_row() {
    const GAIN: f32 = 0.5;
    let correction = Correction::new(N_VOCAB, None, Some(smoothing(GAIN))).expect("a correction");
    let model = HashModel::new(5, N_VOCAB);
    let tokens = text(20, N_VOCAB);
    let corrected = PerplexityOptions {
        correction: Some(Arc::new(correction)),
        ..options(Convention::LlamaCpp { n_window: 10 })
    };
    let found = measure(&model, &tokens, &corrected);
    let mut sum = 0.0;
    for window in tokens.chunks(10) {
        let mut window = window.to_vec();
        window[0] = BEGIN;
        let mut state = None;
        for idx in 1..10 {
            let row = smooth(&mut state, GAIN, &model.row(&window[..idx]));
            if 6 <= idx {
                sum += nll(&row, window[idx]);
            }
        }
    }
    assert!((found.mean_nll - sum / 8.0).abs() < 1e-5, "{} {}", found.mean_nll, sum / 8.0);
    let plain = measure(&model, &tokens, &options(Convention::LlamaCpp { n_window: 10 }));
    assert!(0.01 < (found.mean_nll - plain.mean_nll).abs(), "the correction does something");
}

#[test]
fn a_run_that_was_broken_off_goes_on_with_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.jsonl");
    let tokens = text(100, N_VOCAB);
    let text = Text { tokens: &tokens, begin: None, n_bytes: 300 };
    let options = options(Convention::LlamaCpp { n_window: 10 });
    let model = HashModel::new(5, N_VOCAB);
    let run = |on_progress: lapwing_eval::OnProgress<'_>| {
        let mut journal = Journal::open(&path, &options.settings(&text)).expect("a journal");
        perplexity(&model, &text, &options, Some(&mut journal), on_progress)
    };
    let stopped = run(&mut stop_after(4));
    let expected = Stopped { n_done: 4, n_total: 10 };
    assert!(matches!(stopped, Err(ScoreError::Stopped(found)) if found == expected));
    let mut heard = Vec::new();
    let resumed = run(hear(&mut listen(&mut heard))).expect("measured");
    assert_eq!(resumed, measure_plain(&model, &text, &options));
    let counts = |progress: &Progress| (progress.n_done, progress.n_resumed);
    let found: Vec<(usize, usize)> = heard.iter().map(counts).collect();
    let expected: Vec<(usize, usize)> = (0..=10).map(|n| (n, n.min(4))).collect();
    assert_eq!(found, expected);
    assert_eq!(heard[0].so_far, None);
    assert_eq!(heard[10].so_far, Some(resumed.perplexity));
    // All of it is in the journal now: a model that fails is not asked.
    let broken = HashModel { nan_at: Some(0), ..HashModel::new(5, N_VOCAB) };
    let mut journal = Journal::open(&path, &options.settings(&text)).expect("a journal");
    let again = perplexity(&broken, &text, &options, Some(&mut journal), &mut go_on);
    assert_eq!(again.expect("measured"), resumed);
}

fn measure_plain(model: &HashModel, text: &Text<'_>, options: &PerplexityOptions) -> Perplexity {
    perplexity(model, text, options, None, &mut go_on).expect("measured")
}

#[test]
fn bad_input_is_refused_with_what_was_found() {
    let refused = |model: &HashModel, tokens: &[u32], expected: &str| {
        let text = Text { tokens, begin: Some(BEGIN), n_bytes: tokens.len() };
        let options = options(Convention::LlamaCpp { n_window: 10 });
        let error = perplexity(model, &text, &options, None, &mut go_on).expect_err(expected);
        let mut said = error.to_string();
        if let ScoreError::Windows(source) = &error {
            said = format!("{said}: {source}");
        }
        assert_eq!(said, expected);
    };
    let model = |seed| HashModel::new(seed, N_VOCAB);
    refused(
        &model(1),
        &[2; 9],
        "cannot cut the text into windows: text of 9 tokens is too short: one window needs 10",
    );
    refused(
        &HashModel { n_positions_max: 8, ..model(1) },
        &[2; 10],
        "windows of 10 tokens are too long: the context holds 8",
    );
    let mut tokens = text(20, N_VOCAB);
    tokens[15] = N_VOCAB as u32;
    refused(&model(1), &tokens, "token 13 at position 15 is not in the vocabulary of 13");
    refused(
        &HashModel { nan_at: Some(7), ..model(1) },
        &[2; 20],
        "logits after position 7 of window 0 are not a distribution: NaN, +inf or all -inf",
    );
    // A row that does not count may be anything.
    let model = HashModel { nan_at: Some(3), ..model(1) };
    measure(&model, &[2; 20], &options(Convention::LlamaCpp { n_window: 10 }));
}
