//! How far a model's distributions are from those of a reference, token by token.
//!
//! ```text
//! for each window of the text:
//!     both models score it, the model's rows are corrected when there is a correction
//!     for every row that counts: KL(reference || model), KL(model || reference), the same
//!     likeliest token or not, -ln p(next token) of both
//! ```
//!
//! Only the first of these needs no text that is right: the divergence says what quantisation did,
//! at every token, with far less noise than a difference of perplexities. Windows and what counts
//! are the [`Convention`]'s. Rows are cut to the tokenizer's vocabulary, so the perplexities here
//! can differ in the last digits from [`perplexity`](crate::perplexity()).
//!
//! Memory: four bytes a token that counts, and a chunk of the reference's rows.

use std::sync::Arc;

use lapwing_backend::Model;
use lapwing_kernels::{kl_divergence, row_find_equal};
use lapwing_logits::{Correction, Level};
use lapwing_report::statistics::{
    Block, BootstrapOptions, Interval, block_bootstrap, block_mean, quantile, ratio_standard_error,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::journal::{Journal, JournalKey, infinity, key_of};
use crate::pass::{Excluded, Pass, ScoredRow, Tally, windows_of};
use crate::progress::OnProgress;
use crate::score_error::ScoreError;
use crate::treatment::Applier;
use crate::windows::{Convention, Text};

/// How to measure a divergence.
#[derive(Clone, Debug)]
pub struct DivergenceOptions {
    /// How the text is cut, and what counts.
    pub convention: Convention,
    /// Only so many windows from the start, at least one; `None` takes all.
    pub n_windows_max: Option<usize>,
    /// The tokenizer's vocabulary: rows are cut to it.
    pub n_vocab: usize,
    /// How the interval is made.
    pub bootstrap: BootstrapOptions,
    /// The SIMD level.
    pub level: Level,
    /// What is done to the model's rows (never the reference's), beginning anew with each window.
    pub correction: Option<Arc<Correction>>,
}

impl DivergenceOptions {
    /// What decides a window's result, for the key of a [`Journal`], but for the correction.
    #[must_use]
    pub fn settings(&self, text: &Text<'_>) -> JournalKey {
        key_of(json!({
            "measurement": "divergence",
            "convention": self.convention,
            "n_vocab": self.n_vocab,
            "begin": text.begin,
            "n_text_tokens": text.tokens.len(),
        }))
    }
}

/// The distance of a model from a reference; divergences in nats a token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Divergence {
    /// How the text was cut, and what counted.
    pub convention: Convention,
    /// Mean of `KL(reference || model)`; infinite when the model excludes a token anywhere.
    pub mean_kl: f64,
    /// Standard error of the mean over windows (ratio estimate); `None` for one window.
    pub mean_kl_standard_error_windows: Option<f64>,
    /// Interval of the mean by block bootstrap over windows; `None` for one window.
    pub mean_kl_interval_bootstrap: Option<Interval>,
    /// Median over the tokens.
    pub median_kl: f64,
    /// 90th percentile over the tokens.
    pub kl_p90: f64,
    /// 99th percentile over the tokens.
    pub kl_p99: f64,
    /// Largest over the tokens.
    pub max_kl: f64,
    /// Mean of `KL(model || reference)`.
    pub mean_reverse_kl: f64,
    /// Share of the tokens at which both find the same next token likeliest.
    pub top1_agreement: f64,
    /// Its standard error over windows (ratio estimate); `None` for one window.
    pub top1_agreement_standard_error_windows: Option<f64>,
    /// The reference's perplexity.
    pub reference_perplexity: f64,
    /// The model's perplexity.
    pub model_perplexity: f64,
    /// `ln(model_perplexity / reference_perplexity)`: the mean difference of their log-likelihoods.
    pub ln_perplexity_ratio: f64,
    /// Its standard error over windows, from the differences; `None` for one window.
    pub ln_perplexity_ratio_standard_error_windows: Option<f64>,
    /// Tokens that counted.
    pub n_tokens: usize,
    /// Windows.
    pub n_windows: usize,
    /// Logits compared at each token.
    pub n_vocab: usize,
}

