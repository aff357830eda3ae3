//! The texts of a calibration, and which of their windows are held out.

use std::path::{Path, PathBuf};

use lapwing_logits::profile::{ProfiledText, TextRole};
use lapwing_model::TokenId;
use lapwing_text::Tokenizer;
use serde_json::{Value, json};

use crate::text_file::{TextFile, TextFileError};

/// The files of a calibration.
#[derive(Debug, Clone)]
pub struct CalibrationFiles {
    /// To fit and judge on; at least one.
    pub texts: Vec<TextFile>,
    /// Of another domain, to judge on only.
    pub other: Option<TextFile>,
}

/// Why files cannot be those of a calibration.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum CalibrationFilesError {
    /// One of them is no text.
    #[error(transparent)]
    Text(#[from] TextFileError),
    /// It would count twice, and make intervals narrower than they are.
    #[error("{} is the same text as {}", second.display(), first.display())]
    Twice { first: PathBuf, second: PathBuf },
    /// It cannot be of both domains.
    #[error("{} is a text of the calibration too", path.display())]
    OtherToo { path: PathBuf },
}

/// What is fitted on and what is judged on, in tokens.
#[derive(Debug, Clone)]
pub struct CalibrationTexts {
    fitted: Vec<Vec<TokenId>>,
    /// Of each text.
    n_held_out: Vec<usize>,
    /// The last windows of every text, in turn: the first one of each, then the second, ….
    pub held_out: Vec<TokenId>,
    /// All of the other domain's.
    pub other: Option<Vec<TokenId>>,
}

impl CalibrationFiles {
    /// Read the files.
    ///
    /// # Errors
    ///
    /// When one of them is no text, or is there twice.
    pub fn read(
        texts: &[PathBuf],
        other: Option<&Path>,
    ) -> Result<CalibrationFiles, CalibrationFilesError> {
        let texts: Vec<TextFile> =
            texts.iter().map(|path| TextFile::read(path)).collect::<Result<_, _>>()?;
        let same = |of: &TextFile, among: &[TextFile]| {
            among.iter().find(|text| text.sha256 == of.sha256).map(|text| text.path.clone())
        };
        for (idx, text) in texts.iter().enumerate() {
            if let Some(first) = same(text, &texts[..idx]) {
                return Err(CalibrationFilesError::Twice { first, second: text.path.clone() });
            }
        }
        let other = other.map(TextFile::read).transpose()?;
        match other.as_ref().filter(|other| same(other, &texts).is_some()) {
            Some(other) => Err(CalibrationFilesError::OtherToo { path: other.path.clone() }),
            None => Ok(CalibrationFiles { texts, other }),
        }
    }

    /// What JSON outputs tell of them.
    pub fn as_json(&self) -> Value {
        json!({
            "texts": self.texts.iter().map(TextFile::of_bytes).collect::<Vec<_>>(),
            "other": self.other.as_ref().map(TextFile::of_bytes),
        })
    }
}

/// How many of `n_windows` are held out.
pub fn n_held_out(n_windows: usize, share: f64) -> usize {
    ((n_windows as f64 * share).round() as usize).min(n_windows)
}

impl CalibrationTexts {
    /// Tokenise the files and hold out the share `held_out` of each one's windows, its last ones.
    ///
    /// # Errors
    ///
    /// When the tokenizer cannot express a text.
    pub fn split(
        files: &CalibrationFiles,
        tokenizer: &Tokenizer,
        n_window: usize,
        held_out: f64,
    ) -> Result<CalibrationTexts, TextFileError> {
        let other = files.other.as_ref().map(|text| text.tokens(tokenizer)).transpose()?;
        let texts = files.texts.iter().map(|text| text.tokens(tokenizer));
        Ok(CalibrationTexts {
            other,
            ..split(texts.collect::<Result<_, _>>()?, n_window, held_out)
        })
    }

    /// What is fitted on, text by text.
    pub fn calibration(&self) -> Vec<&[TokenId]> {
        self.fitted.iter().map(Vec::as_slice).collect()
    }

    /// What the profile says of them.
    pub fn labels(&self, files: &CalibrationFiles) -> Vec<ProfiledText> {
        let label = |text: &TextFile, role: TextRole, n_tokens: usize| ProfiledText {
            role,
            name: text.name(),
            sha256: text.sha256.clone(),
            n_bytes: text.n_bytes() as u64,
            n_tokens: n_tokens as u64,
        };
        let mut labels = Vec::new();
        for (text, fitted) in files.texts.iter().zip(&self.fitted) {
            labels.push(label(text, TextRole::Calibration, fitted.len()));
        }
        for (text, &n_tokens) in files.texts.iter().zip(&self.n_held_out) {
            labels.push(label(text, TextRole::HeldOut, n_tokens));
        }
        if let (Some(text), Some(tokens)) = (&files.other, &self.other) {
            labels.push(label(text, TextRole::OtherDomain, tokens.len()));
        }
        labels
    }
}

fn split(texts: Vec<Vec<TokenId>>, n_window: usize, share: f64) -> CalibrationTexts {
    let (mut fitted, mut ends): (Vec<_>, Vec<Vec<TokenId>>) = (Vec::new(), Vec::new());
    let n_window = n_window.max(1);
    for mut tokens in texts {
        let n_windows = tokens.len() / n_window;
        let n_fitted = n_windows - n_held_out(n_windows, share);
        // Windows are cut from the start of each part, so a part is whole windows.
        tokens.truncate(n_windows * n_window);
        ends.push(tokens.split_off(n_fitted * n_window));
        fitted.push(tokens);
    }
    let n_turns = ends.iter().map(|end| end.len() / n_window).max().unwrap_or(0);
    let mut held_out = Vec::new();
    for turn in 0..n_turns {
        for end in &ends {
            held_out.extend(end.chunks_exact(n_window).nth(turn).unwrap_or_default());
        }
    }
    CalibrationTexts {
        fitted,
        n_held_out: ends.iter().map(Vec::len).collect(),
        held_out,
        other: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_windows_of_every_text_are_held_out_and_none_is_in_both() {
        // Windows of two: six, four, and a text too short for one.
        let texts = vec![(0..13).collect(), (100..108).collect(), vec![7]];
        let found = split(texts, 2, 0.34);
        let first: Vec<TokenId> = (0..8).collect();
        let second: Vec<TokenId> = (100..106).collect();
        assert_eq!(found.fitted, [first, second, vec![]]);
        assert_eq!(found.held_out, [8, 9, 106, 107, 10, 11]);
        assert_eq!(found.n_held_out, [4, 2, 0]);
    }

    #[test]
    fn shares_are_of_whole_windows() {
        let check = |n_windows, share, expected| assert_eq!(n_held_out(n_windows, share), expected);
        check(160, 0.3, 48);
        check(0, 0.3, 0);
        check(1, 0.3, 0);
        check(1, 0.9, 1);
    }
}
