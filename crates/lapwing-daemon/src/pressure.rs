//! Memory pressure, as the kernel tells of it (PSI): while there is none, nothing wakes.
//!
//! The kernel is asked to tell when some task waited for memory for [`STALL_US`] of [`WINDOW_US`]. It
//! says so once in a window at most, and each time one idle model goes. Since Linux 6.4 every user may
//! ask it, for windows of whole multiples of two seconds; before, only who has `CAP_SYS_RESOURCE`.
//!
//! Source: `Documentation/accounting/psi.rst` of the kernel.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lapwing_measure::reading::SystemFiles;

use crate::models::{Leave, Models};

/// Where the kernel tells of all tasks of this machine.
const FILE: &str = "proc/pressure/memory";
/// Microseconds for which some task waits for memory before the kernel says so.
const STALL_US: u64 = 150_000;
/// Microseconds in which it does.
const WINDOW_US: u64 = 2_000_000;

/// What is heard of memory pressure.
#[derive(Debug)]
pub(crate) struct Pressure {
    files: SystemFiles,
    /// How often the kernel said that memory is short.
    n_told: AtomicU64,
    /// Why nothing is heard.
    unheard: OnceLock<String>,
}

impl Pressure {
    pub(crate) fn new(files: SystemFiles) -> Pressure {
        Pressure { files, n_told: AtomicU64::new(0), unheard: OnceLock::new() }
    }

    /// How often the kernel said that memory is short, or why nothing is heard of it.
    pub(crate) fn n_told(&self) -> Result<u64, String> {
        match self.unheard.get() {
            Some(why) => Err(why.clone()),
            None => Ok(self.n_told.load(Ordering::Relaxed)),
        }
    }

    /// Unload the idle model that was not used for longest whenever memory is short, as long as the
    /// daemon runs. What the memory came to is looked at before the next one goes.
    pub(crate) async fn heed(self: Arc<Self>, models: Arc<Models>) {
        let Err(why) = self.listen(&models).await;
        tracing::warn!(
            why,
            "memory pressure is not heard of: models go by the budget and by their keep-alive alone"
        );
        // It is told once, here.
        let _ = self.unheard.set(why);
    }

    async fn listen(&self, models: &Models) -> Result<std::convert::Infallible, String> {
        let mut source = Source::open(&self.files).map_err(|error| shown(&error))?;
        loop {
            source.wait().await.map_err(|error| shown(&error))?;
            self.n_told.fetch_add(1, Ordering::Relaxed);
            match models.unload_oldest(Leave::Pressure) {
                Some(left) => {
                    left.has_ended().await;
                    // What was said before it had ended counts no more.
                    tokio::time::sleep(Duration::from_micros(WINDOW_US)).await;
                    source.forget().await.map_err(|error| shown(&error))?;
                }
                None => tracing::debug!("memory is short, and no idle model is loaded"),
            }
        }
    }
}

fn shown(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no /{FILE}"),
        std::io::ErrorKind::PermissionDenied => {
            format!("this user may not ask for it in /{FILE} (Linux 6.4 and later let every user)")
        }
        _ => format!("cannot ask for it in /{FILE}: {error}"),
    }
}

/// Who says that memory is short.
#[cfg(target_os = "linux")]
enum Source {
    Kernel(tokio::io::unix::AsyncFd<std::fs::File>),
    /// A named pipe in the place of the kernel's file, where every byte means that memory is short.
    Pipe(tokio::net::unix::pipe::Receiver),
}

#[cfg(target_os = "linux")]
impl Source {
    fn open(files: &SystemFiles) -> std::io::Result<Source> {
        use std::io::Write as _;
        use std::os::unix::fs::FileTypeExt as _;

        use tokio::io::Interest;
        use tokio::net::unix::pipe;
        let path = files.place(FILE);
        if std::fs::metadata(&path)?.file_type().is_fifo() {
            let pipe = pipe::OpenOptions::new().read_write(true).open_receiver(path)?;
            return Ok(Source::Pipe(pipe));
        }
        let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
        // The kernel puts the end of the text over the last byte.
        file.write_all(format!("some {STALL_US} {WINDOW_US}\0").as_bytes())?;
        #[expect(deprecated, reason = "what replaces it is unsafe; a file owns its descriptor")]
        let file = tokio::io::unix::AsyncFd::with_interest(file, Interest::PRIORITY)?;
        Ok(Source::Kernel(file))
    }

    /// Wait until memory is short.
    async fn wait(&mut self) -> std::io::Result<()> {
        match self {
            Source::Kernel(file) => {
                file.ready(tokio::io::Interest::PRIORITY).await?.clear_ready();
                Ok(())
            }
            Source::Pipe(pipe) => {
                use tokio::io::AsyncReadExt as _;
                pipe.read(&mut [0; 64]).await.map(drop)
            }
        }
    }

    /// Forget what was said and not heard yet.
    async fn forget(&mut self) -> std::io::Result<()> {
        let at_once = Duration::ZERO;
        tokio::time::timeout(at_once, self.wait()).await.unwrap_or(Ok(()))
    }
}

/// Other systems have no such file.
#[cfg(not(target_os = "linux"))]
enum Source {}

#[cfg(not(target_os = "linux"))]
impl Source {
    fn open(_: &SystemFiles) -> std::io::Result<Source> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    async fn wait(&mut self) -> std::io::Result<()> {
        match *self {}
    }

    async fn forget(&mut self) -> std::io::Result<()> {
        match *self {}
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_takes_the_question() {
        let source = Source::open(&SystemFiles::of_this_system());
        match source {
            Ok(mut source) => source.forget().await.unwrap(),
            Err(error) => {
                let is_known = matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound
                        | std::io::ErrorKind::PermissionDenied
                        | std::io::ErrorKind::Unsupported
                );
                assert!(is_known, "it does not understand: {error}");
            }
        }
    }

    #[test]
    fn what_keeps_it_from_being_heard_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = Source::open(&SystemFiles::at(folder.path())).err().unwrap();
        assert_eq!(shown(&error), "there is no /proc/pressure/memory");
    }
}
