//! Ctrl-C: noticed once, acted on by whoever is busy.
//!
//! Whoever hears a signal only raises a flag; loops ask [`requested`] and clean up. A second one
//! before they have ends the program at once, but where that would cost the user more than the work
//! in hand ([`only_stopping`]). SIGTERM and SIGHUP ask for the program's end, which nobody forgets.

#[cfg(unix)]
mod signals;

use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use lapwing_export::ExportError;
use lapwing_host::worker::WorkerError;
use lapwing_store::natives::PullRuntimeError;
use lapwing_store::{PullError, StoreError};

use crate::exit;

#[cfg(unix)]
pub(crate) use signals::passed_on_by;

static ASKED: Asked = Asked::nothing();
static INSTALLED: OnceLock<bool> = OnceLock::new();

/// Take over SIGINT, SIGTERM and SIGHUP from now on. Further calls do nothing.
///
/// When the system refuses, Ctrl-C keeps ending the program: nothing relies on more.
pub fn install() {
    INSTALLED.get_or_init(|| {
        #[cfg(unix)]
        let listens = signals::listen().is_ok();
        #[cfg(not(unix))]
        let listens = ctrlc::set_handler(|| hear(Heard { signal: SIGINT, n_signals: 1 })).is_ok();
        listens
    });
}

/// Let the user's wish to stop pass this process by.
#[cfg(not(unix))]
pub fn ignore() {
    // When the system refuses, this process ends first, and the other one with it.
    let _ = ctrlc::set_handler(|| {});
}

/// What asks for the end of the work in hand; all else asks for that of the program.
const SIGINT: i32 = 2;

/// A signal that asks for something.
#[derive(Clone, Copy)]
struct Heard {
    /// Its number.
    signal: i32,
    /// How many signals it stands for: none where it is a second copy of one.
    n_signals: u64,
}

fn hear(heard: Heard) {
    if ASKED.hear(heard) {
        #[allow(clippy::exit, reason = "the user asked twice; nobody is left to return to")]
        std::process::exit(exit_code().into());
    }
}

/// What was asked for so far.
struct Asked {
    /// That the work in hand stops.
    stop: AtomicBool,
    /// That the program ends: the number of the first signal that asked for it, or 0.
    end: AtomicI32,
    /// Signals that count, of which the second ends the program at once.
    n_signals: AtomicU64,
    /// What asks for a stop does not count.
    only_stops: AtomicBool,
}

impl Asked {
    const fn nothing() -> Asked {
        Asked {
            stop: AtomicBool::new(false),
            end: AtomicI32::new(0),
            n_signals: AtomicU64::new(0),
            only_stops: AtomicBool::new(false),
        }
    }

    /// Take note; whether the program is to end at once.
    fn hear(&self, Heard { signal, n_signals }: Heard) -> bool {
        let ends = signal != SIGINT;
        match ends {
            // Of several the first counts.
            true => drop(self.end.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst)),
            false => self.stop.store(true, Ordering::SeqCst),
        }
        if !ends && self.only_stops.load(Ordering::SeqCst) {
            return false;
        }
        let n_before = self.n_signals.fetch_add(n_signals, Ordering::SeqCst);
        2 <= n_before + n_signals && n_signals != 0
    }

    fn anything(&self) -> bool {
        self.stop.load(Ordering::SeqCst) || self.ends()
    }

    fn ends(&self) -> bool {
        self.end.load(Ordering::SeqCst) != 0
    }

    fn exit_code(&self) -> u8 {
        match self.end.load(Ordering::SeqCst) {
            0 => exit::EXIT_INTERRUPTED,
            signal => exit::of_signal(signal),
        }
    }
}

/// Whether the user wants the current work to stop.
pub fn requested() -> bool {
    ASKED.anything()
}

/// What the program ends with when it was stopped.
pub fn exit_code() -> u8 {
    ASKED.exit_code()
}

/// The user ended the program with Ctrl-C.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Whether the user's wish to stop is what an error comes from.
pub fn is_cause_of(error: &anyhow::Error) -> bool {
    error.chain().any(is_stop)
}

