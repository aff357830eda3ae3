//! Why there is no template, or no prompt.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::jinja::value::marks::Marks;
use crate::jinja::{Exceeded, Fail};

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A chat template that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum OpenTemplateError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// `tokenizer_config.json` is no JSON.
    #[error("{} is no JSON", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    /// `chat_template` is neither a string nor a list of named templates.
    #[error(
        "`chat_template` in {} is neither a string nor a list of `name` and `template`",
        path.display()
    )]
    Shape { path: PathBuf },
    /// A list of templates without `default`.
    #[error("the chat templates in {} have no `default`", path.display())]
    NoDefault { path: PathBuf },
    /// A template of white space alone: every prompt would be empty.
    #[error("the chat template in {} is empty", path.display())]
    Empty { path: PathBuf },
    /// A template of absurd length.
    #[error(
        "the chat template in {} has {n_bytes} bytes, at most {n_bytes_max} are accepted",
        path.display()
    )]
    TooLong { path: PathBuf, n_bytes: usize, n_bytes_max: usize },
    /// A syntax error.
    #[error("the chat template in {} has a mistake in line {line}", path.display())]
    Syntax {
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        source: Cause,
    },
}

/// A prompt that a chat template did not make.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum RenderError {
    /// The template called `raise_exception`: it does not accept these messages.
    #[error("the chat template refuses the messages: {}", one_line(message))]
    Raised { message: String },
    /// The template is none.
    #[error(transparent)]
    Unusable(Arc<OpenTemplateError>),
    /// The template takes more memory, work or time than any prompt needs.
    #[error(
        "the chat template exceeds its bound on {bound}: expected at most {limit}, found {found}"
    )]
    Unbounded { bound: &'static str, limit: String, found: String },
    /// The template failed, often because a message lacks what it expects.
    #[error("the chat template failed in line {line}")]
    Failed {
        /// The line, from 1.
        line: usize,
        source: Cause,
    },
}

impl RenderError {
    pub(super) fn new(line: usize, fail: Fail, marks: &Marks) -> Self {
        match fail {
            Fail::Raised(message) => Self::Raised { message: marks.plain(&message).into_owned() },
            Fail::Bound(exceeded) => {
                let Exceeded { bound, limit, found } = *exceeded;
                Self::Unbounded { bound, limit, found }
            }
            Fail::Other(message) => Self::Failed { line, source: marks.plain(&message).into() },
        }
    }
}

/// What a template says, without what could pass for another message: in one line, and not too long.
fn one_line(message: &str) -> String {
    let n_chars_max = 500;
    let mut line: String = message
        .chars()
        .take(n_chars_max)
        .map(|symbol| if symbol.is_control() { ' ' } else { symbol })
        .collect();
    if message.chars().nth(n_chars_max).is_some() {
        line.push('…');
    }
    line
}
