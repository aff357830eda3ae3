//! Ctrl-C: noticed once, acted on by whoever is busy.
//!
//! The handler only raises a flag; loops ask [`requested`] and clean up. A second Ctrl-C before
//! anybody has looked ends the program at once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static INSTALLED: OnceLock<bool> = OnceLock::new();

/// The exit code of a program that a second Ctrl-C ended, as shells expect it.
const EXIT_INTERRUPTED: i32 = 130;

/// Take over SIGINT, SIGTERM and SIGHUP from now on. Further calls do nothing.
///
/// When the system refuses, Ctrl-C keeps ending the program: nothing relies on more.
pub fn install() {
    INSTALLED.get_or_init(|| ctrlc::set_handler(on_signal).is_ok());
}

fn on_signal() {
    if REQUESTED.swap(true, Ordering::SeqCst) {
        #[allow(clippy::exit, reason = "the user asked twice; nobody is left to return to")]
        std::process::exit(EXIT_INTERRUPTED);
    }
}

/// Whether the user wants the current work to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Forget the request: the work was stopped and the program goes on (a chat).
pub fn clear() {
    REQUESTED.store(false, Ordering::SeqCst);
}
