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
//! are the [`Convention`]'s. Rows are cut to the tokenizer's vocabulary, as [`pairs`](crate::PairScorer)
//! explains, so the perplexities here can differ in the last digits from [`perplexity`](crate::perplexity()).
//!
//! Memory: four bytes a token that counts, and a chunk of the reference's rows.

use std::ops::ControlFlow;
use std::sync::Arc;

use lapwing_backend::Model;
use lapwing_kernels::{Distribution, kl_divergence, row_argmax};
use lapwing_logits::{CorrectRowError, Correction, Level};
use lapwing_model::TokenId;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::bootstrap::{
    Block, BootstrapOptions, Interval, block_bootstrap, quantile, ratio_standard_error,
};
use crate::corrected::CorrectedRows;
use crate::journal::{Journal, JournalKey, JournalUnitError, exact, key_of, resume};
use crate::pairs::{PairError, PairScorer, RowPair, Side};
use crate::perplexity::{Text, mean};
use crate::progress::{OnProgress, Outcome, Progress, Stopped};
use crate::windows::{Convention, Window, WindowsError};

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

/// Why there is no divergence.
#[derive(Debug, thiserror::Error)]
pub enum DivergenceError {
    /// The text cannot be cut into windows.
    #[error("cannot cut the text into windows")]
    Windows(#[source] WindowsError),
    /// The two models cannot score this text.
    #[error("cannot compare the models")]
    Pair(#[source] PairError),
    /// A token is not of the tokenizer.
    #[error("token {token} at position {position} is not in the vocabulary of {n_vocab}")]
    NoSuchToken {
        /// The token.
        token: TokenId,
        /// Its place in the text.
        position: usize,
        /// The tokenizer's vocabulary.
        n_vocab: usize,
    },
    /// The two models failed in a window.
    #[error("cannot compare the models in window {window_idx}")]
    Window {
        /// The window.
        window_idx: usize,
        /// What failed.
        #[source]
        source: PairError,
    },
    /// A row could not be corrected.
    #[error("cannot correct the logits after position {position} of window {window_idx}")]
    Correct {
        /// The window.
        window_idx: usize,
        /// Place in the window of the token whose logits these are.
        position: usize,
        /// What is wrong.
        #[source]
        source: CorrectRowError,
    },
    /// Logits are no distribution.
    #[error(
        "logits of the {side} after position {position} of window {window_idx} are not a \
         distribution: NaN, +inf or all -inf"
    )]
    NoDistribution {
        /// Whose logits.
        side: Side,
        /// The window.
        window_idx: usize,
        /// Place in the window of the token whose logits these are.
        position: usize,
    },
    /// The journal failed.
    #[error("cannot keep what is finished")]
    Journal(#[from] JournalUnitError),
}

/// How far `model` is from `reference` on `text`.
///
/// Both must have the same tokenizer: see [`require_same_tokenizer`](crate::require_same_tokenizer).
/// Windows that `journal` holds are not computed again. `on_progress` hears of every window.
///
/// # Errors
///
/// Before any work when the text does not fit; later when a model or the journal fails.
pub fn divergence(
    reference: &dyn Model,
    model: &dyn Model,
    text: &Text<'_>,
    options: &DivergenceOptions,
    mut journal: Option<&mut Journal>,
    on_progress: OnProgress<'_>,
) -> Result<Outcome<Divergence>, DivergenceError> {
    let n_vocab = options.n_vocab;
    let mut windows =
        options.convention.windows(text.tokens.len()).map_err(DivergenceError::Windows)?;
    windows.truncate(options.n_windows_max.unwrap_or(usize::MAX).max(1));
    if let Some((position, token)) = text.outside(n_vocab) {
        return Err(DivergenceError::NoSuchToken { token, position, n_vocab });
    }
    let pairs = PairScorer::new(reference, model, n_vocab).map_err(DivergenceError::Pair)?;
    let rows = CorrectedRows::new(options.correction.as_ref(), options.level);
    let mut comparison = Comparison { pairs, rows, text, level: options.level };
    let (mut compared, mut kl, mut n_resumed) = (Vec::new(), Vec::new(), 0);
    let n_total = windows.len();
    loop {
        let n_done = compared.len();
        let so_far = (n_done != 0).then(|| mean(&blocks(&compared, |window| window.kl_sum)));
        let progress = Progress { n_done, n_total, n_resumed, so_far };
        let is_stopped = on_progress(progress).is_break();
        let Some(window) = windows.get(n_done) else { break };
        if is_stopped {
            return Ok(Outcome::Stopped(Stopped { n_done, n_total }));
        }
        let unit = format!("window {n_done}");
        let compare = || comparison.compare(n_done, window);
        let (mut result, was_there) = resume(&mut journal, &unit, compare)?;
        n_resumed += usize::from(was_there);
        kl.append(&mut result.kl);
        compared.push(result);
    }
    Ok(Outcome::Finished(summary(options, &compared, kl)))
}

/// What is kept of one window.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct WindowDivergence {
    /// Of every token that counts; moved out for the percentiles.
    #[serde(with = "exact::list")]
    kl: Vec<f32>,
    n_tokens: usize,
    #[serde(with = "exact")]
    kl_sum: f64,
    #[serde(with = "exact")]
    reverse_kl_sum: f64,
    #[serde(with = "exact")]
    reference_nll_sum: f64,
    #[serde(with = "exact")]
    model_nll_sum: f64,
    n_agreeing: usize,
}

