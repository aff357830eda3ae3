//! One more line in a record file.
//!
//! The new file is written beside the old one and takes its place in one step: whoever is killed
//! in between, or finds the disk full, leaves the old one as it was. The lock is a file of its own,
//! because the record file is another one after each append.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

use super::FILE_BYTES_MAX;
use crate::record::{Record, WriteRecordError};

const LOCK_SUFFIX: &str = ".lock";
const PARTIAL_SUFFIX: &str = ".tmp";
/// How often a lock that another process holds is tried.
const POLL: Duration = Duration::from_millis(20);

/// Why a record was not appended; the file is then as it was.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// There is something wrong with the record itself.
    #[error("cannot append to {}", path.display())]
    Record {
        /// The record file.
        path: PathBuf,
        /// What it is.
        source: WriteRecordError,
    },
    /// The file or its folder may not be written.
    #[error("cannot write to {}: it is read-only", path.display())]
    ReadOnly {
        /// What may not be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No room, on the disk or within the user's quota.
    #[error("cannot write {}: the disk is full", path.display())]
    DiskFull {
        /// What does not fit.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The lock cannot be had at all; one that another process holds is waited for.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process holds the lock, and the caller waits no longer.
    #[error("cannot lock {}: another process still holds it", path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
    },
    /// The folder or the new file cannot be made.
    #[error("cannot create {}", path.display())]
    Create {
        /// What cannot be made.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The records that are there cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The record file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The records cannot be written for another reason.
    #[error("cannot write {}", path.display())]
    Write {
        /// What is not written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder, a pipe or a device.
    #[error("{} is not a file", path.display())]
    NotAFile {
        /// What it is not.
        path: PathBuf,
    },
    /// The file is as large as one may be.
    #[error("{} is full: expected at most {expected} bytes, found {found}", path.display())]
    FileFull {
        /// The record file.
        path: PathBuf,
        /// [`FILE_BYTES_MAX`].
        expected: u64,
        /// Its size with the new line.
        found: u64,
    },
}

/// Append a record to a file, made with its folder when it is not there.
///
/// What the file holds is kept byte for byte, whether it is records or not; a last line that was
/// cut off is ended first. Waits for other processes that append.
///
/// # Errors
///
/// When the record is not fit to be written, or the system refuses. No error loses a byte of what
/// was there.
pub fn append(path: &Path, record: &Record) -> Result<(), AppendError> {
    append_while(path, record, &|| true)
}

/// Append a record as [`append`] does, and wait for other processes only as long as `may_wait`
/// says so, which is asked again and again.
///
/// # Errors
///
/// As [`append`], and [`AppendError::Busy`] when the lock was not to be had in that time.
pub fn append_while(
    path: &Path,
    record: &Record,
    may_wait: &dyn Fn() -> bool,
) -> Result<(), AppendError> {
    let mut line =
        record.to_line().map_err(|source| AppendError::Record { path: path.to_owned(), source })?;
    line.push('\n');
    let real = behind_links(path)?;
    let path = real.as_path();
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(failed(folder, create))?;
    // Held until the end of this function, and given back by the system when the process dies.
    let _lock = lock(path, may_wait)?;
    remove_leftovers(folder, path);
    let mut partial = partial_file(folder, path)?;
    copy_with_line(path, partial.as_file_mut(), &line)?;
    partial.as_file().sync_all().map_err(failed(path, write))?;
    partial.persist(path).map_err(|error| failed(path, write)(error.error))?;
    sync_folder(folder);
    Ok(())
}

/// The file that is meant by `path`: a link to it stays one, and everyone who writes takes the lock
/// beside the file itself, by whatever name it is called. It need not be there yet.
fn behind_links(path: &Path) -> Result<PathBuf, AppendError> {
    /// As many as Linux follows.
    const N_LINKS_MAX: usize = 40;
    if let Ok(real) = std::fs::canonicalize(path) {
        return Ok(real);
    }
    let mut real = path.to_owned();
    for _ in 0..N_LINKS_MAX {
        match std::fs::read_link(&real) {
            // What a link says is meant from the folder that the link is in.
            Ok(target) => real = real.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => return Ok(real),
        }
    }
    Err(failed(path, read)(io::Error::other("more links than are followed")))
}

fn lock(path: &Path, may_wait: &dyn Fn() -> bool) -> Result<File, AppendError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let file = options.open(lock_path(path)).map_err(failed(path, cannot_lock))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(failed(path, cannot_lock)(source)),
            Err(TryLockError::WouldBlock) if may_wait() => std::thread::sleep(POLL),
            Err(TryLockError::WouldBlock) => {
                return Err(AppendError::Busy { path: lock_path(path) });
            }
        }
    }
}

