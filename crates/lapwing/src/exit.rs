//! What the program tells the shell when it ends.

/// Done.
pub const EXIT_DONE: u8 = 0;
/// Failed.
pub const EXIT_FAILED: u8 = 1;
/// Wrong usage: a flag, a setting, a question that nobody can answer.
pub const EXIT_USAGE: u8 = 2;
/// SIGHUP ended it: a terminal was closed.
pub const EXIT_HUNG_UP: u8 = 129;
/// Ctrl-C ended it.
pub const EXIT_INTERRUPTED: u8 = 130;
/// SIGTERM ended it.
pub const EXIT_TERMINATED: u8 = 143;

/// What a program ends with that a signal ended in order: 128 and its number, which is what a shell
/// makes of one that the signal itself ended. To raise it again would tell a shell the same, and
/// would end this process before everything is closed.
pub fn of_signal(signal: i32) -> u8 {
    u8::try_from(signal).ok().and_then(|signal| signal.checked_add(128)).unwrap_or(EXIT_FAILED)
}

/// Whether somebody wanted this end by a signal.
pub fn was_wanted(code: u8) -> bool {
    [EXIT_HUNG_UP, EXIT_INTERRUPTED, EXIT_TERMINATED].contains(&code)
}

/// A command that was called in a way that cannot work: ends with [`EXIT_USAGE`].
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct UsageError {
    pub problem: String,
    pub advice: Option<String>,
}
