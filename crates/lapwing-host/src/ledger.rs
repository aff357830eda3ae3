//! What became of devices when they were first tried with a model: a small file that remembers.
//!
//! A plugin that aborted, hung or took all memory must not do so at every start, and one that went
//! well need not be tried again. A configuration is tried anew when anything of it changes: library,
//! driver, device, the model's files, or what it is compiled for.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use lapwing_files::{FileError, Lock, LockError, new_file, regular};
use serde::{Deserialize, Serialize};

use crate::trial::Failure;

/// The layout of the file; another one is not read.
const SCHEMA_VERSION: u32 = 1;
/// The oldest trials go when there are more.
const N_TRIALS_MAX: usize = 500;
/// A longer file is not ours.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The file.
#[derive(Debug, Clone)]
pub struct Ledger {
    path: PathBuf,
}

/// What was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// The graph's file.
    pub model: PathBuf,
    /// Length of all the model's files.
    pub model_bytes: u64,
    /// Lengths and times of those files.
    pub model_stamp: String,
    /// The backend's name.
    pub backend: String,
    /// The version of its library.
    pub version: String,
    /// The device's id and name.
    pub device: String,
    /// The version of the device's driver, where it is known.
    pub driver: Option<String>,
    /// Everything else that the compilation depends on.
    pub options: String,
}

/// One trial and its outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// What was tried.
    pub configuration: Configuration,
    /// When, in UTC.
    pub at: String,
    /// How it went wrong; `None` when it went well.
    pub failure: Option<Failure>,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    schema_version: u32,
    trials: Vec<Tried>,
}

/// Why the ledger was not changed.
#[derive(Debug, thiserror::Error)]
pub enum WriteLedgerError {
    /// It cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] FileError),
}

impl Ledger {
    /// The ledger of a cache folder.
    pub fn new(cache: &Path) -> Self {
        Self { path: cache.join("trials.json") }
    }

    /// The last trial of a configuration.
    pub fn find(&self, configuration: &Configuration) -> Option<Tried> {
        self.trials().into_iter().rev().find(|tried| tried.configuration == *configuration)
    }

    /// All trials, oldest first. A file that cannot be understood holds none: everything in it can
    /// be found out again.
    pub fn trials(&self) -> Vec<Tried> {
        match read(&self.path) {
            Ok(trials) => trials,
            Err(why) => {
                tracing::warn!(path = %self.path.display(), why, "devices are tried anew");
                Vec::new()
            }
        }
    }

    /// Remember a trial.
    ///
    /// # Errors
    ///
    /// When the file cannot be written, or `is_stopped` says so while another process has it.
    pub fn record(
        &self,
        tried: Tried,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), WriteLedgerError> {
        self.change(is_stopped, |trials| {
            trials.retain(|earlier| earlier.configuration != tried.configuration);
            trials.push(tried);
            let n_surplus = trials.len().saturating_sub(N_TRIALS_MAX);
            trials.drain(..n_surplus);
        })
    }

    /// Forget the trials that failed; returns how many.
    ///
    /// # Errors
    ///
    /// As [`Ledger::record`].
    pub fn forget_failures(
        &self,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<usize, WriteLedgerError> {
        let mut n_forgotten = 0;
        if self.path.exists() {
            self.change(is_stopped, |trials| {
                let n_before = trials.len();
                trials.retain(|tried| tried.failure.is_none());
                n_forgotten = n_before - trials.len();
            })?;
        }
        Ok(n_forgotten)
    }

    fn change(
        &self,
        is_stopped: &dyn Fn() -> bool,
        change: impl FnOnce(&mut Vec<Tried>),
    ) -> Result<(), WriteLedgerError> {
        // What is read here is what is replaced below.
        let lock_path = self.path.with_extension("lock");
        let _lock = Lock::acquire(&lock_path, &mut |_| {}, is_stopped)?;
        let mut trials = self.trials();
        change(&mut trials);
        let file = File { schema_version: SCHEMA_VERSION, trials };
        let cannot_write = FileError::cannot("write", &self.path);
        let mut text =
            serde_json::to_string_pretty(&file).map_err(|error| cannot_write(error.into()))?;
        text.push('\n');
        Ok(new_file::write(&self.path, text.as_bytes())?)
    }
}

impl Tried {
    /// A trial that ends now.
    pub fn now(configuration: Configuration, failure: Option<Failure>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_secs()).map_or(Ok(Timestamp::MAX), Timestamp::from_second);
        Self { configuration, at: now.unwrap_or(Timestamp::MAX).to_string(), failure }
    }
}

fn read(path: &Path) -> Result<Vec<Tried>, String> {
    let text = match regular::read_text(path, FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let file: File = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    match file.schema_version {
        SCHEMA_VERSION => Ok(file.trials),
        other => Err(format!("schema version {other}, expected {SCHEMA_VERSION}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{How, Stage};
    use crate::worker::Loss;

    fn configuration(device: &str) -> Configuration {
        Configuration {
            model: "/m/openvino_model.xml".into(),
            model_bytes: 7,
            model_stamp: String::new(),
            backend: "openvino".into(),
            version: "2026.4.1".into(),
            device: device.into(),
            driver: None,
            options: String::new(),
        }
    }

    fn failed(device: &str) -> Tried {
        let how = Loss::Ended { status: "aborted (signal 6)".into(), signal: Some(6) };
        let how = How::Lost(how);
        let failure = Failure { stage: Stage::Compile, how, last_lines: vec!["boom".into()] };
        Tried::now(configuration(device), Some(failure))
    }

    #[test]
    fn the_last_trial_of_a_configuration_counts() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(&folder.path().join("sub"));
        assert_eq!(ledger.forget_failures(&|| false).unwrap(), 0);
        assert_eq!(ledger.find(&configuration("NPU")), None);
        ledger.record(failed("NPU"), &|| false).unwrap();
        ledger.record(failed("GPU"), &|| false).unwrap();
        ledger.record(Tried::now(configuration("GPU"), None), &|| false).unwrap();
        assert_eq!(ledger.find(&configuration("NPU")).unwrap().failure, failed("NPU").failure);
        assert_eq!(ledger.find(&configuration("GPU")).unwrap().failure, None);
        let newer = Configuration { driver: Some("2".into()), ..configuration("NPU") };
        assert_eq!(ledger.find(&newer), None, "another driver is another configuration");
        assert_eq!(ledger.forget_failures(&|| false).unwrap(), 1);
        assert_eq!(ledger.find(&configuration("NPU")), None);
        assert_eq!(ledger.trials().len(), 1);
    }

    #[test]
    fn a_file_that_is_wrong_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path());
        for text in ["", "{", "[]", "{\"schema_version\":2,\"trials\":[]}", "\u{0}"] {
            std::fs::write(folder.path().join("trials.json"), text).unwrap();
            assert_eq!(ledger.trials(), [], "{text}");
            ledger.record(failed("NPU"), &|| false).unwrap();
            assert_eq!(ledger.trials().len(), 1, "{text}");
        }
    }
}
