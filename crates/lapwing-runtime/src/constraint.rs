//! What an answer must look like: a form that leaves only some tokens at each place.

use std::error::Error;

/// Says which tokens may come next, such as those that keep an answer within a grammar.
///
/// Rows are corrected before they are constrained, so that a correction sees what the model gave;
/// log probabilities are of what is left.
pub trait Constraint: Send {
    /// Make the logits of all tokens that may not come next `-inf`.
    ///
    /// Shapes: `logits [n_vocab]`.
    ///
    /// # Errors
    ///
    /// When nothing may come next, or to find out takes too much.
    fn forbid(&mut self, logits: &mut [f32]) -> Result<(), ConstraintError>;

    /// Take note of the token that was chosen; whether the form is complete, so that nothing can
    /// follow. What may come behind it can be worked out while the model computes.
    fn take(&mut self, token: u32) -> bool;
}

/// Why a constraint cannot say what may come next.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct ConstraintError {
    /// In words.
    pub what: String,
    /// What went wrong behind it.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}
