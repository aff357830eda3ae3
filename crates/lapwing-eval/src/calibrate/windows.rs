//! The windows of a calibration: disjoint, and each for one purpose.

use std::collections::HashSet;

use lapwing_model::TokenId;

use crate::calibrate::{CalibrateError, CalibrateInputs, CalibrateOptions, TextPart};
use crate::common_tokens::CommonTokens;
use crate::gate::N_WINDOWS_MIN;
use crate::windows::TextWindow;

/// Of so many calibration windows the last selects and is not fitted on.
const SELECT_EVERY: usize = 5;

/// Calibration windows at least: the offsets need several to tell their error.
const N_CALIBRATION_MIN: usize = 5;

/// A window has at least so many tokens.
const N_WINDOW_TOKENS_MIN: usize = 8;

/// All windows, cut before any work so that a text that is too short is known at once.
pub struct CalibrationWindows {
    pub(super) fit: Vec<TextWindow>,
    pub(super) selection: Vec<TextWindow>,
    /// Of held-out text, to judge on.
    pub home: Vec<TextWindow>,
    /// Of another domain, to judge on.
    pub other: Option<Vec<TextWindow>>,
    /// The commonest tokens of what is fitted and selected on.
    pub(super) common: CommonTokens,
}

impl CalibrationWindows {
    /// The windows that [`calibrate`](super::calibrate) fits, selects and judges on.
    ///
    /// # Errors
    ///
    /// When a text is too short, is judged on and fitted on, or an option makes no sense.
    pub fn cut(
        inputs: &CalibrateInputs<'_>,
        options: &CalibrateOptions,
    ) -> Result<CalibrationWindows, CalibrateError> {
        check(options)?;
        let n_window = options.n_window_tokens;
        let cut = |text: &[TokenId]| -> Vec<TextWindow> {
            text.chunks_exact(n_window).map(|window| begin_with(inputs.begin, window)).collect()
        };
        let require = |part: TextPart, n_tokens: usize, n_found: usize, n_expected: usize| {
            if n_expected <= n_found {
                return Ok(());
            }
            Err(CalibrateError::TextTooShort { part, n_tokens, n_found, n_expected, n_window })
        };
        let judged = |part: TextPart, text: &[TokenId]| -> Result<_, CalibrateError> {
            let mut windows = cut(text);
            windows.truncate(options.n_judged_windows_max);
            require(part, text.len(), windows.len(), N_WINDOWS_MIN)?;
            Ok(windows)
        };
        let texts = inputs.calibration.iter().map(|text| cut(text));
        let mut calibration = interleave(texts.collect());
        calibration.truncate(options.n_calibration_windows_max);
        let n_tokens = inputs.calibration.iter().map(|text| text.len()).sum();
        require(TextPart::Calibration, n_tokens, calibration.len(), N_CALIBRATION_MIN)?;
        let read = calibration.iter().flat_map(|window| window.tokens[1..].iter().copied());
        let common = CommonTokens::of_text(read, inputs.n_tokens);
        let (mut fit, mut selection) = (Vec::new(), Vec::new());
        for (idx, window) in calibration.into_iter().enumerate() {
            let is_selection = idx % SELECT_EVERY == SELECT_EVERY - 1;
            if is_selection { &mut selection } else { &mut fit }.push(window);
        }
        let home = judged(TextPart::HeldOut, inputs.held_out)?;
        let other = inputs.other_domain.map(|text| judged(TextPart::OtherDomain, text));
        let windows =
            CalibrationWindows { fit, selection, home, other: other.transpose()?, common };
        windows.require_unseen()?;
        Ok(windows)
    }

    /// The place of a fitted window among all of the calibration.
    pub(super) fn place_of_fitted(window_idx: usize) -> usize {
        window_idx + window_idx / (SELECT_EVERY - 1)
    }

    /// The place of a selecting window among all of the calibration.
    pub(super) fn place_of_selecting(window_idx: usize) -> usize {
        SELECT_EVERY * window_idx + SELECT_EVERY - 1
    }

