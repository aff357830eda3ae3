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

use lapwing_backend::{Model, OpenError, StepError};
use lapwing_logits::{CorrectRowError, Correction, Level, log_probability};
use lapwing_model::TokenId;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::bootstrap::{Block, BootstrapOptions, Interval, block_bootstrap, ratio_standard_error};
use crate::corrected::CorrectedRows;
use crate::journal::{Journal, JournalKey, JournalUnitError, exact, key_of, resume};
use crate::progress::{OnProgress, Outcome, Progress, Stopped};
use crate::sequence::Sequence;
use crate::windows::{Convention, Window, WindowsError};

/// A text to measure on.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// All of it at once through the tokenizer, with what that puts around a text.
    pub tokens: &'a [TokenId],
    /// What stands before a text in these models, see [`begin_token`](crate::begin_token).
    pub begin: Option<TokenId>,
    /// Its length.
    pub n_bytes: usize,
}

impl Text<'_> {
    /// The first token that is not below `n_vocab`, with its place.
    pub(crate) fn outside(&self, n_vocab: usize) -> Option<(usize, TokenId)> {
        let is_outside = |token: TokenId| n_vocab <= token as usize;
        let begin = self.begin.filter(|&token| is_outside(token));
        let position = || self.tokens.iter().position(|&token| is_outside(token));
        begin.map(|token| (0, token)).or_else(|| position().map(|at| (at, self.tokens[at])))
    }
}

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

/// Why there is no perplexity.
#[derive(Debug, thiserror::Error)]
pub enum PerplexityError {
    /// The text cannot be cut into windows.
    #[error("cannot cut the text into windows")]
    Windows(#[source] WindowsError),
    /// A window does not fit.
    #[error("windows of {n_window} tokens are too long: the context holds {n_positions_max}")]
    WindowTooLong {
        /// Tokens in a window.
        n_window: usize,
        /// Positions the model has room for.
        n_positions_max: usize,
    },
    /// The text is not of this model.
    #[error("token {token} at position {position} is not in the vocabulary of {n_vocab}")]
    NoSuchToken {
        /// The token.
        token: TokenId,
        /// Its place in the text.
        position: usize,
        /// Logits in a row of the model.
        n_vocab: usize,
    },
    /// There was no room for a new sequence.
    #[error("cannot start a new sequence")]
    Decoder(#[source] OpenError),
    /// The model failed.
    #[error("cannot score window {window_idx}")]
    Step {
        /// The window.
        window_idx: usize,
        /// What failed.
        #[source]
        source: StepError,
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
    /// The model's logits are no distribution.
    #[error(
        "logits after position {position} of window {window_idx} are not a distribution: \
         NaN, +inf or all -inf"
    )]
    NoDistribution {
        /// The window.
        window_idx: usize,
        /// Place in the window of the token whose logits these are.
        position: usize,
    },
    /// The journal failed.
    #[error("cannot keep what is finished")]
    Journal(#[from] JournalUnitError),
}

/// The perplexity of `text` under `model`.
///
/// Windows that `journal` holds are not computed again. `on_progress` hears of every window.
///
/// # Errors
///
/// Before any work when the text or a window does not fit; later when the model or the journal
/// fails.
pub fn perplexity(
    model: &dyn Model,
    text: &Text<'_>,
    options: &PerplexityOptions,
    mut journal: Option<&mut Journal>,
    on_progress: OnProgress<'_>,
) -> Result<Outcome<Perplexity>, PerplexityError> {
    let windows = plan(model, text, options)?;
    let mut scorer = WindowScorer::new(model, text, options);
    let (mut blocks, mut n_resumed) = (Vec::new(), 0);
    let n_total = windows.len();
    loop {
        let n_done = blocks.len();
        let so_far = (n_done != 0).then(|| mean(&blocks).exp());
        let progress = Progress { n_done, n_total, n_resumed, so_far };
        let is_stopped = on_progress(progress).is_break();
        let Some(window) = windows.get(n_done) else { break };
        if is_stopped {
            return Ok(Outcome::Stopped(Stopped { n_done, n_total }));
        }
        let unit = format!("window {n_done}");
        let (score, was_there) = resume(&mut journal, &unit, || scorer.score(n_done, window))?;
        n_resumed += usize::from(was_there);
        blocks.push(Block { sum: score.nll_sum, n: score.n_tokens });
    }
    Ok(Outcome::Finished(summary(text, options, &windows, &blocks)))
}

/// What is kept of one window.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct WindowScore {
    #[serde(with = "exact")]
    nll_sum: f64,
    n_tokens: usize,
}

struct WindowScorer<'a> {
    sequence: Sequence<'a>,
    text: &'a Text<'a>,
    rows: CorrectedRows,
    level: Level,
}

