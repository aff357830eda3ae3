//! Two processes that to whoever sends signals are one.

use std::io;
use std::os::unix::process::{ExitStatusExt as _, parent_id};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};
use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::unistd::Pid;

use super::{Ended, Guarded};

/// What asks for an end of the work or of the program, which the other process counts.
const ENDS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
/// What is passed on when it was sent to the guard alone.
const PASSED_ON: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// What a process that opens a model gets to end by itself when it is asked to: it ends a trial in
/// another process, or has been opened just now.
const GRACE: Duration = Duration::from_millis(500);

/// Let this process end when its guard does, however that ends.
pub(super) fn end_with_guard(guard: u32) {
    let end_if_gone = move || {
        if parent_id() != guard {
            let _ = raise(Signal::SIGKILL);
        }
    };
    #[cfg(target_os = "linux")]
    // Refused on no Linux; without it an orphan would end when its work is done.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    #[cfg(not(target_os = "linux"))]
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(std::time::Duration::from_secs(1));
            end_if_gone();
        }
    });
    // It may have ended before this was asked for.
    end_if_gone();
}

/// Whether whoever started this program lets it ignore a signal, as `nohup` does with SIGHUP and a
/// shell with SIGINT for what runs in the background. To be asked before anything listens to it.
pub fn is_ignored(signal: i32) -> bool {
    is_ignored_in(&own_status(), signal)
}

/// Nothing where there is no such file.
fn own_status() -> String {
    regular::read_text("/proc/self/status".as_ref(), N_TEXT_BYTES_MAX).unwrap_or_default()
}

/// As `proc(5)` has it: the first signal is the lowest bit.
fn is_ignored_in(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    (1..=64).contains(&signal) && mask >> (signal - 1) & 1 == 1
}

/// What a guard hears: what is passed on, and what comes of its child. What is ignored would come,
/// too, once it is blocked.
pub(super) fn heard() -> SigSet {
    let status = own_status();
    let mut heard = SigSet::empty();
    for signal in PASSED_ON.into_iter().chain([Signal::SIGTSTP]) {
        if !is_ignored_in(&status, signal as i32) {
            heard.add(signal);
        }
    }
    heard.add(Signal::SIGCHLD);
    heard
}

/// Wait for the end of the process that does the work.
pub(super) fn wait_for(guarded: Guarded) -> io::Result<Ended> {
    let heard = guarded.heard;
    // Not before the child was started, which would inherit it. A signal that comes between the two
    // ends both.
    heard.thread_block()?;
    let signals = Signals::new(&heard)?;
    let pid = Pid::from_raw(guarded.child.id().cast_signed());
    let shared = Shared(Arc::new(Mutex::new((guarded, None))));
    let mut n_passed_on = 0;
    let mut pass_on = |signal| {
        n_passed_on += u64::from(ENDS.contains(&signal));
        shared.passes_on(n_passed_on);
        // It may have ended just now.
        let _ = kill(pid, signal);
    };
    let ended = loop {
        if let Some(ended) = shared.ended()? {
            break ended;
        }
        let Some(Heard { signal, is_for_both }) = signals.next(pid)? else { continue };
        if !is_for_both && signal != Signal::SIGCHLD {
            pass_on(signal);
        }
        if ENDS.contains(&signal) {
            shared.end_opening(signal);
        }
        if signal == Signal::SIGTSTP {
            stop(signal)?;
            let _ = kill(pid, Signal::SIGCONT);
        }
    };
    heard.thread_unblock()?;
    Ok(ended)
}

/// The process that does the work, to wait for and to end.
struct Shared(Arc<Mutex<(Guarded, Option<i32>)>>);

impl Shared {
    fn locked(of: &Mutex<(Guarded, Option<i32>)>) -> MutexGuard<'_, (Guarded, Option<i32>)> {
        of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> io::Result<Option<Ended>> {
        let (guarded, by) = &mut *Self::locked(&self.0);
        guarded.ended(*by)
    }

    /// Tell it that so many signals are passed on, with the one that comes now.
    fn passes_on(&self, n_signals: u64) {
        let (guarded, _) = &*Self::locked(&self.0);
        guarded.page.iter().for_each(|page| page.passes_on(n_signals));
    }

    /// End it after [`GRACE`] if it opens a model then.
    fn end_opening(&self, signal: Signal) {
        let of = Arc::clone(&self.0);
        let end = move || {
            std::thread::sleep(GRACE);
            let (guarded, by) = &mut *Self::locked(&of);
            // Of one that has ended already nobody else gets the signal.
            if by.is_none() && guarded.is_opening() && guarded.child.kill().is_ok() {
                *by = Some(signal as i32);
            }
        };
        // Without a thread it is waited for.
        let _ = std::thread::Builder::new().name("end".to_owned()).spawn(end);
    }
}

/// Stop as the shell expects it, until somebody lets this process go on.
fn stop(signal: Signal) -> io::Result<()> {
    let mut only = SigSet::empty();
    only.add(signal);
    only.thread_unblock()?;
    raise(signal)?;
    Ok(only.thread_block()?)
}

/// End as a process ended that a signal ended.
pub fn end_as(status: ExitStatus) {
    if let Some(signal) = status.signal().and_then(|signal| Signal::try_from(signal).ok()) {
        // Where it is ignored, the exit code says that something failed.
        let _ = raise(signal);
    }
}

/// A signal.
struct Heard {
    signal: Signal,
    /// Whether the other process has it too: a terminal sends to all, but for SIGHUP, which the
    /// leader of its session has alone; and so does the other process when it stops its group.
    is_for_both: bool,
}

#[cfg(target_os = "linux")]
struct Signals(nix::sys::signalfd::SignalFd);

#[cfg(target_os = "linux")]
impl Signals {
    fn new(heard: &SigSet) -> io::Result<Signals> {
        use nix::sys::signalfd::{SfdFlags, SignalFd};
        Ok(Signals(SignalFd::with_flags(heard, SfdFlags::SFD_CLOEXEC)?))
    }

    /// The next signal, or none when the wait was disturbed.
    fn next(&self, guarded: Pid) -> io::Result<Option<Heard>> {
        // As `sigaction(2)` says of what the kernel itself sends.
        const SI_KERNEL: i32 = 0x80;
        let info = match self.0.read_signal() {
            Ok(Some(info)) => info,
            Ok(None) | Err(nix::errno::Errno::EINTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Ok(signal) = Signal::try_from(info.ssi_signo.cast_signed()) else { return Ok(None) };
        let is_of_guarded = info.ssi_pid == guarded.as_raw().cast_unsigned();
        let is_of_terminal = info.ssi_code == SI_KERNEL && signal != Signal::SIGHUP;
        Ok(Some(Heard { signal, is_for_both: is_of_terminal || is_of_guarded }))
    }
}

/// Who sent a signal is not told here: all of them are passed on.
#[cfg(not(target_os = "linux"))]
struct Signals(SigSet);

#[cfg(not(target_os = "linux"))]
impl Signals {
    fn new(heard: &SigSet) -> io::Result<Signals> {
        Ok(Signals(*heard))
    }

    fn next(&self, _: Pid) -> io::Result<Option<Heard>> {
        Ok(Some(Heard { signal: self.0.wait()?, is_for_both: false }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_mask() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001003\nSigCgt:\t0\n";
        let ignored = (-1..70).filter(|&signal| is_ignored_in(status, signal));
        assert_eq!(ignored.collect::<Vec<_>>(), [1, 2, 13]);
        assert!(!is_ignored_in("Name:\tx\n", 1));
    }
}