    /// Refuse to judge on what was fitted or selected on.
    fn require_unseen(&self) -> Result<(), CalibrateError> {
        let seen: HashSet<&TextWindow> = self.fit.iter().chain(&self.selection).collect();
        let judged =
            [(TextPart::HeldOut, Some(&self.home)), (TextPart::OtherDomain, self.other.as_ref())];
        for (part, windows) in judged {
            let windows = windows.map_or(&[][..], Vec::as_slice);
            let n_seen = windows.iter().filter(|window| seen.contains(window)).count();
            if n_seen != 0 {
                let n_windows = windows.len();
                return Err(CalibrateError::SeenWindows { part, n_seen, n_windows });
            }
        }
        Ok(())
    }
}

fn check(options: &CalibrateOptions) -> Result<(), CalibrateError> {
    let require = |option, fits: bool, expected, found: String| {
        if fits { Ok(()) } else { Err(CalibrateError::BadOption { option, expected, found }) }
    };
    let asked = [
        (TextPart::Calibration, options.n_calibration_windows_max, N_CALIBRATION_MIN),
        (TextPart::HeldOut, options.n_judged_windows_max, N_WINDOWS_MIN),
    ];
    for (part, n_asked, n_expected) in asked {
        if n_asked < n_expected {
            return Err(CalibrateError::TooFewWindows { part, n_asked, n_expected });
        }
    }
    let CalibrateOptions { n_window_tokens, n_bands, n_grid, n_threads, .. } = *options;
    let is_long = N_WINDOW_TOKENS_MIN <= n_window_tokens;
    require("n_window_tokens", is_long, "at least 8", n_window_tokens.to_string())?;
    require("n_bands", 1 <= n_bands, "at least 1", n_bands.to_string())?;
    require("n_grid", 4 <= n_grid, "at least 4", n_grid.to_string())?;
    require("n_threads", 1 <= n_threads, "at least 1", n_threads.to_string())?;
    for gain in &options.given_gains {
        require("given_gains", (0.0..=1.0).contains(gain), "from 0 to 1", gain.to_string())?;
    }
    for ridge in &options.ridges {
        let fits = ridge.is_finite() && 0.0 <= *ridge;
        require("ridges", fits, "finite and at least 0", ridge.to_string())?;
    }
    let confidence = options.gate.confidence;
    let is_share = 0.0 < confidence && confidence < 1.0;
    require("confidence", is_share, "between 0 and 1", confidence.to_string())?;
    let n_prompts = options.repetition.n_prompts;
    require("n_prompts", 2 <= n_prompts, "at least 2", n_prompts.to_string())
}

fn begin_with(begin: Option<TokenId>, window: &[TokenId]) -> TextWindow {
    let mut tokens = window.to_vec();
    if let (Some(begin), Some(first)) = (begin, tokens.first_mut()) {
        *first = begin;
    }
    TextWindow { tokens, n_unscored_rows: 0 }
}

/// One order of all texts' windows in which every text is spread over the whole.
fn interleave(texts: Vec<Vec<TextWindow>>) -> Vec<TextWindow> {
    let mut placed = Vec::new();
    for (text_idx, windows) in texts.into_iter().enumerate() {
        let n_windows = windows.len() as f64;
        for (idx, window) in windows.into_iter().enumerate() {
            placed.push(((idx as f64 + 0.5) / n_windows, text_idx, window));
        }
    }
    placed.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    placed.into_iter().map(|(_, _, window)| window).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_calibration_window_has_one_place() {
        // Of twelve windows the fifth and the tenth select.
        let fitted: Vec<usize> = (0..10).map(CalibrationWindows::place_of_fitted).collect();
        assert_eq!(fitted, [0, 1, 2, 3, 5, 6, 7, 8, 10, 11]);
        assert_eq!([0, 1].map(CalibrationWindows::place_of_selecting), [4, 9]);
    }
}
