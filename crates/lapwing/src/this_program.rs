//! How this program starts itself once more, as a [worker](lapwing_host::worker).

use std::path::Path;

use lapwing_host::worker::WorkerCommand;

use crate::cli::WorkerKind;

/// The command line of a worker. Environment and settings file are the same on both sides.
pub fn worker(kind: WorkerKind, settings_file: Option<&Path>, verbosity: u8) -> WorkerCommand {
    let kind = match kind {
        WorkerKind::Trial => "trial",
        WorkerKind::Bench => "bench",
        WorkerKind::Serve => "serve",
        WorkerKind::Pull => "pull",
    };
    let mut arguments = vec!["worker".into(), kind.into()];
    if let Some(file) = settings_file {
        arguments.extend(["--config".into(), file.into()]);
    }
    arguments.extend((0..verbosity).map(|_| "-v".into()));
    WorkerCommand { program: None, arguments }
}