/// Everyone who writes holds the lock, so that what lies about belongs to nobody alive.
fn remove_leftovers(folder: &Path, path: &Path) {
    let prefix = partial_prefix(path);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&prefix) && name.ends_with(PARTIAL_SUFFIX) {
            // A leftover that stays does no harm.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// A new file with the permissions of the old one, or those of any new file.
fn partial_file(folder: &Path, path: &Path) -> Result<NamedTempFile, AppendError> {
    let prefix = partial_prefix(path);
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(PARTIAL_SUFFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // The umask takes away from it.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let file = builder.tempfile_in(folder).map_err(failed(path, create))?;
    if let Ok(metadata) = std::fs::metadata(path) {
        let permissions = metadata.permissions();
        // Replacing a file needs no right to write it: respect that somebody took it away.
        if permissions.readonly() {
            return Err(failed(path, write)(ErrorKind::PermissionDenied.into()));
        }
        file.as_file().set_permissions(permissions).map_err(failed(path, write))?;
    }
    Ok(file)
}

fn copy_with_line(path: &Path, partial: &mut File, line: &str) -> Result<(), AppendError> {
    // Asked before opening: to open a pipe is to wait for its other end.
    let n_bytes = match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(AppendError::NotAFile { path: path.to_owned() });
        }
        Ok(metadata) => copy(path, metadata.len(), partial, line.len() as u64)?,
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(failed(path, read)(error)),
    };
    let mut writer = BufWriter::new(partial);
    let ends_with_line = n_bytes == 0 || ends_with_line_feed(path).map_err(failed(path, read))?;
    let separator = if ends_with_line { "" } else { "\n" };
    writer
        .write_all(separator.as_bytes())
        .and_then(|()| writer.write_all(line.as_bytes()))
        .and_then(|()| writer.flush())
        .map_err(failed(path, write))
}

/// The number of bytes copied, which is `n_bytes`.
fn copy(
    path: &Path,
    n_bytes: u64,
    partial: &mut File,
    n_new_bytes: u64,
) -> Result<u64, AppendError> {
    let found = n_bytes.saturating_add(n_new_bytes);
    if FILE_BYTES_MAX < found {
        let path = path.to_owned();
        return Err(AppendError::FileFull { path, expected: FILE_BYTES_MAX, found });
    }
    let old = File::open(path).map_err(failed(path, read))?;
    let n_copied = io::copy(&mut old.take(n_bytes), partial).map_err(failed(path, write))?;
    if n_copied != n_bytes {
        return Err(failed(path, read)(ErrorKind::UnexpectedEof.into()));
    }
    Ok(n_copied)
}

fn ends_with_line_feed(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// The record is in its place; this is only about a power cut within the next seconds, and not
/// every system can do it.
fn sync_folder(folder: &Path) {
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

fn partial_prefix(path: &Path) -> String {
    format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy())
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(LOCK_SUFFIX);
    name.into()
}

type Build = fn(PathBuf, io::Error) -> AppendError;

fn create(path: PathBuf, source: io::Error) -> AppendError {
    AppendError::Create { path, source }
}

fn cannot_lock(path: PathBuf, source: io::Error) -> AppendError {
    AppendError::Lock { path: lock_path(&path), source }
}

fn read(path: PathBuf, source: io::Error) -> AppendError {
    AppendError::Read { path, source }
}

fn write(path: PathBuf, source: io::Error) -> AppendError {
    AppendError::Write { path, source }
}

/// What users meet has an error of its own, wherever it happens.
fn failed(path: &Path, otherwise: Build) -> impl Fn(io::Error) -> AppendError {
    let path = path.to_owned();
    move |source| {
        let path = path.clone();
        match source.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                AppendError::ReadOnly { path, source }
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                AppendError::DiskFull { path, source }
            }
            _ => otherwise(path, source),
        }
    }
}

#[cfg(test)]
mod tests;
