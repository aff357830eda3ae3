//! A process that guards another one of this program, to say what ended it.
//!
//! The libraries that run models crash on files that are damaged or made to do harm, a file that is
//! cut off while it is mapped ends whoever reads it, and a system without memory ends whom it
//! likes. Nobody inside such a process can say so. Hence a program may start itself once more with
//! the same arguments and the same standard streams, let that process do the work, and wait: if it
//! comes to harm, the guard knows what it was doing ([`doing`]) and says so ([`Lost`]).
//!
//! A library cannot be stopped while it opens a model. Who asks for an end meanwhile gets it from the
//! guard, which ends the process when that has not done so itself within half a second.
//!
//! To the user the two are one program: they are in one process group, so that Ctrl-C and Ctrl-Z
//! reach both; what is sent to the guard alone it passes on; and none outlives the other.

pub mod doing;
mod lost;
#[cfg(unix)]
mod signals;

use std::ffi::OsStr;
use std::process::{Child, Command, ExitStatus};

use crate::trial::Stage;

use doing::{Doing, Page};

pub use lost::Lost;
#[cfg(unix)]
pub use signals::{end_as, is_ignored};

/// Be guarded, if `told` is what a [`Guarded`] of this process's parent put into the environment:
/// from here on this process ends with that one, and [`doing`] is heard. Its process id.
pub fn obey(told: &OsStr) -> Option<u32> {
    let (guard, page) = told.to_str()?.split_once(':')?;
    let guard = guard.parse().ok()?;
    // A child of the child inherits the variable, and is not meant.
    #[cfg(unix)]
    if guard != std::os::unix::process::parent_id() {
        return None;
    }
    #[cfg(unix)]
    signals::end_with_guard(guard);
    doing::write_to(page.as_ref());
    Some(guard)
}

/// The process that does the work.
pub struct Guarded {
    child: Child,
    page: Option<Page>,
    #[cfg(unix)]
    heard: nix::sys::signal::SigSet,
}

/// How it ended.
pub struct Ended {
    /// As the system tells it.
    pub status: ExitStatus,
    /// What it did.
    pub doing: Option<Doing>,
    /// The signal for which the guard ended it.
    pub by: Option<i32>,
}

impl Guarded {
    /// Start `command`, which finds what [`obey`] wants in the environment `variable`.
    ///
    /// Do so and [`Guarded::wait`] before this program has other threads, which signals would reach
    /// instead, and with SIGCHLD at its default: where it is ignored, nobody hears of an end.
    ///
    /// # Errors
    ///
    /// When there is no process to be had.
    pub fn start(mut command: Command, variable: &str) -> std::io::Result<Guarded> {
        let page = Page::new();
        let path = page.as_ref().map_or_else(String::new, |page| page.path().display().to_string());
        command.env(variable, format!("{}:{path}", std::process::id()));
        Ok(Guarded {
            // Found out before: no signal is to come between the start and the wait.
            #[cfg(unix)]
            heard: signals::heard(),
            child: command.spawn()?,
            page,
        })
    }

    /// Wait for its end, and pass on what is sent to this process.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn wait(self) -> std::io::Result<Ended> {
        #[cfg(unix)]
        return signals::wait_for(self);
        #[cfg(not(unix))]
        {
            let mut guarded = self;
            let status = guarded.child.wait()?;
            Ok(Ended { status, doing: guarded.doing(), by: None })
        }
    }

    fn doing(&self) -> Option<Doing> {
        self.page.as_ref().and_then(Page::read)
    }

    /// Whether a library loads, compiles or first runs a model, which nobody can stop. To end the
    /// process then leaves nothing half done: what it writes meanwhile is the compile cache and the
    /// ledger, whose files are there whole or not at all, and no answer has begun.
    #[cfg(unix)]
    fn is_opening(&self) -> bool {
        let stages = [Stage::Library, Stage::Compile, Stage::Inference];
        self.doing().is_some_and(|doing| stages.contains(&doing.stage))
    }

    #[cfg(unix)]
    fn ended(&mut self, by: Option<i32>) -> std::io::Result<Option<Ended>> {
        let status = self.child.try_wait()?;
        Ok(status.map(|status| Ended { status, doing: self.doing(), by }))
    }
}