struct Comparison<'a> {
    pairs: PairScorer<'a>,
    rows: CorrectedRows,
    text: &'a Text<'a>,
    level: Level,
}

impl Comparison<'_> {
    fn compare(
        &mut self,
        window_idx: usize,
        window: &Window,
    ) -> Result<WindowDivergence, DivergenceError> {
        let Text { tokens, begin, .. } = *self.text;
        let (rows, level) = (&mut self.rows, self.level);
        rows.reset();
        let mut sums = WindowDivergence::default();
        let mut broken = None;
        let flow = self.pairs.score(&window.input(tokens, begin), &mut |pair| {
            let target = window.target(tokens, pair.position);
            if target.is_none() && !rows.corrects() {
                return ControlFlow::Continue(());
            }
            match sums.add(level, rows, pair, target, window_idx) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    broken = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        let _ = flow.map_err(|source| DivergenceError::Window { window_idx, source })?;
        broken.map_or(Ok(sums), Err)
    }
}

impl WindowDivergence {
    /// Add one pair of rows; without a target it is only shown to the correction.
    fn add(
        &mut self,
        level: Level,
        rows: &mut CorrectedRows,
        pair: RowPair<'_>,
        target: Option<TokenId>,
        window_idx: usize,
    ) -> Result<(), DivergenceError> {
        let RowPair { position, reference, model } = pair;
        let corrected = rows.next(model.logits);
        let corrected = corrected.map_err(|source| DivergenceError::Correct {
            window_idx,
            position,
            source,
        })?;
        let Some(target) = target else { return Ok(()) };
        let distribution = |side, row| {
            let none = DivergenceError::NoDistribution { side, window_idx, position };
            Distribution::new(level, row).ok_or(none)
        };
        let p = distribution(Side::Reference, reference.logits)?;
        let q = distribution(Side::Model, corrected)?;
        let kl = kl_divergence(level, p, q);
        self.kl.push(kl as f32);
        self.n_tokens += 1;
        self.kl_sum += kl;
        self.reverse_kl_sum += kl_divergence(level, q, p);
        self.reference_nll_sum -= p.log_probability(target as usize);
        self.model_nll_sum -= q.log_probability(target as usize);
        let agree = row_argmax(level, p.row()) == row_argmax(level, q.row());
        self.n_agreeing += usize::from(agree);
        Ok(())
    }
}

fn blocks(windows: &[WindowDivergence], sum: impl Fn(&WindowDivergence) -> f64) -> Vec<Block> {
    windows.iter().map(|window| Block { sum: sum(window), n: window.n_tokens }).collect()
}

fn summary(options: &DivergenceOptions, windows: &[WindowDivergence], kl: Vec<f32>) -> Divergence {
    let of = |sum: &dyn Fn(&WindowDivergence) -> f64| blocks(windows, sum);
    let standard_error =
        |blocks: &[Block]| ratio_standard_error(blocks).filter(|error| error.is_finite());
    let kl_blocks = of(&|window| window.kl_sum);
    let agreeing = of(&|window| window.n_agreeing as f64);
    let ratio = of(&|window| window.model_nll_sum - window.reference_nll_sum);
    let mut sorted = kl;
    sorted.sort_by(f32::total_cmp);
    Divergence {
        convention: options.convention,
        mean_kl: mean(&kl_blocks),
        mean_kl_standard_error_windows: standard_error(&kl_blocks),
        mean_kl_interval_bootstrap: block_bootstrap(&kl_blocks, &options.bootstrap).ok(),
        median_kl: quantile(&sorted, 0.5),
        kl_p90: quantile(&sorted, 0.9),
        kl_p99: quantile(&sorted, 0.99),
        max_kl: quantile(&sorted, 1.0),
        mean_reverse_kl: mean(&of(&|window| window.reverse_kl_sum)),
        top1_agreement: mean(&agreeing),
        top1_agreement_standard_error_windows: standard_error(&agreeing),
        reference_perplexity: mean(&of(&|window| window.reference_nll_sum)).exp(),
        model_perplexity: mean(&of(&|window| window.model_nll_sum)).exp(),
        ln_perplexity_ratio: mean(&ratio),
        ln_perplexity_ratio_standard_error_windows: standard_error(&ratio),
        n_tokens: sorted.len(),
        n_windows: windows.len(),
        n_vocab: options.n_vocab,
    }
}