impl<'a> WindowScorer<'a> {
    fn new(
        model: &'a dyn Model,
        text: &'a Text<'a>,
        options: &PerplexityOptions,
    ) -> WindowScorer<'a> {
        let rows = CorrectedRows::new(options.correction.as_ref(), options.level);
        WindowScorer { sequence: Sequence::new(model), text, rows, level: options.level }
    }

    fn score(
        &mut self,
        window_idx: usize,
        window: &Window,
    ) -> Result<WindowScore, PerplexityError> {
        let Text { tokens, begin, .. } = *self.text;
        let input = window.input(tokens, begin);
        let (rows, level) = (&mut self.rows, self.level);
        rows.reset();
        let mut broken = None;
        let mut nll_sum = 0.0;
        self.sequence.begin().map_err(PerplexityError::Decoder)?;
        let scored = self.sequence.score(&input, &mut |row| {
            let position = row.token_idx;
            let target = window.target(tokens, position);
            if broken.is_some() || target.is_none() && !rows.corrects() {
                return;
            }
            let logits = match rows.next(row.logits) {
                Ok(logits) => logits,
                Err(source) => {
                    broken = Some(PerplexityError::Correct { window_idx, position, source });
                    return;
                }
            };
            let Some(target) = target else { return };
            match log_probability(level, logits, target) {
                Some(log_probability) => nll_sum -= log_probability,
                None => broken = Some(PerplexityError::NoDistribution { window_idx, position }),
            }
        });
        scored.map_err(|source| PerplexityError::Step { window_idx, source })?;
        broken.map_or(Ok(WindowScore { nll_sum, n_tokens: window.scored.len() }), Err)
    }
}

/// The windows to score, when all of it fits.
fn plan(
    model: &dyn Model,
    text: &Text<'_>,
    options: &PerplexityOptions,
) -> Result<Vec<Window>, PerplexityError> {
    let mut windows =
        options.convention.windows(text.tokens.len()).map_err(PerplexityError::Windows)?;
    let n_window = options.convention.n_window();
    let n_positions_max = model.limits().n_positions_max;
    // The last token of a window is only a target.
    if n_positions_max < n_window - 1 {
        return Err(PerplexityError::WindowTooLong { n_window, n_positions_max });
    }
    let n_vocab = model.n_vocab();
    if let Some((position, token)) = text.outside(n_vocab) {
        return Err(PerplexityError::NoSuchToken { token, position, n_vocab });
    }
    windows.truncate(options.n_windows_max.unwrap_or(usize::MAX).max(1));
    Ok(windows)
}

fn summary(
    text: &Text<'_>,
    options: &PerplexityOptions,
    windows: &[Window],
    blocks: &[Block],
) -> Perplexity {
    let mean_nll = mean(blocks);
    let perplexity = mean_nll.exp();
    let standard_error = ratio_standard_error(blocks).filter(|error| error.is_finite());
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
pub(crate) fn exp_interval(log: Interval) -> Interval {
    let mean = log.mean.exp();
    let standard_error = mean * log.standard_error;
    Interval { mean, low: log.low.exp(), high: log.high.exp(), standard_error }
}

/// The ratio of the sums.
pub(crate) fn mean(blocks: &[Block]) -> f64 {
    let (sum, n) = blocks.iter().fold((0.0, 0), |(sum, n), block| (sum + block.sum, n + block.n));
    sum / n as f64
}
