//! Why windows of text could not be scored: one error for every measurement on rows.

use std::fmt;

use lapwing_logits::CorrectRowError;
use lapwing_model::TokenId;

use crate::journal::JournalUnitError;
use crate::progress::Stopped;
use crate::treatment::ApplyError;
use crate::windows::WindowsError;

/// Which of two models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that is taken as right.
    Reference,
    /// The one that is judged.
    Model,
}

/// Whose rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Those of the only model.
    Only,
    /// Those of one of two models.
    Side(Side),
    /// The model's under a treatment.
    Treatment(String),
}

/// Why windows of text could not be scored.
///
/// Places are `position` in the window `window_idx`: of the token that a row follows.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ScoreError {
    /// The caller broke off.
    #[error("broken off")]
    Stopped(#[from] Stopped),
    /// The text cannot be cut into windows.
    #[error("cannot cut the text into windows")]
    Windows(#[source] WindowsError),
    /// There is nothing to score.
    #[error("cannot judge on no windows: expected at least one")]
    NoWindows,
    /// A window leaves nothing to score.
    #[error("window {window_idx} of {n_tokens} tokens leaves nothing to score: more are needed")]
    ShortWindow { window_idx: usize, n_tokens: usize },
    /// No model holds such windows.
    #[error("windows of {n_window} tokens are too long: the context holds {n_positions_max}")]
    WindowTooLong { n_window: usize, n_positions_max: usize },
    /// One of the models does not hold a window.
    #[error("{n_tokens} tokens are too many for the {side}: its context holds {n_positions_max}")]
    TooLong { side: Side, n_tokens: usize, n_positions_max: usize },
    /// A model's rows have no room for the tokenizer's vocabulary.
    #[error("rows of the {side} hold {n_row} logits: expected at least {n_vocab}, one a token")]
    RowTooShort { side: Side, n_row: usize, n_vocab: usize },
    /// A token is of another tokenizer; its position is in the text where no window is told.
    #[error("{}token {token} at position {position} is not in the vocabulary of {n_vocab}",
        in_window(*window_idx))]
    NoSuchToken { window_idx: Option<usize>, token: TokenId, position: usize, n_vocab: usize },
    /// A model failed, or had no room for a new sequence; `position` begins what it was given.
    #[error("the {side} cannot score window {window_idx} from position {position} on")]
    Model {
        side: Side,
        window_idx: usize,
        position: usize,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A treatment does not fit the model.
    #[error("a condition cannot be applied")]
    Apply(#[source] ApplyError),
    /// A row could not be corrected.
    #[error("cannot correct the logits after position {position} of window {window_idx}")]
    Correct { window_idx: usize, position: usize, source: CorrectRowError },
    /// A row is no distribution.
    #[error(
        "logits{whose} after position {position} of window {window_idx} are not a distribution: \
         NaN, +inf or all -inf"
    )]
    NoDistribution { whose: Whose, window_idx: usize, position: usize },
    /// A mean with such a row in it says nothing; `name` is the treatment, or the reference.
    #[error(
        "{name} excludes what the text or the reference allows after position {position} of \
         window {window_idx}: the logit is -inf"
    )]
    Excluded { name: String, window_idx: usize, position: usize },
    /// The journal failed.
    #[error("cannot keep what is finished")]
    Journal(#[from] JournalUnitError),
}

impl ScoreError {
    /// Of a treatment at work on a window.
    pub(crate) fn of_treatment(window_idx: usize, error: ApplyError) -> ScoreError {
        match error {
            ApplyError::Correct { position, source, .. } => {
                ScoreError::Correct { window_idx, position, source }
            }
            error => ScoreError::Apply(error),
        }
    }
}

fn in_window(window_idx: Option<usize>) -> String {
    window_idx.map_or(String::new(), |idx| format!("window {idx} cannot be scored: "))
}

impl fmt::Display for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Side::Reference => "reference",
            Side::Model => "model",
        })
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whose::Only => Ok(()),
            Whose::Side(side) => write!(formatter, " of the {side}"),
            Whose::Treatment(name) => write!(formatter, " under {name}"),
        }
    }
}
