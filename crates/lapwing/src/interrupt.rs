//! Ctrl-C: noticed once, acted on by whoever is busy.
//!
//! The handler only raises a flag; loops ask [`requested`] and clean up. A second Ctrl-C before
//! they have ends the program at once, but where that would cost the user more than the work in
//! hand ([`only_stopping`]).

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use lapwing_export::ExportError;
use lapwing_host::worker::WorkerError;
use lapwing_store::natives::PullRuntimeError;
use lapwing_store::{PullError, StoreError};

use crate::exit;

static REQUESTED: AtomicBool = AtomicBool::new(false);
/// When the last signal came that counted.
static LAST: Mutex<Option<Instant>> = Mutex::new(None);
/// Signals that come in so short a time are one: whoever ends a group of processes sends it to this
/// one and to its guard, which passes it on. Nobody presses keys as fast.
const SAME: Duration = Duration::from_millis(100);
/// Whether no number of requests ends the program.
static ONLY_STOPS: AtomicBool = AtomicBool::new(false);
static INSTALLED: OnceLock<bool> = OnceLock::new();

/// Take over SIGINT, SIGTERM and SIGHUP from now on. Further calls do nothing.
///
/// When the system refuses, Ctrl-C keeps ending the program: nothing relies on more.
pub fn install() {
    INSTALLED.get_or_init(|| ctrlc::set_handler(on_signal).is_ok());
}

/// Let the user's wish to stop pass this process by.
#[cfg(not(unix))]
pub fn ignore() {
    // When the system refuses, this process ends first, and the other one with it.
    let _ = ctrlc::set_handler(|| {});
}

fn on_signal() {
    let now = Instant::now();
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_some_and(|last| now.duration_since(last) < SAME) {
        return;
    }
    *last = Some(now);
    if REQUESTED.swap(true, Ordering::SeqCst) && !ONLY_STOPS.load(Ordering::SeqCst) {
        #[allow(clippy::exit, reason = "the user asked twice; nobody is left to return to")]
        std::process::exit(exit::EXIT_INTERRUPTED.into());
    }
}

/// Whether the user wants the current work to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
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

/// Do `work`, which any number of Ctrl-C only stops; then they are forgotten, and the program goes on
/// (a chat).
pub fn only_stopping<T>(work: impl FnOnce() -> T) -> T {
    ONLY_STOPS.store(true, Ordering::SeqCst);
    let done = work();
    REQUESTED.store(false, Ordering::SeqCst);
    ONLY_STOPS.store(false, Ordering::SeqCst);
    done
}
