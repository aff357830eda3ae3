//! Why a calibration failed.

use std::error::Error;
use std::fmt;

use crate::progress::Stopped;

/// What a text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextPart {
    /// To fit on.
    Calibration,
    /// To judge on, of the same domain.
    HeldOut,
    /// To judge on, of another domain.
    OtherDomain,
}

/// Why a calibration failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum CalibrateError {
    /// The caller broke off.
    #[error("broken off")]
    Stopped(#[from] Stopped),
    /// A text does not fill the windows that are needed.
    #[error(
        "the {part} text is too short: {n_tokens} tokens fill {n_found} windows of {n_window}, \
         expected at least {n_expected}"
    )]
    TextTooShort {
        part: TextPart,
        n_tokens: usize,
        n_found: usize,
        n_expected: usize,
        n_window: usize,
    },
    /// What is judged on was fitted on.
    #[error(
        "{n_seen} of {n_windows} windows of the {part} text are in the calibration text too: \
         expected none"
    )]
    SeenWindows { part: TextPart, n_seen: usize, n_windows: usize },
    /// Fewer windows were asked for than are needed.
    #[error("{n_asked} windows of the {part} text are too few: expected at least {n_expected}")]
    TooFewWindows { part: TextPart, n_asked: usize, n_expected: usize },
    /// A field of [`CalibrateOptions`](super::CalibrateOptions) makes no sense.
    #[error("calibration option {option} must be {expected}, found {found}")]
    BadOption { option: &'static str, expected: &'static str, found: String },
    /// A step failed.
    #[error("cannot {doing}")]
    Step { doing: String, source: Box<dyn Error + Send + Sync> },
}

impl CalibrateError {
    /// What failed, said as after *cannot*, unless the caller broke off.
    pub(super) fn step<E>(doing: impl Into<String>) -> impl FnOnce(E) -> CalibrateError
    where
        E: Error + Send + Sync + 'static,
    {
        move |source| match Stopped::cause_of(&source) {
            Some(stopped) => CalibrateError::Stopped(stopped),
            None => CalibrateError::Step { doing: doing.into(), source: Box::new(source) },
        }
    }
}

impl fmt::Display for TextPart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            TextPart::Calibration => "calibration",
            TextPart::HeldOut => "held-out",
            TextPart::OtherDomain => "other domain's",
        })
    }
}
