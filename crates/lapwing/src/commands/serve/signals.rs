//! What signals ask of the daemon.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
pub(super) enum Asked {
    /// The end.
    End,
    /// To read the settings again.
    Reload,
}

/// The signals of this process. None of them ends it at once any more.
#[cfg(unix)]
pub(super) struct Signals {
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
    hang_up: Option<Signal>,
    has_manager: bool,
}

#[cfg(unix)]
impl Signals {
    /// Those of a process that a service manager has started, or nobody: a terminal that is closed
    /// asks for the end, a service manager for reading the settings again.
    ///
    /// # Errors
    ///
    /// When the system does not tell of signals.
    pub(super) fn new(has_manager: bool) -> io::Result<Signals> {
        let heard = |kind: SignalKind| {
            let is_ignored = lapwing_host::guard::is_ignored(kind.as_raw_value());
            (!is_ignored).then(|| signal(kind)).transpose()
        };
        Ok(Signals {
            terminate: heard(SignalKind::terminate())?,
            interrupt: heard(SignalKind::interrupt())?,
            hang_up: heard(SignalKind::hangup())?,
            has_manager,
        })
    }

    /// What the next one asks for.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            () = comes(&mut self.terminate) => Asked::End,
            () = comes(&mut self.interrupt) => Asked::End,
            () = comes(&mut self.hang_up) => if self.has_manager { Asked::Reload } else { Asked::End },
        }
    }
}

/// Waits for a signal; for ever for one that was to be ignored.
#[cfg(unix)]
async fn comes(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(super) fn new(_: bool) -> io::Result<Signals> {
        Ok(Signals)
    }

    pub(super) async fn next(&mut self) -> Asked {
        let _ = tokio::signal::ctrl_c().await;
        Asked::End
    }
}
