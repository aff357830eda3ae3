//! Where records go.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lapwing_measure::record::{Record, timestamp};
use lapwing_measure::record_file::{self, AppendError, ReadFileError};

/// A run may be gone on with for so long.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// One file, or one for each day.
#[derive(Debug, Clone)]
pub(super) enum Destination {
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
    /// Append a record to its file; gives that.
    ///
    /// # Errors
    ///
    /// When it cannot be written; the file is as it was then.
    pub(super) fn append(&self, record: &Record) -> Result<PathBuf, AppendError> {
        let path = match self {
            Self::File(path) => path.clone(),
            Self::Daily { profiles, .. } => record_file::path_below(profiles, record),
        };
        record_file::append(&path, record)?;
        Ok(path)
    }

    /// Where it is noted which runs are not over.
    pub(super) fn runs_folder(&self) -> PathBuf {
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
    pub(super) fn check(&self) -> Result<(), AppendError> {
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
            .map_err(|source| failed(folder, source))?;
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(AppendError::Read { path, source }),
            Ok(metadata) if metadata.is_dir() => {
                Err(AppendError::Write { path, source: io::ErrorKind::IsADirectory.into() })
            }
            Ok(metadata) if metadata.permissions().readonly() => {
                let source = io::ErrorKind::PermissionDenied.into();
                Err(AppendError::ReadOnly { path, source })
            }
            Ok(_) => match std::fs::File::open(&path) {
                Ok(_) => Ok(()),
                Err(source) => Err(AppendError::Read { path, source }),
            },
        }
    }

    /// The records of one run, made today or yesterday.
    ///
    /// # Errors
    ///
    /// When a file cannot be read. Lines that are no records are left out.
    pub(super) fn records_of(&self, run_id: &str) -> Result<Vec<Record>, ReadFileError> {
        let paths = match self {
            Self::File(path) => BTreeSet::from([path.clone()]),
            Self::Daily { .. } => BTreeSet::from([self.of(SystemTime::now() - DAY), self.today()]),
        };
        let mut records = Vec::new();
        for path in paths.into_iter().filter(|path| path.exists()) {
            let read = record_file::read(&path)?.into_iter().flatten();
            records.extend(read.filter(|record| record.run_id == run_id));
        }
        Ok(records)
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

/// The name of this machine, of letters that a folder's name may have.
pub(crate) fn host() -> String {
    let name = sysinfo::System::host_name().unwrap_or_default();
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
    let plain: String = name.chars().filter(is_plain).take(64).collect();
    match plain.trim_start_matches('.') {
        "" => "unknown".to_owned(),
        plain => plain.to_owned(),
    }
}