/// Whether one cause of an error is the user's wish to stop.
pub fn is_stop(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.is::<Interrupted>()
        || matches!(cause.downcast_ref(), Some(WorkerError::Stopped))
        || matches!(cause.downcast_ref(), Some(ExportError::Stopped))
        || matches!(cause.downcast_ref(), Some(StoreError::Interrupted))
        || cause.downcast_ref().is_some_and(PullError::is_stop)
        || cause.downcast_ref().is_some_and(PullRuntimeError::is_stop)
}

/// Stop here when the user wants the current work to stop.
pub fn check() -> Result<(), Interrupted> {
    if requested() { Err(Interrupted) } else { Ok(()) }
}

/// What a loop is told: to stop when the user wants that, or when it `is_over` anyway.
pub fn flow(is_over: bool) -> ControlFlow<()> {
    if is_over || requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Do `work`, in which any number of Ctrl-C only stops what is in hand (a chat). Whoever goes on then
/// asks to [`forget`] them.
pub fn only_stopping<T>(work: impl FnOnce() -> T) -> T {
    ASKED.only_stops.store(true, Ordering::SeqCst);
    let done = work();
    ASKED.only_stops.store(false, Ordering::SeqCst);
    done
}

/// Forget that a stop was asked for: what was to stop is over. An end that was asked for stays.
pub fn forget() {
    ASKED.stop.store(false, Ordering::SeqCst);
}

/// Let somebody type as long as no end is asked for; then `typing` is disturbed by SIGINT, which has
/// to end it.
pub fn while_typing<T>(typing: impl FnOnce() -> T) -> T {
    #[cfg(unix)]
    signals::begin_typing();
    let typed = typing();
    #[cfg(unix)]
    signals::end_typing();
    typed
}

#[cfg(test)]
mod tests {
    use super::*;

    const CTRL_C: Heard = Heard { signal: SIGINT, n_signals: 1 };
    const COPY: Heard = Heard { n_signals: 0, ..CTRL_C };
    const END: Heard = Heard { signal: 15, n_signals: 1 };

    #[test]
    fn a_second_signal_ends_the_program_however_soon_it_comes_and_a_copy_does_not() {
        let check = |only_stops: bool, heard: &[Heard], ends_at: Option<usize>| {
            let asked = Asked { only_stops: AtomicBool::new(only_stops), ..Asked::nothing() };
            assert!(!asked.anything());
            let found = heard.iter().position(|&heard| asked.hear(heard));
            assert_eq!(found, ends_at);
            assert!(asked.anything());
        };
        check(false, &[CTRL_C, CTRL_C], Some(1));
        check(false, &[CTRL_C, COPY], None);
        check(false, &[COPY, CTRL_C], None);
        check(false, &[COPY, CTRL_C, COPY, CTRL_C], Some(3));
        check(false, &[CTRL_C, END], Some(1));
        check(true, &[CTRL_C, CTRL_C, CTRL_C], None);
        check(true, &[CTRL_C, CTRL_C, END], None);
        check(true, &[CTRL_C, END, CTRL_C], None);
        check(true, &[END, END], Some(1));
        // Copies that came together.
        check(false, &[Heard { n_signals: 2, ..CTRL_C }], Some(0));
        check(false, &[CTRL_C, COPY, COPY], None);
    }

    #[test]
    fn the_first_signal_that_asks_for_an_end_is_told_to_the_shell() {
        let check = |heard: &[i32], expected: u8| {
            let asked = Asked::nothing();
            for &signal in heard {
                asked.hear(Heard { signal, n_signals: 1 });
            }
            assert_eq!(asked.exit_code(), expected, "{heard:?}");
        };
        check(&[2], exit::EXIT_INTERRUPTED);
        check(&[15], exit::EXIT_TERMINATED);
        check(&[1], exit::EXIT_HUNG_UP);
        check(&[2, 15], exit::EXIT_TERMINATED);
        check(&[1, 15, 2], exit::EXIT_HUNG_UP);
    }
}
