//! The texts of a calibration, and which of their windows are held out.

use lapwing_eval::{TextFile, TextFileError};
use lapwing_logits::profile::{ProfiledText, TextRole};
use lapwing_model::TokenId;
use lapwing_text::Tokenizer;

use crate::cli::CalibrateArgs;
use crate::exit::UsageError;

const TEXT_TWICE: &str = "name every text with one --text";

/// The files of a calibration.
pub(in crate::commands) struct Files {
    /// At least one.
    pub(in crate::commands) texts: Vec<TextFile>,
    pub(in crate::commands) other: Option<TextFile>,
}

/// What is fitted on and what is judged on, in tokens.
pub(in crate::commands) struct Texts {
    fitted: Vec<Vec<TokenId>>,
    /// Of each text.
    n_held_out: Vec<usize>,
    /// The last windows of every text, in turn: the first one of each, then the second, ….
    pub(in crate::commands) held_out: Vec<TokenId>,
    pub(in crate::commands) other: Option<Vec<TokenId>>,
}

/// Read the files. The same one cannot be of both domains, nor count twice: its windows would make
/// intervals narrower than they are.
pub(in crate::commands) fn read(args: &CalibrateArgs) -> anyhow::Result<Files> {
    let texts: Vec<TextFile> =
        args.fit.text.iter().map(|path| TextFile::read(path)).collect::<Result<_, _>>()?;
    for (idx, text) in texts.iter().enumerate() {
        if let Some(first) = texts[..idx].iter().find(|first| first.sha256 == text.sha256) {
            let (first, second) = (first.path.display(), text.path.display());
            let problem = format!("{second} is the same text as {first}");
            return Err(UsageError { problem, advice: Some(TEXT_TWICE.to_owned()) }.into());
        }
    }
    let other = args.other_text.as_deref().map(TextFile::read).transpose()?;
    if let Some(other) = &other
        && texts.iter().any(|text| text.sha256 == other.sha256)
    {
        let problem = format!("{} is a text of the calibration too", other.path.display());
        let advice = Some("--other-text takes a text of another domain than --text".to_owned());
        return Err(UsageError { problem, advice }.into());
    }
    Ok(Files { texts, other })
}

/// How many of `n_windows` are held out.
pub(in crate::commands) fn n_held_out(n_windows: usize, share: f64) -> usize {
    ((n_windows as f64 * share).round() as usize).min(n_windows)
}

impl Texts {
    /// Tokenise the files and hold out the share `held_out` of each one's windows, its last ones.
    pub(in crate::commands) fn split(
        files: &Files,
        tokenizer: &Tokenizer,
        n_window: usize,
        held_out: f64,
    ) -> Result<Texts, TextFileError> {
        let other = files.other.as_ref().map(|text| text.tokens(tokenizer)).transpose()?;
        let texts = files.texts.iter().map(|text| text.tokens(tokenizer));
        Ok(Texts { other, ..split(texts.collect::<Result<_, _>>()?, n_window, held_out) })
    }

    pub(in crate::commands) fn calibration(&self) -> Vec<&[TokenId]> {
        self.fitted.iter().map(Vec::as_slice).collect()
    }

    /// What the profile says of them.
    pub(in crate::commands) fn labels(&self, files: &Files) -> Vec<ProfiledText> {
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

fn split(texts: Vec<Vec<TokenId>>, n_window: usize, share: f64) -> Texts {
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
    Texts { fitted, n_held_out: ends.iter().map(Vec::len).collect(), held_out, other: None }
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
