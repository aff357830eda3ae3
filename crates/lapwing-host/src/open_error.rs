//! Why a model was not opened.

use std::error::Error;
use std::path::PathBuf;

use lapwing_formats::FileChanged;
use lapwing_store::ResolveModelError;

use crate::backends::LoadBackendError;
use crate::choice::NoNativeBackend;
use crate::trial::{Failure, HarmfulDevice};
use crate::worker::WorkerError;

/// Why a model was not opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum OpenModelError {
    /// There is no model of that name.
    #[error("cannot open the model")]
    Find(#[source] ResolveModelError),
    /// Its files, its text side or the device refuse: the source is the error of who refused.
    #[error("cannot open the model")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
    /// There is no such backend.
    #[error(transparent)]
    NoBackend(#[from] NoNativeBackend),
    /// Its library is not there.
    #[error(transparent)]
    Load(#[from] LoadBackendError),
    /// The tokenizer of another model.
    #[error(
        "{} does not fit the model: it knows {n_tokenizer} tokens, the model {n_model}",
        tokenizer.display()
    )]
    Vocabulary { tokenizer: PathBuf, n_tokenizer: usize, n_model: usize },
    /// The device came to harm when it was tried.
    #[error(transparent)]
    Harm(Box<HarmfulDevice>),
    /// A trial found an ordinary refusal, now or earlier.
    #[error("{failure}{}", at.as_ref().map(|at| format!(" (at {at})")).unwrap_or_default())]
    Tried {
        failure: Failure,
        /// When that was, if not now.
        at: Option<String>,
    },
    /// Somebody wrote to its files meanwhile: whatever else went wrong comes of that.
    #[error(transparent)]
    Changed(#[from] FileChanged),
    /// The device could not be tried, or whoever asked wants no more.
    #[error(transparent)]
    Worker(#[from] WorkerError),
}

impl OpenModelError {
    /// Whether whoever asked wanted no more.
    pub fn is_stop(&self) -> bool {
        matches!(self, OpenModelError::Worker(WorkerError::Stopped))
    }

    /// What went wrong with all its causes, without saying that a model was to be opened.
    pub fn reason(&self) -> String {
        match self {
            OpenModelError::Find(source) => with_causes(source),
            OpenModelError::Refused(source) => with_causes(&**source),
            other => with_causes(other),
        }
    }
}

/// What refuses to open a model.
pub(crate) fn cannot_open(source: impl Error + Send + Sync + 'static) -> OpenModelError {
    OpenModelError::Refused(Box::new(source))
}

/// An error and what it comes from, in one line.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(&format!(": {error}"));
        cause = error.source();
    }
    line
}
