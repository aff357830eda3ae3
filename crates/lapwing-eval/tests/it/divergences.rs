//! Divergences of made-up models against plain loops.

use lapwing_eval::{
    Convention, Divergence, DivergenceOptions, Journal, ScoreError, Stopped, Text, divergence,
};
use lapwing_logits::Level;

use crate::models::{HashModel, go_on, nll, stop_after, text};
use crate::perplexities::BOOTSTRAP;

const N_VOCAB: usize = 17;

fn options() -> DivergenceOptions {
    DivergenceOptions {
        convention: Convention::LlamaCpp { n_window: 10 },
        n_windows_max: None,
        n_vocab: N_VOCAB,
        bootstrap: BOOTSTRAP,
        level: Level::detect(),
        correction: None,
    }
}

fn measure(reference: &HashModel, model: &HashModel, tokens: &[u32]) -> Divergence {
    let text = Text { tokens, begin: None, n_bytes: tokens.len() };
    divergence(reference, model, &text, &options(), None, &mut go_on).expect("it can be measured")
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    (0..row.len()).map(|idx| -nll(row, idx as u32)).collect()
}

fn kl(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum()
}

fn likeliest(p: &[f64]) -> usize {
    (0..p.len()).max_by(|&a, &b| p[a].total_cmp(&p[b]).then(b.cmp(&a))).expect("not empty")
}

fn close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() < 1e-6 * (1.0 + expected.abs()), "{what}: {found} {expected}");
}

#[test]
fn divergences_agree_with_plain_loops() {
    let reference = HashModel { n_padding: 3, ..HashModel::new(1, N_VOCAB) };
    let model = HashModel::new(2, N_VOCAB);
    let tokens = text(105, N_VOCAB);
    let found = measure(&reference, &model, &tokens);
    let (mut kls, mut reverse, mut nlls, mut n_agreeing) = (Vec::new(), 0.0, [0.0; 2], 0);
    for window in tokens.chunks_exact(10) {
        for idx in 6..10 {
            let p = log_softmax(&reference.row(&window[..idx])[..N_VOCAB]);
            let q = log_softmax(&model.row(&window[..idx]));
            kls.push(kl(&p, &q));
            reverse += kl(&q, &p);
            nlls[0] -= p[window[idx] as usize];
            nlls[1] -= q[window[idx] as usize];
            n_agreeing += usize::from(likeliest(&p) == likeliest(&q));
        }
    }
    assert_eq!((found.n_tokens, found.n_windows), (40, 10));
    close(found.mean_kl, kls.iter().sum::<f64>() / 40.0, "mean");
    kls.sort_by(f64::total_cmp);
    close(found.median_kl, (kls[19] + kls[20]) / 2.0, "median");
    close(found.kl_p90, kls[35] * 0.9 + kls[36] * 0.1, "90th percentile");
    close(found.kl_p99, kls[38] * 0.39 + kls[39] * 0.61, "99th percentile");
    close(found.max_kl, kls[39], "largest");
    close(found.mean_reverse_kl, reverse / 40.0, "reverse");
    close(found.top1_agreement, n_agreeing as f64 / 40.0, "agreement");
    close(found.reference_perplexity, (nlls[0] / 40.0).exp(), "reference perplexity");
    close(found.model_perplexity, (nlls[1] / 40.0).exp(), "model perplexity");
    close(found.ln_perplexity_ratio, (nlls[1] - nlls[0]) / 40.0, "ratio");
    let interval = found.mean_kl_interval_bootstrap.expect("several windows");
    assert!(interval.low < found.mean_kl && found.mean_kl < interval.high);
    let error = found.mean_kl_standard_error_windows.expect("several windows");
    assert!((interval.standard_error.unwrap() / error - 1.0).abs() < 0.2, "{interval:?} {error}");
}

#[test]
fn a_model_is_not_far_from_itself() {
    let found = measure(
        &HashModel::new(1, N_VOCAB),
        &HashModel { n_padding: 9, can_rewind: false, ..HashModel::new(1, N_VOCAB) },
        &text(50, N_VOCAB),
    );
    assert!(found.max_kl < 1e-9, "{}", found.max_kl);
    assert_eq!((found.top1_agreement, found.ln_perplexity_ratio), (1.0, 0.0));
    assert_eq!(found.reference_perplexity, found.model_perplexity);
}

#[test]
fn a_run_that_was_broken_off_goes_on_with_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.jsonl");
    let tokens = text(100, N_VOCAB);
    let text = Text { tokens: &tokens, begin: None, n_bytes: 100 };
    let (reference, model) = (HashModel::new(1, N_VOCAB), HashModel::new(2, N_VOCAB));
    let run = |on_progress: lapwing_eval::OnProgress<'_>| {
        let mut journal = Journal::open(&path, &options().settings(&text)).expect("a journal");
        let journal = Some(&mut journal);
        divergence(&reference, &model, &text, &options(), journal, on_progress)
    };
    let expected = Stopped { n_done: 7, n_total: 10 };
    let stopped = run(&mut stop_after(7));
    assert!(matches!(stopped, Err(ScoreError::Stopped(found)) if found == expected));
    assert_eq!(run(&mut go_on).expect("measured"), measure(&reference, &model, &tokens));
}

#[test]
fn rows_that_are_no_distribution_are_named() {
    let broken = |seed| HashModel { nan_at: Some(6), ..HashModel::new(seed, N_VOCAB) };
    let tokens = text(20, N_VOCAB);
    let text = Text { tokens: &tokens, begin: None, n_bytes: 20 };
    let check = |reference: &HashModel, model: &HashModel, side: &str| {
        let error = divergence(reference, model, &text, &options(), None, &mut go_on);
        let expected = format!(
            "logits of the {side} after position 6 of window 0 are not a distribution: NaN, +inf \
             or all -inf"
        );
        assert_eq!(error.expect_err("it is refused").to_string(), expected);
    };
    check(&broken(1), &HashModel::new(2, N_VOCAB), "reference");
    check(&HashModel::new(1, N_VOCAB), &broken(2), "model");
}
