//! Signals, and who sent them.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lapwing_host::guard::is_ignored;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;

use super::{ASKED, Heard, hear};

/// What passes signals on to this process.
static GUARD: OnceLock<Guard> = OnceLock::new();
/// Whether somebody may be typing.
static TYPES: AtomicBool = AtomicBool::new(false);
/// How often who waits for keys is disturbed: a signal that comes right before he waits is lost.
const DISTURB_EVERY: Duration = Duration::from_millis(20);

/// Who signals a group of processes sends to this one and to its guard, which passes its copy on.
struct Guard {
    pid: u32,
    /// How many it has passed on, told before each one; nothing where it cannot tell.
    n_passed_on: fn() -> Option<u64>,
    /// Those of them that were counted.
    n_counted: AtomicU64,
}

/// What the process `guard` hears it passes on to this one.
pub(crate) fn passed_on_by(guard: u32, n_passed_on: fn() -> Option<u64>) {
    let _ = GUARD.set(Guard { pid: guard, n_passed_on, n_counted: AtomicU64::new(0) });
}

/// Hear signals from now on, but for those that this program was started to ignore.
pub(super) fn listen() -> io::Result<()> {
    let heard = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| !is_ignored(signal));
    let mut signals = SignalsInfo::<WithOrigin>::new(heard)?;
    let listen = move || {
        for origin in &mut signals {
            let sender = origin.process.as_ref().map(|process| process.pid.cast_unsigned());
            // The others are this process's own, to disturb itself.
            if sender != Some(std::process::id()) {
                let n_signals = n_signals(origin.signal, sender, GUARD.get());
                hear(Heard { signal: origin.signal, n_signals });
            }
            disturb_typing();
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(listen).map(drop)
}

/// How many signals this one stands for. What a guard passes on counts, and what it does not pass on
/// since the system has sent it to both, as a terminal does with Ctrl-C; all else comes in two
/// copies. Two of one kind that wait are one to the system, and nobody knows then who sent the
/// second: so it is the guard's number that counts, and not its copy.
fn n_signals(signal: i32, sender: Option<u32>, guard: Option<&Guard>) -> u64 {
    let Some(Guard { pid, n_passed_on, n_counted }) = guard else { return 1 };
    let is_of_terminal = cfg!(target_os = "linux") && sender.is_none() && signal != SIGHUP;
    let n_passed_on = match n_passed_on() {
        Some(n_all) => n_all.saturating_sub(n_counted.swap(n_all, Ordering::SeqCst)),
        None => u64::from(sender == Some(*pid)),
    };
    u64::from(is_of_terminal) + n_passed_on
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
    if !ASKED.ends() || !TYPES.load(Ordering::SeqCst) {
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
        let guarded = |n_passed_on| Guard { pid: 7, n_passed_on, n_counted: AtomicU64::new(0) };
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            assert_eq!(n_signals(signal, shell, None), 1, "nobody passes anything on");
            assert_eq!(n_signals(signal, None, None), 1);
            // The guard passes two on, and the copy of the first is the second's too.
            let tells = guarded(|| Some(2));
            assert_eq!(n_signals(signal, shell, Some(&tells)), 2);
            assert_eq!(n_signals(signal, guard, Some(&tells)), 0);
            let is_silent = guarded(|| None);
            assert_eq!(n_signals(signal, guard, Some(&is_silent)), 1);
            assert_eq!(n_signals(signal, shell, Some(&is_silent)), 0);
        }
        let tells = guarded(|| Some(0));
        let of_terminal = u64::from(cfg!(target_os = "linux"));
        assert_eq!(n_signals(SIGINT, None, Some(&tells)), of_terminal);
        assert_eq!(n_signals(SIGHUP, None, Some(&tells)), 0, "the guard passes it on");
    }
}
