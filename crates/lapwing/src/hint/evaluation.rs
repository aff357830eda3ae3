//! Advice about correction profiles, calibration and evaluation.

use std::error::Error;

use lapwing_eval::{
    CalibrateError, OpenJournalError, ReadItemsError, SameModelError, ScoreError, TextFileError,
    TextPart, TokenizerMismatch, WindowsError,
};
use lapwing_export::HeadRowsError;
use lapwing_host::correction::{ProfileError, WriteProfileError};
use lapwing_logits::profile::ReadProfileError;

use crate::commands::calibrate::WindowTooLong;
use crate::commands::export::CorrectHeadError;

/// What the user can do about an error of these, if that is known.
pub(super) fn for_cause(cause: &(dyn Error + 'static)) -> Option<String> {
    first_of!(cause =>
        profile, text, windows, score, tokenizer, same_model, journal, items, calibrate, window,
        checkpoint, write, correct_head
    )
}

const CALIBRATE_AGAIN: &str =
    "make it again with `lapwing calibrate`, or run without it: --correction off";

fn profile(error: &ProfileError) -> Option<String> {
    Some(match error {
        ProfileError::Missing { .. } => {
            "`lapwing calibrate` makes a profile; --correction takes off, auto, a file or its name"
                .to_owned()
        }
        ProfileError::Several { .. } => "name one of them in full".to_owned(),
        ProfileError::Read { .. } => {
            "a profile and its .safetensors file lie in one folder: copy both, or leave out \
             --correction"
                .to_owned()
        }
        ProfileError::Malformed { source: ReadProfileError::Version { .. }, .. } => {
            format!("another version of Lapwing wrote it: {CALIBRATE_AGAIN}")
        }
        ProfileError::Malformed { .. } | ProfileError::OtherSidecar { .. } => {
            format!("the copy is not complete or was changed: {CALIBRATE_AGAIN}")
        }
        ProfileError::OtherModel { .. } => {
            "a profile holds for one model, backend, device and precision: calibrate this one \
             with `lapwing calibrate`, or run without it: --correction off"
                .to_owned()
        }
        ProfileError::GateClosed { .. } => {
            "nothing was found to help on text that was held out; leave out --correction, or \
             calibrate again on more text"
                .to_owned()
        }
        ProfileError::OnlyForExport { .. } => {
            "`lapwing export --correct-head PROFILE` folds it into a new export".to_owned()
        }
    })
}

fn text(error: &TextFileError) -> Option<String> {
    match error {
        TextFileError::NotText { .. } => Some("convert it to UTF-8, or choose another file".into()),
        TextFileError::Read { source, .. } => super::piped(source),
        TextFileError::TooLong { .. } => Some("cut it into parts".into()),
        _ => None,
    }
}

fn windows(error: &WindowsError) -> Option<String> {
    Some(match error {
        WindowsError::TooShort { .. } => "give a longer text, or a smaller --window".to_owned(),
        WindowsError::BadOption { .. } => "--window and --stride set these sizes".to_owned(),
    })
}

const WINDOW_TOO_LONG: &str = "give a smaller --window, or leave out --context";

const OTHER_TOKENIZER: &str = "put the tokenizer.json of this model into its folder";

fn score(error: &ScoreError) -> Option<String> {
    match error {
        ScoreError::WindowTooLong { .. } | ScoreError::TooLong { .. } => {
            Some(WINDOW_TOO_LONG.into())
        }
        ScoreError::RowTooShort { .. } | ScoreError::NoSuchToken { .. } => {
            Some(OTHER_TOKENIZER.into())
        }
        _ => None,
    }
}

fn tokenizer(_: &TokenizerMismatch) -> Option<String> {
    Some("--reference takes an export of the same checkpoint, such as its f32 export".into())
}

fn journal(error: &OpenJournalError) -> Option<String> {
    match error {
        OpenJournalError::InUse { .. } => {
            Some("the same command is running already: wait until it is done".into())
        }
        OpenJournalError::Io { .. } => None,
        _ => Some("--fresh starts over".into()),
    }
}

fn items(error: &ReadItemsError) -> Option<String> {
    match error {
        ReadItemsError::NoLabels { .. } => {
            Some("piqa keeps its answers apart: name their file with --labels".into())
        }
        ReadItemsError::LabelCount { .. } => {
            Some("--labels and --data must be files of the same split".into())
        }
        ReadItemsError::TooFew { .. } => Some(
            "gsm8k shows eight worked answers before each item: --examples names a file of them, \
             or the first eight items are taken"
                .into(),
        ),
        ReadItemsError::Line { .. } => {
            Some("`lapwing eval task --help` says what the file of each task holds".into())
        }
    }
}

fn same_model(_: &SameModelError) -> Option<String> {
    Some("--reference takes a less quantised export of the same checkpoint".into())
}

fn calibrate(error: &CalibrateError) -> Option<String> {
    match error {
        CalibrateError::TextTooShort { part, .. } => Some(longer_text(*part)),
        CalibrateError::TooFewWindows { part, .. } => Some(more_windows(*part)),
        CalibrateError::SeenWindows { .. } => {
            Some("text that is judged on must be new: leave out what repeats itself".into())
        }
        CalibrateError::BadOption { .. } => {
            Some("--window, --windows, --held-out and --gain set these sizes".into())
        }
        _ => None,
    }
}

fn more_windows(part: TextPart) -> String {
    match part {
        TextPart::Calibration => "allow more with --windows, or a smaller --held-out".into(),
        TextPart::HeldOut | TextPart::OtherDomain => {
            "allow more with --windows, or a larger --held-out".into()
        }
    }
}

fn longer_text(part: TextPart) -> String {
    match part {
        TextPart::OtherDomain => "give a longer --other-text, or a smaller --window".into(),
        TextPart::Calibration => {
            "give more text (--text is repeatable), a smaller --window or a smaller --held-out"
                .into()
        }
        TextPart::HeldOut => {
            "give more text (--text is repeatable), a smaller --window or a larger --held-out"
                .into()
        }
    }
}

fn window(_: &WindowTooLong) -> Option<String> {
    Some(WINDOW_TOO_LONG.into())
}

fn checkpoint(error: &HeadRowsError) -> Option<String> {
    match error {
        HeadRowsError::Other { .. } => {
            Some("--checkpoint takes what `lapwing export` made the model from".into())
        }
        HeadRowsError::Corrected { .. } => Some(
            "calibrate an export that was made without --correct-head, or leave out --checkpoint"
                .into(),
        ),
        _ => None,
    }
}

fn write(error: &WriteProfileError) -> Option<String> {
    match error {
        WriteProfileError::Name { .. } => Some("choose another --out".into()),
        WriteProfileError::Taken { .. } | WriteProfileError::Unknown { .. } => Some(
            "--out NAME.correction.json writes elsewhere, and --correction takes it from there; \
             --force replaces what is there"
                .into(),
        ),
        WriteProfileError::Io { .. } | WriteProfileError::Profile { .. } => None,
    }
}

fn correct_head(error: &CorrectHeadError) -> Option<String> {
    Some(match error {
        CorrectHeadError::Profile(ProfileError::Missing { .. }) => {
            "--correct-head takes a profile of `lapwing calibrate --checkpoint`: a file or its name"
                .to_owned()
        }
        CorrectHeadError::Profile(ProfileError::Several { .. }) => {
            "name one of them in full".to_owned()
        }
        CorrectHeadError::Profile(ProfileError::Read { .. }) => {
            "a profile and its .safetensors file lie in one folder: copy both, or leave out \
             --correct-head"
                .to_owned()
        }
        CorrectHeadError::Profile(_) => "make the profile again with `lapwing calibrate \
             --checkpoint`, or leave out --correct-head"
            .to_owned(),
        CorrectHeadError::GateClosed { .. } => {
            "leave out --correct-head, or calibrate with more text".to_owned()
        }
        CorrectHeadError::NoHeadMap { .. } => {
            "leave out --correct-head; `lapwing calibrate --checkpoint` fits head maps too"
                .to_owned()
        }
        CorrectHeadError::NoRecipe { .. } | CorrectHeadError::Recipe { .. } => {
            "export the checkpoint, and calibrate that folder with `lapwing calibrate`".to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::for_error;

    /// The same as the cause of a study's end.
    #[cfg(feature = "lab")]
    fn of_study(error: CalibrateError) -> Option<anyhow::Error> {
        let (doing, name, source) = ("calibrate".into(), "m".into(), error.into());
        let study = lapwing_lab::falsify::FalsifyError::Part { doing, name, source };
        Some(anyhow::Error::new(study).context("cannot study"))
    }

    #[cfg(not(feature = "lab"))]
    fn of_study(_: CalibrateError) -> Option<anyhow::Error> {
        None
    }

    #[test]
    fn a_short_text_and_too_few_windows_are_told_apart() {
        let check = |make: &dyn Fn() -> CalibrateError, expected: &str| {
            let of_calibrate = anyhow::Error::new(make()).context("cannot calibrate");
            for error in [Some(of_calibrate), of_study(make())].into_iter().flatten() {
                let hint = for_error(&error, None).unwrap_or_default();
                assert!(hint.contains(expected), "{error:#}: {hint}");
            }
        };
        let short = |part: TextPart| {
            move || CalibrateError::TextTooShort {
                part,
                n_tokens: 299,
                n_found: 2,
                n_expected: 5,
                n_window: 100,
            }
        };
        let few = |part: TextPart| {
            move || CalibrateError::TooFewWindows { part, n_asked: 2, n_expected: 5 }
        };
        check(&short(TextPart::Calibration), "give more text (--text is repeatable)");
        check(&short(TextPart::HeldOut), "a larger --held-out");
        check(&short(TextPart::OtherDomain), "give a longer --other-text");
        check(&few(TextPart::Calibration), "allow more with --windows, or a smaller --held-out");
        check(&few(TextPart::HeldOut), "allow more with --windows, or a larger --held-out");
    }
}
