//! How a text is cut into windows, and which of their tokens count: two conventions, because
//! published perplexities follow one or the other and differ by far more than their errors.
//!
//! | | llama.cpp | Hugging Face |
//! |---|---|---|
//! | windows | disjoint, all of `n_window` tokens | `n_window` tokens, each `stride` after the one before; the last may be shorter |
//! | scored | tokens `n_window/2 + 1 ..` of each window: `n_window - n_window/2 - 1` of them | of each window what no window before it held |
//! | context of a scored token | from `n_window/2 + 1` to `n_window - 1` tokens | at least `n_window - stride` tokens, but in the first window |
//! | begin token | replaces the first token of every window | only where the tokenizer put it: before the text |
//! | end of the text | what fills no window is dropped | scored to the last token |
//!
//! Sources: llama.cpp `tools/perplexity/perplexity.cpp`, function `perplexity` (its default is
//! `n_ctx = 512`, so 255 tokens of each window count); Transformers documentation, "Perplexity of
//! fixed-length models" (`max_length`, `stride`).
//!
//! The Transformers page weighs each window's mean by one token too few where windows overlap; here
//! every scored token weighs the same. With overlap that moves the perplexity by far less than its
//! standard error, without overlap it is the same.
//!
//! This module must not know models: it is arithmetic on positions.

use std::ops::Range;

use lapwing_model::TokenId;
use lapwing_text::{EncodeError, Tokenizer};
use serde::{Deserialize, Serialize};

/// How to cut a text into windows; its name belongs beside every perplexity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Convention {
    /// Disjoint windows, the second half of each counts.
    #[serde(rename = "llama.cpp")]
    LlamaCpp {
        /// Tokens in a window; at least 3, so that one counts.
        n_window: usize,
    },
    /// Sliding windows, only new tokens count.
    HuggingFace {
        /// Tokens in a window (`max_length`); at least 2.
        n_window: usize,
        /// Tokens from one window's start to the next; from 1 to `n_window`.
        stride: usize,
    },
}

/// One window of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The text's tokens it covers.
    pub covers: Range<usize>,
    /// The tokens that count, as places within the window; never the first, which nothing predicts.
    pub scored: Range<usize>,
    /// Whether the begin token stands in the place of the first.
    pub begins_anew: bool,
}

/// A text to measure on.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// All of it at once through the tokenizer, with what that puts around a text.
    pub tokens: &'a [TokenId],
    /// What stands before a text in these models, see [`begin_token`].
    pub begin: Option<TokenId>,
    /// Its length.
    pub n_bytes: usize,
}

/// The tokens of one window, and which of its rows count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TextWindow {
    /// What a model reads, with the token that the window begins with; the last is only a target.
    pub tokens: Vec<TokenId>,
    /// Rows at the start that are treated but not scored.
    pub n_unscored_rows: usize,
}

/// Why a text cannot be cut into windows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum WindowsError {
    /// The text does not fill one window.
    #[error("text of {n_tokens} tokens is too short: one window needs {n_window}")]
    TooShort { n_tokens: usize, n_window: usize },
    /// The sizes make no sense.
    #[error("{option} must be {expected}, found {found}")]
    BadOption { option: &'static str, expected: String, found: usize },
}

