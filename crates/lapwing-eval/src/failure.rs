//! An error that is only told: no caller does one thing about one and another about another.

use std::error::Error;

/// What failed, and why.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    /// What was being done, or what stands in the way.
    pub what: String,
    /// The cause, where something else failed first.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// Without a cause.
    pub(crate) fn new(what: impl Into<String>) -> Failure {
        Failure { what: what.into(), source: None }
    }

    /// With a cause, for `map_err`.
    pub(crate) fn by<E: Error + Send + Sync + 'static>(
        what: impl Into<String>,
    ) -> impl FnOnce(E) -> Failure {
        move |source| Failure { what: what.into(), source: Some(Box::new(source)) }
    }
}
