//! Signals, and who sent them.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::exfiltrator::origin::Origin;

use super::{ASKED, Heard, hear};

/// The process that passes signals on to this one.
static GUARD: OnceLock<u32> = OnceLock::new();
/// Whether somebody may be typing.
static TYPES: AtomicBool = AtomicBool::new(false);
/// How often who waits for keys is disturbed: a signal that comes right before he waits is lost.
const DISTURB_EVERY: Duration = Duration::from_millis(20);

/// What `guard` hears it passes on to this process.
pub(crate) fn passed_on_by(guard: u32) {
    let _ = GUARD.set(guard);
}

/// Hear signals from now on.
pub(super) fn listen() -> io::Result<()> {
    let mut signals = SignalsInfo::<WithOrigin>::new([SIGINT, SIGTERM, SIGHUP])?;
    let listen = move || {
        for origin in &mut signals {
            let sender = origin.process.as_ref().map(|process| process.pid.cast_unsigned());
            if let Some(heard) = meant(&origin, sender, GUARD.get().copied()) {
                hear(heard);
            }
            disturb_typing();
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(listen).map(drop)
}

/// What a signal asks for; nothing where this process only disturbs itself.
fn meant(origin: &Origin, sender: Option<u32>, guard: Option<u32>) -> Option<Heard> {
    if sender == Some(std::process::id()) {
        return None;
    }
    Some(Heard { ends: origin.signal != SIGINT, counts: counts(origin.signal, sender, guard) })
}

/// Whether no other copy of a signal comes that counts. Who signals a group of processes sends to
/// this one and to its guard, which passes its copy on; it does so with all that the system itself
/// did not send to both, as a terminal does that sends Ctrl-C.
fn counts(signal: i32, sender: Option<u32>, guard: Option<u32>) -> bool {
    let of_terminal = cfg!(target_os = "linux") && signal != SIGHUP;
    match (guard, sender) {
        (None, _) => true,
        (Some(_), None) => of_terminal,
        (guard, sender) => guard == sender,
    }
}

/// Somebody may be typing from now on.
pub(super) fn begin_typing() {
    TYPES.store(true, Ordering::SeqCst);
    disturb_typing();
}

/// Nobody is typing any more.
pub(super) fn end_typing() {
    TYPES.store(false, Ordering::SeqCst);
}

/// Where an end was asked for, send SIGINT to this process until nobody types.
fn disturb_typing() {
    if !ASKED.end.load(Ordering::SeqCst) || !TYPES.load(Ordering::SeqCst) {
        return;
    }
    let disturb = || {
        while TYPES.load(Ordering::SeqCst) {
            // This process is there.
            let _ = kill(Pid::this(), Signal::SIGINT);
            std::thread::sleep(DISTURB_EVERY);
        }
    };
    // Without a thread the next key ends it.
    let _ = std::thread::Builder::new().name("disturb".to_owned()).spawn(disturb);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_signal_to_a_group_one_copy_counts() {
        let (guard, shell) = (Some(7), Some(5));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            assert!(counts(signal, shell, None), "nobody passes anything on");
            assert!(counts(signal, None, None));
            assert!(counts(signal, guard, guard));
            assert!(!counts(signal, shell, guard), "the guard has it too, and passes it on");
        }
        assert_eq!(counts(SIGINT, None, guard), cfg!(target_os = "linux"));
        assert!(!counts(SIGHUP, None, guard), "the guard passes it on");
    }
}