impl Convention {
    /// `llama.cpp` or `hugging-face`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Convention::LlamaCpp { .. } => "llama.cpp",
            Convention::HuggingFace { .. } => "hugging-face",
        }
    }

    /// Tokens in a window.
    #[must_use]
    pub fn n_window(&self) -> usize {
        match *self {
            Convention::LlamaCpp { n_window } | Convention::HuggingFace { n_window, .. } => {
                n_window
            }
        }
    }

    /// The windows of a text of `n_tokens` tokens, in order; at least one.
    ///
    /// # Errors
    ///
    /// When the sizes make no sense or the text does not fill one window.
    pub fn windows(&self, n_tokens: usize) -> Result<Vec<Window>, WindowsError> {
        self.check()?;
        let n_window = self.n_window();
        if n_tokens < n_window {
            return Err(WindowsError::TooShort { n_tokens, n_window });
        }
        Ok(match *self {
            Convention::LlamaCpp { n_window } => disjoint(n_tokens, n_window),
            Convention::HuggingFace { n_window, stride } => sliding(n_tokens, n_window, stride),
        })
    }

    fn check(&self) -> Result<(), WindowsError> {
        let bad = |option, expected: &str, found| {
            Err(WindowsError::BadOption { option, expected: expected.to_owned(), found })
        };
        match *self {
            Convention::LlamaCpp { n_window } if n_window < 3 => {
                bad("n_window", "at least 3", n_window)
            }
            Convention::HuggingFace { n_window, .. } if n_window < 2 => {
                bad("n_window", "at least 2", n_window)
            }
            // A longer stride would leave tokens between the windows that nothing scores.
            Convention::HuggingFace { n_window, stride } if stride == 0 || n_window < stride => {
                bad("stride", &format!("from 1 to {n_window}, the window"), stride)
            }
            _ => Ok(()),
        }
    }
}

impl Window {
    /// Its tokens, with the begin token in place.
    ///
    /// The last is only a target: nothing that counts follows it. Row `i` scores token `i + 1`.
    #[must_use]
    pub fn of_text(&self, text: &Text<'_>) -> TextWindow {
        let mut tokens = text.tokens[self.covers.clone()].to_vec();
        if let (true, Some(begin), Some(first)) = (self.begins_anew, text.begin, tokens.first_mut())
        {
            *first = begin;
        }
        TextWindow { tokens, n_unscored_rows: self.scored.start - 1 }
    }
}

impl TextWindow {
    /// Rows that count.
    #[must_use]
    pub fn n_scored_rows(&self) -> usize {
        self.tokens.len().saturating_sub(self.n_unscored_rows.saturating_add(1))
    }
}

/// The token that `tokenizer` puts before a text, if it does.
///
/// # Errors
///
/// When the tokenizer cannot express the letter it is asked about.
pub fn begin_token(tokenizer: &Tokenizer) -> Result<Option<TokenId>, EncodeError> {
    let (with, without) = (tokenizer.encode("a", true)?, tokenizer.encode("a", false)?);
    let is_added = without.len() < with.len() && with.first() != without.first();
    Ok(with.first().copied().filter(|_| is_added))
}

fn disjoint(n_tokens: usize, n_window: usize) -> Vec<Window> {
    let window = |window_idx: usize| Window {
        covers: window_idx * n_window..(window_idx + 1) * n_window,
        // The row after the middle token is the first that counts: it scores the token after it.
        scored: n_window / 2 + 1..n_window,
        begins_anew: true,
    };
    (0..n_tokens / n_window).map(window).collect()
}

