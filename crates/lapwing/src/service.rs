//! The daemon as a service of this user: what is written for the service manager, and what is not
//! ours to write over.
//!
//! Texts are made of a [`Plan`] and nothing else, so that they can be shown without being written.

pub mod launchd;
pub mod marked;
pub mod systemctl;
pub mod systemd;
pub mod windows;

use std::ffi::OsString;
use std::path::PathBuf;

use lapwing_daemon::Address;

/// What a service manager is told to start, and in what bounds.
#[derive(Debug, Clone)]
pub struct Plan {
    /// This program.
    pub program: PathBuf,
    /// The settings file, where it is not at its usual place.
    pub settings_file: Option<PathBuf>,
    /// Variables that say where things are.
    pub variables: Vec<(&'static str, OsString)>,
    /// Where the daemon listens.
    pub addresses: Vec<Address>,
    /// Folders that it writes to.
    pub written: Vec<PathBuf>,
    /// What the system's memory manager is to do: slow it down from here on, end its largest process
    /// from here on.
    pub memory_high: Option<String>,
    pub memory_max: Option<String>,
}

impl Plan {
    /// The words of the command line.
    pub fn command_line(&self) -> Vec<OsString> {
        let mut words = vec![self.program.clone().into_os_string()];
        if let Some(file) = &self.settings_file {
            words.extend(["--config".into(), file.clone().into_os_string()]);
        }
        words.push("serve".into());
        words
    }
}

/// Why a definition cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A line end in a path would begin a line of its own.
    #[error("a service cannot be told of {text:?}: it has characters that cannot be written there")]
    Characters { text: String },
    /// Somebody changed it, or wrote it.
    #[error("{} was changed, or was not written by `lapwing service install`", path.display())]
    Changed { path: PathBuf },
    /// There is none.
    #[error("no service is installed: there is no {}", path.display())]
    NotInstalled { path: PathBuf },
    /// Nobody manages services.
    #[error("cannot run {program}: this system has no systemd, or it is not on the path")]
    NoSystemd { program: String, source: std::io::Error },
    /// It does not do it.
    #[error("`{command}` failed: {said}")]
    Refused { command: String, said: String },
    /// A file.
    #[error(transparent)]
    File(#[from] lapwing_files::FileError),
}

/// What a manager's file can say: text without line ends and other signs for machines.
fn told(text: &std::ffi::OsStr) -> Result<&str, ServiceError> {
    let characters = || ServiceError::Characters { text: text.to_string_lossy().into_owned() };
    let text = text.to_str().ok_or_else(characters)?;
    if text.chars().any(char::is_control) { Err(characters()) } else { Ok(text) }
}
