//! Advice about correction profiles, calibration and evaluation.

use std::error::Error;

use lapwing_eval::{
    CalibrateError, OpenJournalError, PairError, PerplexityError, ReadItemsError, TextPart,
    TokenizerMismatch, WindowsError,
};

use crate::commands::calibrate::{CheckpointError, WriteError};
use crate::correction::ProfileError;
use crate::text_file::TextFileError;

/// What the user can do about an error of these, if that is known.
pub(super) fn for_cause(cause: &(dyn Error + 'static)) -> Option<String> {
    None.or_else(|| cause.downcast_ref().and_then(profile))
        .or_else(|| cause.downcast_ref().and_then(text))
        .or_else(|| cause.downcast_ref().and_then(windows))
        .or_else(|| cause.downcast_ref().and_then(perplexity))
        .or_else(|| cause.downcast_ref().and_then(pair))
        .or_else(|| cause.downcast_ref().and_then(tokenizer))
        .or_else(|| cause.downcast_ref().and_then(journal))
        .or_else(|| cause.downcast_ref().and_then(items))
        .or_else(|| cause.downcast_ref().and_then(calibrate))
        .or_else(|| cause.downcast_ref().and_then(checkpoint))
        .or_else(|| cause.downcast_ref().and_then(write))
}

const CALIBRATE_AGAIN: &str =
    "make it again with `lapwing calibrate`, or run without it: --correction off";

fn profile(error: &ProfileError) -> Option<String> {
    Some(match error {
        ProfileError::Missing { .. } => {
            "`lapwing calibrate` makes a profile; --correction takes off, auto, a file or its name"
                .to_owned()
        }
        ProfileError::Read { .. } => {
            "a profile and its .safetensors file lie in one folder: copy both, or leave out \
             --correction"
                .to_owned()
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

fn perplexity(error: &PerplexityError) -> Option<String> {
    match error {
        PerplexityError::WindowTooLong { .. } => Some(WINDOW_TOO_LONG.into()),
        PerplexityError::NoSuchToken { .. } => Some(OTHER_TOKENIZER.into()),
        _ => None,
    }
}

const OTHER_TOKENIZER: &str = "put the tokenizer.json of this model into its folder";

fn pair(error: &PairError) -> Option<String> {
    match error {
        PairError::TooLong { .. } => Some(WINDOW_TOO_LONG.into()),
        PairError::RowTooShort { .. } | PairError::NoSuchToken { .. } => {
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

fn calibrate(error: &CalibrateError) -> Option<String> {
    match error {
        CalibrateError::TextTooShort { part, .. } => Some(match part {
            TextPart::OtherDomain => {
                "give a longer --other-text, a smaller --window or more --windows".to_owned()
            }
            TextPart::Calibration | TextPart::HeldOut => {
                "give more text (--text is repeatable), a smaller --window, more --windows or \
                 another --held-out"
                    .to_owned()
            }
        }),
        CalibrateError::BadOption { .. } => {
            Some("--window, --windows and --held-out set these sizes".into())
        }
        _ => None,
    }
}

fn checkpoint(_: &CheckpointError) -> Option<String> {
    Some("--checkpoint takes what `lapwing export` made the model from".into())
}

fn write(error: &WriteError) -> Option<String> {
    match error {
        WriteError::Name { .. } => Some("choose another --out".into()),
        WriteError::Io { .. } | WriteError::Profile { .. } => None,
    }
}
