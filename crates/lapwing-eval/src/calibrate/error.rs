//! Why a calibration failed.

use std::fmt;

use lapwing_logits::CorrectionError;

use crate::bootstrap::BootstrapError;
use crate::calibrate::Stage;
use crate::judge::JudgeError;
use crate::pairs::PairError;
use crate::repetition::RepetitionError;

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

/// Why a calibration failed; causes are boxed because they are large.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// A text does not fill the windows that are needed.
    #[error(
        "the {part} text is too short: {n_tokens} tokens fill {n_found} windows of {n_window}, \
         expected at least {n_expected}"
    )]
    TextTooShort {
        /// Which text.
        part: TextPart,
        /// Its tokens.
        n_tokens: usize,
        /// Windows it fills.
        n_found: usize,
        /// Windows that are needed.
        n_expected: usize,
        /// Tokens in a window.
        n_window: usize,
    },
    /// What is judged on was fitted on.
    #[error(
        "{n_seen} of {n_windows} windows of the {part} text are in the calibration text too: \
         expected none"
    )]
    SeenWindows {
        /// Which text.
        part: TextPart,
        /// Its windows that are fitted or selected on.
        n_seen: usize,
        /// Its windows.
        n_windows: usize,
    },
    /// Fewer windows were asked for than are needed.
    #[error("{n_asked} windows of the {part} text are too few: expected at least {n_expected}")]
    TooFewWindows {
        /// Which text.
        part: TextPart,
        /// Windows at most, as asked for.
        n_asked: usize,
        /// Windows that are needed.
        n_expected: usize,
    },
    /// An option makes no sense.
    #[error("calibration option {option} must be {expected}, found {found}")]
    BadOption {
        /// The field of [`CalibrateOptions`](super::CalibrateOptions).
        option: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it was.
        found: String,
    },
    /// The models do not give the rows to fit on.
    #[error("cannot fit on calibration window {window_idx}")]
    Fit {
        /// Its place among all of the calibration's windows.
        window_idx: usize,
        /// What failed.
        #[source]
        source: Box<PairError>,
    },
    /// What was fitted is no correction.
    #[error("what was fitted for {candidate} is no correction")]
    Correction {
        /// The candidate.
        candidate: String,
        /// What is wrong with it.
        #[source]
        source: CorrectionError,
    },
    /// Candidates could not be judged.
    #[error("cannot judge the candidates, at stage {stage:?}")]
    Judge {
        /// On what.
        stage: Stage,
        /// What failed.
        #[source]
        source: Box<JudgeError>,
    },
    /// Nothing could be generated.
    #[error("cannot generate freely under {treatment}")]
    Generate {
        /// The treatment.
        treatment: String,
        /// What failed.
        #[source]
        source: Box<RepetitionError>,
    },
    /// Scores give no interval.
    #[error("cannot form the intervals of the gate")]
    Intervals(#[source] BootstrapError),
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
