//! The second process of this program that outlives it, to say what ended it: what its end means for
//! the user. See [`lapwing_host::guard`].

use std::process::{Command, ExitStatus};

use anyhow::Context as _;
use lapwing_host::guard::doing::{self, Doing};
use lapwing_host::guard::{self, Ended, Guarded, Lost};
use lapwing_host::trial::Stage;
use lapwing_host::worker::Loss;

use crate::env::LAPWING_GUARD;
use crate::exit::{self, EXIT_FAILED};
use crate::interrupt::{self, Interrupted};
use crate::printer::Printer;

/// The exit code of a panic, which has said itself what it is.
const EXIT_PANICKED: i32 = 101;

/// Whether this process does the work of one that guards it. From here on it ends with that one,
/// and [`doing`] is heard.
pub fn is_guarded() -> bool {
    let guard = std::env::var_os(LAPWING_GUARD).and_then(|told| guard::obey(&told));
    #[cfg(unix)]
    if let Some(guard) = guard {
        interrupt::passed_on_by(guard, doing::n_passed_on);
    }
    guard.is_some()
}

/// Start this program once more with the same arguments and wait for it; its exit code. `None` when
/// there is no other process to be had, and this one has to do the work.
///
/// # Errors
///
/// When the process came to harm: a [`Lost`].
pub fn run(printer: &Printer) -> anyhow::Result<Option<u8>> {
    let start = || {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(std::env::args_os().skip(1));
        Guarded::start(command, LAPWING_GUARD)
    };
    let guarded = match start() {
        Ok(guarded) => guarded,
        Err(error) => {
            tracing::debug!(%error, "no process to be had: a crash would be told by the system alone");
            return Ok(None);
        }
    };
    // Consoles send Ctrl-C to both processes; the other one decides.
    #[cfg(not(unix))]
    interrupt::ignore();
    let ended = guarded.wait().context("cannot wait for the process that does the work")?;
    let Ended { status, doing, by } = ended;
    match by {
        Some(signal) if Loss::harm_of(status).is_some() => {
            printer.note(Interrupted);
            Ok(Some(exit::of_signal(signal)))
        }
        _ => outcome(status, doing, printer).map(Some),
    }
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
            guard::end_as(status);
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
