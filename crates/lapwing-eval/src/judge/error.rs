//! Why treatments could not be judged.

use crate::pairs::PairError;
use crate::treatment::ApplyError;

/// Why treatments could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// There is nothing to judge on.
    #[error("cannot judge on no windows: expected at least one")]
    NoWindows,
    /// A window leaves nothing to score.
    #[error("window {window_idx} of {n_tokens} tokens leaves nothing to score: more are needed")]
    ShortWindow {
        /// Its place.
        window_idx: usize,
        /// Its tokens.
        n_tokens: usize,
    },
    /// A model failed, or a window does not fit it.
    #[error("window {window_idx} cannot be scored")]
    Rows {
        /// Its place.
        window_idx: usize,
        /// What failed.
        #[source]
        source: PairError,
    },
    /// A treatment does not fit the model.
    #[error("a condition cannot be applied")]
    Apply(#[from] ApplyError),
    /// A row is no distribution.
    #[error(
        "the row after position {position} of window {window_idx} is no distribution \
         under {name}: NaN, +inf or all -inf"
    )]
    NoDistribution {
        /// The window.
        window_idx: usize,
        /// Place in the window of the token that the row follows.
        position: usize,
        /// The treatment, or the reference.
        name: String,
    },
    /// A mean with such a row in it says nothing.
    #[error(
        "{name} excludes what the text or the reference allows after position {position} of \
         window {window_idx}: the logit is -inf"
    )]
    Excluded {
        /// The window.
        window_idx: usize,
        /// Place in the window of the token that the row follows.
        position: usize,
        /// The treatment, or the reference.
        name: String,
    },
}
