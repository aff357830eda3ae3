//! Where records go.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::record::{Record, timestamp};
use crate::record_file::{self, AppendError, ReadFileError};

/// Somebody who appends takes milliseconds; one who takes longer than this hangs.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Room that there has to be: some records.
const N_BYTES_FREE: usize = 16 << 10;

/// One file, or one for each day.
#[derive(Debug, Clone)]
pub enum Destination {
    /// This file.
    File(PathBuf),
    /// The file of the host and the day, in this folder.
    Daily {
        /// Holds a folder for each host.
        profiles: PathBuf,
        /// The name of this machine.
        host: String,
    },
}

impl Destination {
    /// Append a record to its file.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or somebody else keeps the file locked, for long or until `stop`
    /// says so; the file is as it was then.
    pub fn append(&self, record: &Record, stop: &dyn Fn() -> bool) -> Result<(), AppendError> {
        let path = match self {
            Self::File(path) => path.clone(),
            Self::Daily { profiles, .. } => record_file::path_below(profiles, record),
        };
        let started = Instant::now();
        let may_wait = || !stop() && started.elapsed() < WAIT_MAX;
        record_file::append_while(&path, record, &may_wait)
    }

    /// Where it is noted which runs are not over.
    pub fn runs_folder(&self) -> PathBuf {
        match self {
            Self::File(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                path.with_file_name(format!("{name}.runs"))
            }
            Self::Daily { .. } => self.today().with_file_name(".runs"),
        }
    }

    /// Find out before anything is measured whether a record could be kept. Makes the folder.
    ///
    /// # Errors
    ///
    /// When it could not.
    pub fn check(&self) -> Result<(), AppendError> {
        let path = self.today();
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let failed = |at: &Path, source: io::Error| match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                AppendError::ReadOnly { path: at.to_owned(), source }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                AppendError::DiskFull { path: at.to_owned(), source }
            }
            _ => AppendError::Create { path: at.to_owned(), source },
        };
        std::fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
        tempfile::Builder::new()
            .prefix(".bench-")
            .tempfile_in(folder)
            .and_then(|mut file| file.write_all(&[0; N_BYTES_FREE]))
            .map_err(|source| failed(folder, without_name(source)))?;
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(AppendError::Read { path, source }),
            // Asked before opening: to open a pipe is to wait for its other end.
            Ok(metadata) if !metadata.is_file() => Err(AppendError::NotAFile { path }),
            Ok(metadata) if metadata.permissions().readonly() => {
                let source = io::ErrorKind::PermissionDenied.into();
                Err(AppendError::ReadOnly { path, source })
            }
            Ok(_) => match OpenOptions::new().read(true).append(true).open(&path) {
                Ok(_) => Ok(()),
                Err(source) => Err(failed(&path, source)),
            },
        }
    }

    /// The records of one run, made since `since`.
    ///
    /// # Errors
    ///
    /// When a file cannot be read. Lines that are no records are left out.
    pub fn records_of(
        &self,
        run_id: &str,
        since: SystemTime,
    ) -> Result<Vec<Record>, ReadFileError> {
        let paths = match self {
            Self::File(path) => BTreeSet::from([path.clone()]),
            Self::Daily { .. } => self.days(since),
        };
        let mut records = Vec::new();
        for path in paths.into_iter().filter(|path| path.exists()) {
            let read = record_file::read(&path)?.into_iter().flatten();
            records.extend(read.filter(|record| record.run_id == run_id));
        }
        Ok(records)
    }

    /// The files of the day of `since` and all after it.
    fn days(&self, since: SystemTime) -> BTreeSet<PathBuf> {
        let (first, today) = (self.of(since), self.today());
        let entries = today.parent().map(std::fs::read_dir).into_iter().flatten();
        let paths = entries.flatten().flatten().map(|entry| entry.path());
        // Dates sort as their names do.
        paths.filter(|path| path.extension() == today.extension() && first <= *path).collect()
    }

    fn today(&self) -> PathBuf {
        self.of(SystemTime::now())
    }

    /// The file of a record that was made at `time`.
    fn of(&self, time: SystemTime) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Daily { profiles, host } => {
                let date = timestamp(time).split('T').next().unwrap_or_default().to_owned();
                profiles.join(host).join(date).with_extension(record_file::EXTENSION)
            }
        }
    }
}

/// What the system said, without the name of a file that nobody asked for.
fn without_name(error: io::Error) -> io::Error {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        kind @ (PermissionDenied | ReadOnlyFilesystem | StorageFull | QuotaExceeded) => kind.into(),
        _ => error,
    }
}

/// The name of this machine, of letters that a folder's name may have.
pub fn host() -> String {
    let name = sysinfo::System::host_name().unwrap_or_default();
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
    let plain: String = name.chars().filter(is_plain).take(64).collect();
    match plain.trim_start_matches('.') {
        "" => "unknown".to_owned(),
        plain => plain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_looked_for_since_it_began() {
        let folder = tempfile::tempdir().unwrap();
        let profiles = folder.path().to_owned();
        let host = profiles.join("host");
        std::fs::create_dir(&host).unwrap();
        for name in ["1969-12-31.jsonl", "1970-01-02.jsonl", "1970-01-05.jsonl", ".runs"] {
            std::fs::write(host.join(name), "").unwrap();
        }
        let destination = Destination::Daily { profiles, host: "host".into() };
        let check = |n_days: u64, expected: &[&str]| {
            let since = SystemTime::UNIX_EPOCH + Duration::from_secs(n_days * 24 * 60 * 60);
            let found = destination.days(since);
            let names = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap());
            assert_eq!(names.collect::<Vec<_>>(), expected, "day {n_days}");
        };
        check(0, &["1970-01-02.jsonl", "1970-01-05.jsonl"]);
        check(1, &["1970-01-02.jsonl", "1970-01-05.jsonl"]);
        check(2, &["1970-01-05.jsonl"]);
        check(5, &[]);
    }
}