fn sliding(n_tokens: usize, n_window: usize, stride: usize) -> Vec<Window> {
    let mut windows = Vec::new();
    let (mut start, mut n_seen) = (0, 0);
    loop {
        let end = n_tokens.min(start + n_window);
        // Without overlap the first token of a window has nothing before it.
        let first_scored = (n_seen - start).max(1);
        // A last window of one token, without overlap, scores nothing.
        if first_scored < end - start {
            let scored = first_scored..end - start;
            windows.push(Window { covers: start..end, scored, begins_anew: false });
        }
        if end == n_tokens {
            return windows;
        }
        n_seen = end;
        start += stride;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(convention: Convention, n_tokens: usize, expected: &[(Range<usize>, Range<usize>)]) {
        let windows = convention.windows(n_tokens).expect("windows");
        let found: Vec<(Range<usize>, Range<usize>)> =
            windows.into_iter().map(|window| (window.covers, window.scored)).collect();
        assert_eq!(found, expected, "{convention:?} {n_tokens}");
    }

    #[test]
    fn windows_of_llama_cpp_are_disjoint_and_their_second_half_counts() {
        let of = |n_window| Convention::LlamaCpp { n_window };
        check(of(8), 8, &[(0..8, 5..8)]);
        check(of(8), 23, &[(0..8, 5..8), (8..16, 5..8)]);
        check(of(5), 10, &[(0..5, 3..5), (5..10, 3..5)]);
        let windows = of(512).windows(1 << 20).expect("windows");
        assert!(windows.iter().all(|window| window.scored.len() == 255 && window.begins_anew));
    }

    #[test]
    fn windows_of_hugging_face_score_every_token_but_the_first_once() {
        let of = |n_window, stride| Convention::HuggingFace { n_window, stride };
        check(of(4, 2), 4, &[(0..4, 1..4)]);
        check(of(4, 2), 7, &[(0..4, 1..4), (2..6, 2..4), (4..7, 2..3)]);
        check(of(4, 1), 6, &[(0..4, 1..4), (1..5, 3..4), (2..6, 3..4)]);
        // Without overlap nothing predicts a window's first token.
        check(of(4, 4), 8, &[(0..4, 1..4), (4..8, 1..4)]);
        check(of(4, 4), 9, &[(0..4, 1..4), (4..8, 1..4)]);
        for (n_window, stride, n_tokens) in [(16, 5, 100), (16, 15, 99), (2, 1, 9), (64, 3, 64)] {
            let windows = of(n_window, stride).windows(n_tokens).expect("windows");
            let places = |window: &Window| {
                let start = window.covers.start;
                window.scored.clone().map(move |idx| start + idx).collect::<Vec<usize>>()
            };
            let scored: Vec<usize> = windows.iter().flat_map(places).collect();
            assert_eq!(scored, (1..n_tokens).collect::<Vec<usize>>(), "{n_window} {stride}");
        }
    }

    #[test]
    fn input_and_targets_are_of_the_right_tokens() {
        let tokens: Vec<TokenId> = (100..110).collect();
        let of = |begin| Text { tokens: &tokens, begin, n_bytes: 10 };
        let windows = Convention::LlamaCpp { n_window: 5 }.windows(10).expect("windows");
        let found = windows[1].of_text(&of(Some(1)));
        assert_eq!(found.tokens, [1, 106, 107, 108, 109]);
        assert_eq!(windows[1].of_text(&of(None)).tokens, [105, 106, 107, 108, 109]);
        // Rows 2 and 3 score tokens 108 and 109.
        assert_eq!((found.n_unscored_rows, found.n_scored_rows()), (2, 2));
        let sliding = Convention::HuggingFace { n_window: 4, stride: 2 };
        let windows = sliding.windows(10).expect("windows");
        let found = windows[1].of_text(&of(Some(1)));
        assert_eq!(found, TextWindow { tokens: vec![102, 103, 104, 105], n_unscored_rows: 1 });
    }

    #[test]
    fn texts_and_sizes_that_make_no_sense_are_refused() {
        let check = |convention: Convention, n_tokens: usize, expected: &str| {
            let error = convention.windows(n_tokens).expect_err(expected);
            assert_eq!(error.to_string(), expected);
        };
        let sliding = |n_window, stride| Convention::HuggingFace { n_window, stride };
        let short = "text of 511 tokens is too short: one window needs 512";
        check(Convention::LlamaCpp { n_window: 512 }, 511, short);
        check(sliding(512, 256), 511, short);
        check(Convention::LlamaCpp { n_window: 2 }, 9, "n_window must be at least 3, found 2");
        check(sliding(1, 1), 9, "n_window must be at least 2, found 1");
        check(sliding(8, 0), 9, "stride must be from 1 to 8, the window, found 0");
        check(sliding(8, 9), 90, "stride must be from 1 to 8, the window, found 9");
    }
}
