//! Settings as they were accepted, for the processes that hold models: they read them when they start,
//! and what stands in the file by then may be wrong.

use std::collections::VecDeque;
use std::fs::File;

use lapwing_host::worker::WorkerCommand;

use crate::cli::WorkerKind;
use crate::settings::Settings;

/// Settings that a process may still be about to read.
const N_KEPT: usize = 4;

/// The last settings that were accepted.
#[derive(Debug, Default)]
pub(super) struct Accepted(VecDeque<Copied>);

impl Accepted {
    /// Keep these, and forget those that no process reads any more.
    pub(super) fn keep(&mut self, copied: Copied) {
        self.0.push_back(copied);
        self.0.drain(..self.0.len().saturating_sub(N_KEPT));
    }
}

/// Settings in memory, readable as long as this lives.
#[derive(Debug)]
pub(super) struct Copied(#[expect(dead_code, reason = "it is open")] Option<File>);

/// How processes are started that read settings as they were accepted.
pub(super) struct Workers {
    /// One that holds a model.
    pub(super) serving: WorkerCommand,
    /// One that pulls models.
    pub(super) pulling: WorkerCommand,
}

/// A copy of `settings`, and how processes are started that read it. Where there are no files in memory
/// they read the settings file.
pub(super) fn copied(settings: &Settings) -> (Copied, Workers) {
    let workers = |worker: &dyn Fn(WorkerKind) -> WorkerCommand| Workers {
        serving: worker(WorkerKind::Serve),
        pulling: worker(WorkerKind::Pull),
    };
    #[cfg(target_os = "linux")]
    match in_memory(&settings.file_text) {
        Ok((file, path)) => {
            let workers = workers(&|kind| settings.worker_with(kind, &path));
            return (Copied(Some(file)), workers);
        }
        Err(error) => tracing::warn!(%error, "settings cannot be kept in memory"),
    }
    (Copied(None), workers(&|kind| settings.worker(kind)))
}

/// A file that exists in memory only, and where processes of this user find it.
#[cfg(target_os = "linux")]
fn in_memory(text: &str) -> std::io::Result<(File, std::path::PathBuf)> {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    use nix::sys::memfd::{MFdFlags, memfd_create};
    let mut file = File::from(memfd_create(c"lapwing.toml", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    Ok((file, path.into()))
}
