//! A second process of this program that outlives it, to say what ended it.
//!
//! The libraries that run models crash on files that are damaged or made to do harm, a file that is
//! cut off while it is mapped ends whoever reads it, and a system without memory ends whom it
//! likes. Nobody inside such a process can say so. Hence the program that the user starts only
//! guards: it starts itself once more with the same arguments, which does the work with the same
//! standard streams, and passes its exit code on. If that one comes to harm, the guard says what it
//! was doing ([`doing`]) and ends with 1.
//!
//! A library cannot be stopped while it opens a model. Who asks for an end meanwhile gets it from the
//! guard, which ends the process when that has not done so itself within half a second.
//!
//! To the user the two are one program: they are in one process group, so that Ctrl-C and Ctrl-Z
//! reach both; what is sent to the guard alone it passes on ([`signals`]); and none outlives the
//! other.

pub mod doing;
mod lost;
#[cfg(unix)]
mod signals;

use std::process::{Child, Command, ExitStatus};

use anyhow::Context as _;
use lapwing_host::trial::Stage;
use lapwing_host::worker::Loss;

use crate::env::LAPWING_GUARD;
use crate::exit::{self, EXIT_FAILED};
use crate::interrupt::Interrupted;
use crate::printer::Printer;

use doing::{Doing, Page};

pub use lost::Lost;

/// The exit code of a panic, which has said itself what it is.
const EXIT_PANICKED: i32 = 101;

/// Whether this process does the work of one that guards it. From here on it ends with that one,
/// and [`doing`] is heard.
pub fn is_guarded() -> bool {
    let Some(value) = std::env::var_os(LAPWING_GUARD) else { return false };
    #[cfg_attr(not(unix), allow(unused_variables, reason = "the system does not tell a parent"))]
    let Some((guard, page)) = value.to_str().and_then(|value| value.split_once(':')) else {
        return false;
    };
    // A child of the child inherits the variable, and is not meant.
    #[cfg(unix)]
    match guard.parse() {
        Ok(guard) if guard == std::os::unix::process::parent_id() => signals::end_with_guard(guard),
        _ => return false,
    }
    doing::write_to(page.as_ref());
    #[cfg(unix)]
    if let Ok(guard) = guard.parse() {
        crate::interrupt::passed_on_by(guard, doing::n_passed_on);
    }
    true
}

/// Start this program once more with the same arguments and wait for it; its exit code. `None` when
/// there is no other process to be had, and this one has to do the work.
///
/// # Errors
///
/// When the process came to harm: a [`Lost`].
pub fn run(printer: &Printer) -> anyhow::Result<Option<u8>> {
    let page = Page::new();
    let Some(child) = start(page.as_ref()) else { return Ok(None) };
    let worker = Worker { child, page };
    #[cfg(unix)]
    let ended = signals::wait_for(worker);
    #[cfg(not(unix))]
    let ended = wait_for(worker);
    let Ended { status, doing, by } = ended.context(CANNOT_WAIT)?;
    match by {
        Some(signal) if Loss::harm_of(status).is_some() => {
            printer.note(Interrupted);
            Ok(Some(exit::of_signal(signal)))
        }
        _ => outcome(status, doing, printer).map(Some),
    }
}

const CANNOT_WAIT: &str = "cannot wait for the process that does the work";

/// The process that does the work.
struct Worker {
    child: Child,
    page: Option<Page>,
}

/// How it ended.
struct Ended {
    status: ExitStatus,
    /// What it did.
    doing: Option<Doing>,
    /// The signal for which the guard ended it.
    by: Option<i32>,
}

impl Worker {
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

    fn ended(&mut self, by: Option<i32>) -> std::io::Result<Option<Ended>> {
        let status = self.child.try_wait()?;
        Ok(status.map(|status| Ended { status, doing: self.doing(), by }))
    }
}

fn start(page: Option<&Page>) -> Option<Child> {
    let this = std::env::current_exe().inspect_err(cannot_guard).ok()?;
    let path = page.map_or_else(String::new, |page| page.path().display().to_string());
    let mut command = Command::new(this);
    command.args(std::env::args_os().skip(1));
    command.env(LAPWING_GUARD, format!("{}:{path}", std::process::id()));
    command.spawn().inspect_err(cannot_guard).ok()
}

fn cannot_guard(error: &std::io::Error) {
    tracing::debug!(%error, "no process to be had: a crash would be told by the system alone");
}

/// Consoles send Ctrl-C to both processes; the other one decides.
#[cfg(not(unix))]
fn wait_for(mut worker: Worker) -> std::io::Result<Ended> {
    crate::interrupt::ignore();
    let status = worker.child.wait()?;
    Ok(Ended { status, doing: worker.doing(), by: None })
}

/// What the end of the process that did the work means.
fn outcome(status: ExitStatus, doing: Option<Doing>, printer: &Printer) -> anyhow::Result<u8> {
    let code = status.code();
    let harm = Loss::harm_of(status);
    let doing = match doing {
        // Libraries may fall over their own feet while they are unloaded.
        Some(Doing { stage: Stage::End, exit_code, .. }) => {
            if let Some(harm) = harm {
                printer.warning(format!("{harm} ended the process after its work was done"));
            }
            return Ok(exit_code);
        }
        doing => doing,
    };
    match (harm, code) {
        (Some(harm), _) => Err(Lost::new(harm, Loss::of(status), doing).into()),
        // What ends a process in order, such as Ctrl-C, ends this one in the same way.
        (None, None) => {
            #[cfg(unix)]
            signals::end_as(status);
            Ok(EXIT_FAILED)
        }
        // A library may call `exit`, with any code.
        (None, Some(code)) if doing.is_some() && !says_itself(code) => {
            let harm = format!("exit code {code}");
            Err(Lost::new(harm, Loss::of(status), doing).into())
        }
        (None, Some(code)) => Ok(u8::try_from(code).unwrap_or(EXIT_FAILED)),
    }
}

/// Whether the program ends with this code in the middle of things.
fn says_itself(code: i32) -> bool {
    code == EXIT_PANICKED || u8::try_from(code).is_ok_and(exit::was_wanted)
}
