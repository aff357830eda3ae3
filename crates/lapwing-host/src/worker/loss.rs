//! How a process was lost.

use std::process::ExitStatus;

use serde::{Deserialize, Serialize};

/// How a worker was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum Loss {
    /// The process ended by itself.
    #[error("it ended: {status}")]
    Ended { status: String, signal: Option<i32> },
    /// It took too long and was stopped.
    #[error("it was not done after {limit_s} s")]
    TimedOut { limit_s: u64 },
    /// It took too much memory and was stopped.
    #[error("it took more than {limit_bytes} bytes of memory")]
    TooMuchMemory { limit_bytes: u64 },
}

/// A signal that ends a process that came to harm: its number, its name and what it means.
type Harm = (i32, &'static str, &'static str);

const HARMS: [Harm; 9] = [
    (4, "SIGILL", "illegal instruction"),
    (5, "SIGTRAP", "a trap"),
    (6, "SIGABRT", "aborted"),
    (7, "SIGBUS", "bus error"),
    (8, "SIGFPE", "arithmetic error"),
    (9, "SIGKILL", "killed, perhaps by the system for want of memory"),
    (11, "SIGSEGV", "segmentation fault"),
    (24, "SIGXCPU", "more time of the processor than is allowed"),
    (31, "SIGSYS", "a call that the system forbids"),
];

/// The numbers of `HARMS` where they are others.
#[cfg(any(target_os = "macos", target_os = "ios", target_os = "freebsd"))]
const fn on_linux(signal: i32) -> i32 {
    match signal {
        10 => 7,
        12 => 31,
        7 | 31 => 0,
        same => same,
    }
}

#[cfg(not(any(target_os = "macos", target_os = "ios", target_os = "freebsd")))]
const fn on_linux(signal: i32) -> i32 {
    signal
}

/// The exceptions of Windows that end a process, which are its exit code.
const EXCEPTIONS: [(u32, &str); 7] = [
    (0xC000_0005, "access violation"),
    (0xC000_0006, "a page could not be read"),
    (0xC000_0017, "no memory"),
    (0xC000_001D, "illegal instruction"),
    (0xC000_0094, "division by zero"),
    (0xC000_00FD, "stack overflow"),
    (0xC000_0409, "aborted"),
];

impl Loss {
    /// What the system says of a process that has ended.
    pub fn of(status: ExitStatus) -> Loss {
        if let Some(signal) = signal(status) {
            let meaning = harm(signal).map_or("a signal", |(_, _, meaning)| meaning);
            // Whoever sends it by hand means no harm.
            let meaning = if signal == 15 { "terminated" } else { meaning };
            let status = format!("{meaning} (signal {signal})");
            return Loss::Ended { status, signal: Some(signal) };
        }
        let status = match (exception(status), status.code()) {
            (Some((code, meaning)), _) => format!("{meaning} (exception {code:#010x})"),
            (None, Some(0)) => "it said nothing of its outcome".to_owned(),
            (None, Some(code)) => format!("exit code {code}"),
            (None, None) => status.to_string(),
        };
        Loss::Ended { status, signal: None }
    }

    /// The name of what ended it, when that means that it came to harm or was ended by force.
    pub fn harm_of(status: ExitStatus) -> Option<String> {
        let of_signal = signal(status).and_then(harm).map(|(_, name, _)| name.to_owned());
        of_signal.or_else(|| exception(status).map(|(code, _)| format!("exception {code:#010x}")))
    }
}

fn harm(signal: i32) -> Option<Harm> {
    HARMS.into_iter().find(|(number, _, _)| *number == on_linux(signal))
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal(_: ExitStatus) -> Option<i32> {
    None
}

/// On Windows, what ended a process that did not end by itself.
fn exception(status: ExitStatus) -> Option<(u32, &'static str)> {
    let code = status.code().filter(|_| cfg!(windows))?.cast_unsigned();
    EXCEPTIONS.into_iter().find(|(known, _)| *known == code)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn harm_is_told_from_an_end_that_somebody_wanted() {
        let check = |signal: i32, name: Option<&str>, expected: &str| {
            let status = ExitStatus::from_raw(signal);
            assert_eq!(Loss::harm_of(status).as_deref(), name);
            let expected = format!("{expected} (signal {signal})");
            assert_eq!(Loss::of(status), Loss::Ended { status: expected, signal: Some(signal) });
        };
        check(6, Some("SIGABRT"), "aborted");
        check(8, Some("SIGFPE"), "arithmetic error");
        check(9, Some("SIGKILL"), "killed, perhaps by the system for want of memory");
        check(11, Some("SIGSEGV"), "segmentation fault");
        check(2, None, "a signal");
        check(15, None, "terminated");
        let failed = ExitStatus::from_raw(1 << 8);
        assert_eq!(Loss::harm_of(failed), None);
        let status = "exit code 1".to_owned();
        assert_eq!(Loss::of(failed), Loss::Ended { status, signal: None });
    }
}