/// How far `model` is from `reference` on `text`.
///
/// Both must have the same tokenizer: see [`require_same_tokenizer`](crate::require_same_tokenizer).
/// Windows that `journal` holds are not computed again. `on_progress` hears of every window.
///
/// # Errors
///
/// Before any work when the text does not fit; later when a model or the journal fails, or the
/// caller breaks off.
pub fn divergence(
    reference: &dyn Model,
    model: &dyn Model,
    text: &Text<'_>,
    options: &DivergenceOptions,
    journal: Option<&mut Journal>,
    on_progress: OnProgress<'_>,
) -> Result<Divergence, ScoreError> {
    let (level, n_logits, models) = (options.level, options.n_vocab, [reference, model]);
    let windows = windows_of(text, options.convention, options.n_windows_max, n_logits, &models)?;
    let windows: Vec<_> = windows.iter().map(|window| window.of_text(text)).collect();
    let treatments = vec![Applier::only(options.correction.as_ref(), level)];
    let (reference, windows, n_threads) = (Some(reference), &windows[..], 1);
    let pass = Pass { model, reference, n_logits, windows, treatments, level, n_threads };
    let compared = pass.run(&Distance, journal, on_progress)?;
    Ok(summary(options, compared.into_iter().flatten().collect()))
}

/// Adds up how far the model is from the reference.
struct Distance;

/// What is kept of one window.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct WindowDistance {
    /// Of every token that counts.
    #[serde(deserialize_with = "infinity::each_plus")]
    kl: Vec<f32>,
    n_tokens: usize,
    #[serde(deserialize_with = "infinity::plus")]
    kl_sum: f64,
    #[serde(deserialize_with = "infinity::plus")]
    reverse_kl_sum: f64,
    #[serde(deserialize_with = "infinity::plus")]
    reference_nll_sum: f64,
    #[serde(deserialize_with = "infinity::plus")]
    model_nll_sum: f64,
    n_agreeing: usize,
}

impl Tally for Distance {
    type Window = WindowDistance;

    fn add(&self, window: &mut WindowDistance, row: &ScoredRow<'_>) -> Result<(), Excluded> {
        // What is excluded makes a sum infinite, and is no error.
        let ScoredRow { level, next, found: q, reference } = *row;
        let Some(target) = reference else { return Ok(()) };
        let p = target.distribution;
        let kl = kl_divergence(level, p, q);
        window.kl.push(kl as f32);
        window.n_tokens += 1;
        window.kl_sum += kl;
        window.reverse_kl_sum += kl_divergence(level, q, p);
        window.reference_nll_sum -= p.log_probability(next);
        window.model_nll_sum -= q.log_probability(next);
        let agrees = row_find_equal(level, q.row(), q.max()) == target.best;
        window.n_agreeing += usize::from(agrees);
        Ok(())
    }

    fn value(window: &WindowDistance) -> Block {
        Block { sum: window.kl_sum, n: window.n_tokens }
    }
}

fn summary(options: &DivergenceOptions, windows: Vec<WindowDistance>) -> Divergence {
    let of = |sum: &dyn Fn(&WindowDistance) -> f64| -> Vec<Block> {
        windows.iter().map(|window| Block { sum: sum(window), n: window.n_tokens }).collect()
    };
    let kl_blocks = of(&|window| window.kl_sum);
    let agreeing = of(&|window| window.n_agreeing as f64);
    let ratio = of(&|window| window.model_nll_sum - window.reference_nll_sum);
    let mut sorted: Vec<f32> = windows.iter().flat_map(|window| &window.kl).copied().collect();
    sorted.sort_by(f32::total_cmp);
    Divergence {
        convention: options.convention,
        mean_kl: block_mean(&kl_blocks),
        mean_kl_standard_error_windows: ratio_standard_error(&kl_blocks),
        mean_kl_interval_bootstrap: block_bootstrap(&kl_blocks, &options.bootstrap).ok(),
        median_kl: quantile(&sorted, 0.5),
        kl_p90: quantile(&sorted, 0.9),
        kl_p99: quantile(&sorted, 0.99),
        max_kl: quantile(&sorted, 1.0),
        mean_reverse_kl: block_mean(&of(&|window| window.reverse_kl_sum)),
        top1_agreement: block_mean(&agreeing),
        top1_agreement_standard_error_windows: ratio_standard_error(&agreeing),
        reference_perplexity: block_mean(&of(&|window| window.reference_nll_sum)).exp(),
        model_perplexity: block_mean(&of(&|window| window.model_nll_sum)).exp(),
        ln_perplexity_ratio: block_mean(&ratio),
        ln_perplexity_ratio_standard_error_windows: ratio_standard_error(&ratio),
        n_tokens: sorted.len(),
        n_windows: windows.len(),
        n_vocab: options.n_vocab,
    }
}
