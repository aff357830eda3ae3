//! How this program starts itself once more, as a [worker](crate::worker).

use std::process::Command;

use crate::cli::WorkerKind;
use crate::settings::Settings;
use crate::worker::WorkerError;

/// The command line of a worker that tries devices.
///
/// # Errors
///
/// When the system does not tell which program this is.
pub fn for_trials(settings: &Settings) -> Result<Command, WorkerError> {
    as_worker(WorkerKind::Trial, settings)
}

/// The command line of a worker that measures.
///
/// # Errors
///
/// As [`for_trials`].
pub fn for_measuring(settings: &Settings) -> Result<Command, WorkerError> {
    as_worker(WorkerKind::Bench, settings)
}

/// Environment and settings file are the same on both sides.
fn as_worker(kind: WorkerKind, settings: &Settings) -> Result<Command, WorkerError> {
    let program = std::env::current_exe().map_err(WorkerError::Start)?;
    let mut command = Command::new(program);
    command.arg("worker").arg(match kind {
        WorkerKind::Trial => "trial",
        WorkerKind::Bench => "bench",
    });
    if let Some(file) = &settings.file {
        command.arg("--config").arg(file);
    }
    command.args((0..settings.verbosity).map(|_| "-v"));
    Ok(command)
}
