//! How surprised a model is by a text, on average over its tokens.
//!
//! ```text
//! for each window of the text, with nothing remembered from the one before:
//!     the model scores it, every row is corrected when there is a correction
//!     add up -ln p(next token) over the tokens that count
//! perplexity = exp(sum / tokens that count)
//! ```
//!
//! What counts is the [`Convention`]'s; two perplexities are comparable only under the same one, the
//! same tokenizer and the same text. Probabilities are over the model's whole row, padding included,
//! as llama.cpp and Transformers take them.

use std::sync::Arc;

use lapwing_backend::Model;
use lapwing_logits::{Correction, Level};
use lapwing_report::statistics::{
    Block, BootstrapOptions, Interval, block_bootstrap, block_mean, ratio_standard_error,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::journal::{Journal, JournalKey, infinity, key_of};
use crate::pass::{Excluded, Pass, ScoredRow, Tally, windows_of};
use crate::progress::OnProgress;
use crate::score_error::ScoreError;
use crate::treatment::Applier;
use crate::windows::{Convention, Text, Window};

/// How to measure a perplexity.
#[derive(Clone, Debug)]
pub struct PerplexityOptions {
    /// How the text is cut, and what counts.
    pub convention: Convention,
    /// Only so many windows from the start, at least one; `None` takes all.
    pub n_windows_max: Option<usize>,
    /// How the interval is made.
    pub bootstrap: BootstrapOptions,
    /// The SIMD level.
    pub level: Level,
    /// What is done to the model's rows, beginning anew with each window.
    pub correction: Option<Arc<Correction>>,
}

impl PerplexityOptions {
    /// What decides a window's result, for the key of a [`Journal`], but for the correction.
    #[must_use]
    pub fn settings(&self, text: &Text<'_>) -> JournalKey {
        key_of(json!({
            "measurement": "perplexity",
            "convention": self.convention,
            "begin": text.begin,
            "n_text_tokens": text.tokens.len(),
        }))
    }
}

/// A perplexity with what it needs to be compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Perplexity {
    /// How the text was cut, and what counted.
    pub convention: Convention,
    /// `exp` of the mean negative log-likelihood.
    pub perplexity: f64,
    /// Standard error of the perplexity by the delta method: perplexity times that of `mean_nll`.
    pub perplexity_standard_error_delta: Option<f64>,
    /// Mean negative log-likelihood of the tokens that counted; nats a token.
    pub mean_nll: f64,
    /// Standard error of the mean over windows (ratio estimate); `None` for one window.
    pub mean_nll_standard_error_windows: Option<f64>,
    /// Interval of the perplexity: `exp` of the block bootstrap of the mean over windows; its
    /// standard error by the delta method. `None` for one window, or where a token is excluded.
    pub perplexity_interval_bootstrap: Option<Interval>,
    /// `mean_nll` in bits, times the text's tokens a byte.
    ///
    /// Where every token counts these are the bits to encode the text by; where half of them do,
    /// an estimate from that half.
    pub bits_per_byte: f64,
    /// Tokens that counted.
    pub n_tokens: usize,
    /// Windows.
    pub n_windows: usize,
    /// Tokens of the text, without a begin token.
    pub n_text_tokens: usize,
    /// Tokens at the end of the text that no window covers.
    pub n_dropped_tokens: usize,
    /// Bytes of the text.
    pub n_text_bytes: usize,
}

/// The perplexity of `text` under `model`.
///
/// Windows that `journal` holds are not computed again. `on_progress` hears of every window.
///
/// # Errors
///
/// Before any work when the text or a window does not fit; later when the model or the journal
/// fails, or the caller breaks off.
pub fn perplexity(
    model: &dyn Model,
    text: &Text<'_>,
    options: &PerplexityOptions,
    journal: Option<&mut Journal>,
    on_progress: OnProgress<'_>,
) -> Result<Perplexity, ScoreError> {
    let (level, n_logits) = (options.level, model.n_vocab());
    let windows = windows_of(text, options.convention, options.n_windows_max, n_logits, &[model])?;
    let treatments = vec![Applier::only(options.correction.as_ref(), level)];
    let read: Vec<_> = windows.iter().map(|window| window.of_text(text)).collect();
    let (reference, windows_read, n_threads) = (None, &read[..], 1);
    let pass =
        Pass { model, reference, n_logits, windows: windows_read, treatments, level, n_threads };
    let scores = pass.run(&Surprise, journal, on_progress)?;
    let blocks: Vec<Block> = scores.iter().flatten().map(Surprise::value).collect();
    Ok(summary(text, options, &windows, &blocks))
}

/// Adds up `-ln p`.
struct Surprise;

/// What is kept of one window.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct WindowSurprise {
    #[serde(deserialize_with = "infinity::plus")]
    nll_sum: f64,
    n_tokens: usize,
}

impl Tally for Surprise {
    type Window = WindowSurprise;

    fn add(&self, window: &mut WindowSurprise, row: &ScoredRow<'_>) -> Result<(), Excluded> {
        // A token that is excluded makes the perplexity infinite, and no error.
        let logit = f64::from(row.found.row()[row.next]);
        window.nll_sum -= logit - row.found.log_sum_exp();
        window.n_tokens += 1;
        Ok(())
    }

    fn value(window: &WindowSurprise) -> Block {
        Block { sum: window.nll_sum, n: window.n_tokens }
    }

    fn so_far(mean: f64) -> f64 {
        mean.exp()
    }
}

fn summary(
    text: &Text<'_>,
    options: &PerplexityOptions,
    windows: &[Window],
    blocks: &[Block],
) -> Perplexity {
    let mean_nll = block_mean(blocks);
    let perplexity = mean_nll.exp();
    let standard_error = ratio_standard_error(blocks);
    let interval = block_bootstrap(blocks, &options.bootstrap).ok();
    let n_begin = usize::from(text.begin.is_some() && text.tokens.first() == text.begin.as_ref());
    let n_text_tokens = text.tokens.len() - n_begin;
    let tokens_per_byte = n_text_tokens as f64 / text.n_bytes as f64;
    Perplexity {
        convention: options.convention,
        perplexity,
        perplexity_standard_error_delta: standard_error.map(|error| perplexity * error),
        mean_nll,
        mean_nll_standard_error_windows: standard_error,
        perplexity_interval_bootstrap: interval.map(exp_interval),
        bits_per_byte: mean_nll / std::f64::consts::LN_2 * tokens_per_byte,
        n_tokens: blocks.iter().map(|block| block.n).sum(),
        n_windows: blocks.len(),
        n_text_tokens,
        n_dropped_tokens: text.tokens.len() - windows.last().map_or(0, |window| window.covers.end),
        n_text_bytes: text.n_bytes,
    }
}

/// The interval of `exp` of what has the interval `log`.
fn exp_interval(log: Interval) -> Interval {
    let estimate = log.estimate.exp();
    let standard_error = log.standard_error.map(|error| estimate * error);
    Interval { estimate, low: log.low.exp(), high: log.high.exp(), standard_error }
}
