//! What the program tells the shell when it ends.

/// Done.
pub const EXIT_DONE: u8 = 0;
/// Failed.
pub const EXIT_FAILED: u8 = 1;
/// Wrong usage: a flag, a setting, a question that nobody can answer.
pub const EXIT_USAGE: u8 = 2;
/// Ctrl-C ended it, as shells expect that to be told.
pub const EXIT_INTERRUPTED: u8 = 130;

/// A command that was called in a way that cannot work: ends with [`EXIT_USAGE`].
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct UsageError {
    pub problem: String,
    pub advice: Option<String>,
}
