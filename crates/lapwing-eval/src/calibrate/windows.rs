//! The windows of a calibration: disjoint, and each for one purpose.

use lapwing_model::TokenId;

use crate::calibrate::{CalibrateError, CalibrateInputs, CalibrateOptions, TextPart};
use crate::common_tokens::CommonTokens;

/// Of so many calibration windows the last selects and is not fitted on.
const SELECT_EVERY: usize = 5;

/// Calibration windows at least: the offsets need several to tell their error.
const N_CALIBRATION_MIN: usize = 5;

/// Judged windows at least. With fewer, not even a candidate that is better in every window is
/// surely better than chance, once there are a few dozen candidates; and the bootstrap's intervals
/// get too narrow.
const N_JUDGED_MIN: usize = 16;

/// A window has at least so many tokens.
const N_WINDOW_TOKENS_MIN: usize = 8;

/// All windows, cut before any work so that a text that is too short is known at once.
pub(crate) struct Windows {
    pub(super) fit: Vec<Vec<TokenId>>,
    pub(super) selection: Vec<Vec<TokenId>>,
    pub(crate) home: Vec<Vec<TokenId>>,
    pub(crate) other: Option<Vec<Vec<TokenId>>>,
    /// The commonest tokens of what is fitted and selected on.
    pub(crate) common: CommonTokens,
}

impl Windows {
    pub(crate) fn cut(
        inputs: &CalibrateInputs<'_>,
        options: &CalibrateOptions,
    ) -> Result<Windows, CalibrateError> {
        check(options)?;
        let n_window = options.n_window_tokens;
        let cut = |text: &[TokenId]| -> Vec<Vec<TokenId>> {
            text.chunks_exact(n_window).map(|window| begin_with(inputs.begin, window)).collect()
        };
        let require = |part: TextPart, n_tokens: usize, n_found: usize, n_expected: usize| {
            if n_expected <= n_found {
                return Ok(());
            }
            Err(CalibrateError::TextTooShort { part, n_tokens, n_found, n_expected, n_window })
        };
        let judged = |part: TextPart, text: &[TokenId]| {
            let mut windows = cut(text);
            windows.truncate(options.n_judged_windows_max);
            require(part, text.len(), windows.len(), N_JUDGED_MIN)?;
            Ok(windows)
        };
        let texts: Vec<Vec<Vec<TokenId>>> =
            inputs.calibration.iter().map(|text| cut(text)).collect();
        let mut calibration = interleave(texts);
        calibration.truncate(options.n_calibration_windows_max);
        let n_tokens = inputs.calibration.iter().map(|text| text.len()).sum();
        require(TextPart::Calibration, n_tokens, calibration.len(), N_CALIBRATION_MIN)?;
        let read = calibration.iter().flat_map(|window| window[1..].iter().copied());
        let common = CommonTokens::of_text(read, inputs.n_tokens);
        let (mut fit, mut selection) = (Vec::new(), Vec::new());
        for (idx, window) in calibration.into_iter().enumerate() {
            let is_selection = idx % SELECT_EVERY == SELECT_EVERY - 1;
            if is_selection { &mut selection } else { &mut fit }.push(window);
        }
        let other = inputs.other_domain.map(|text| judged(TextPart::OtherDomain, text));
        Ok(Windows {
            fit,
            selection,
            home: judged(TextPart::HeldOut, inputs.held_out)?,
            other: other.transpose()?,
            common,
        })
    }
}

fn check(options: &CalibrateOptions) -> Result<(), CalibrateError> {
    let require = |option, fits: bool, expected, found: String| {
        if fits { Ok(()) } else { Err(CalibrateError::BadOption { option, expected, found }) }
    };
    let asked = [
        (TextPart::Calibration, options.n_calibration_windows_max, N_CALIBRATION_MIN),
        (TextPart::HeldOut, options.n_judged_windows_max, N_JUDGED_MIN),
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

fn begin_with(begin: Option<TokenId>, window: &[TokenId]) -> Vec<TokenId> {
    let mut window = window.to_vec();
    if let (Some(begin), Some(first)) = (begin, window.first_mut()) {
        *first = begin;
    }
    window
}

/// One order of all texts' windows in which every text is spread over the whole.
fn interleave(texts: Vec<Vec<Vec<TokenId>>>) -> Vec<Vec<TokenId>> {
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
