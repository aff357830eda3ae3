//! One more line in a record file.
//!
//! The new file is written beside the old one and takes its place in one step: whoever is killed
//! in between, or finds the disk full, leaves the old one as it was. The lock is a file of its own,
//! because the record file is another one after each append.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use lapwing_files::new_file::{self, NewFile};
use lapwing_files::regular;
use lapwing_files::{Lock, LockError};

use super::FILE_BYTES_MAX;
use crate::record::{Record, WriteRecordError};

const LOCK_SUFFIX: &str = ".lock";

/// Why a record was not appended; the file is then as it was.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum AppendError {
    /// There is something wrong with the record itself.
    #[error("cannot append to {}", path.display())]
    Record { path: PathBuf, source: WriteRecordError },
    /// The file or its folder may not be written.
    #[error("cannot write to {}: it is read-only", path.display())]
    ReadOnly { path: PathBuf, source: io::Error },
    /// No room, on the disk or within the user's quota.
    #[error("cannot write {}: the disk is full", path.display())]
    DiskFull { path: PathBuf, source: io::Error },
    /// The lock cannot be had at all; one that another process holds is waited for.
    #[error("cannot lock {}", path.display())]
    Lock { path: PathBuf, source: io::Error },
    /// Another process holds the lock, and the caller waits no longer.
    #[error("cannot lock {}: another process still holds it", path.display())]
    Busy { path: PathBuf },
    /// The folder or the new file cannot be made.
    #[error("cannot create {}", path.display())]
    Create { path: PathBuf, source: io::Error },
    /// The records that are there cannot be read.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The records cannot be written for another reason.
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// A folder, a pipe or a device.
    #[error("{} is not a file", path.display())]
    NotAFile { path: PathBuf },
    /// The file is as large as one may be.
    #[error("{} is full: expected at most {expected} bytes, found {found}", path.display())]
    FileFull {
        path: PathBuf,
        /// [`FILE_BYTES_MAX`].
        expected: u64,
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
    // A link to it stays one, and everyone who writes takes the lock beside the file itself, by
    // whatever name it is called.
    let real = new_file::behind_links(path).map_err(failed(path, read))?;
    let path = real.as_path();
    let folder = new_file::folder_of(path);
    std::fs::create_dir_all(folder).map_err(failed(folder, create))?;
    // Held until the end of this function, and given back by the system when the process dies.
    let _lock = Lock::acquire(&lock_path(path), &mut |_| {}, &|| !may_wait())
        .map_err(|error| not_locked(path, error))?;
    new_file::remove_leftovers(path);
    // Replacing a file needs no right to write it: respect that somebody took it away.
    if std::fs::metadata(path).is_ok_and(|old| old.permissions().readonly()) {
        return Err(failed(path, write)(ErrorKind::PermissionDenied.into()));
    }
    let mut new = NewFile::create(path).map_err(failed(path, create))?;
    copy_with_line(path, new.file(), &line)?;
    new.finish().map_err(failed(path, write))
}

fn not_locked(path: &Path, error: LockError) -> AppendError {
    match error {
        LockError::Io(error) => failed(path, cannot_lock)(error.source),
        LockError::Held { path, .. } => AppendError::Busy { path },
        LockError::Interrupted { .. } => AppendError::Busy { path: lock_path(path) },
    }
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
    let old = regular::open(path).map_err(failed(path, read))?;
    let n_copied = io::copy(&mut old.take(n_bytes), partial).map_err(failed(path, write))?;
    if n_copied != n_bytes {
        return Err(failed(path, read)(ErrorKind::UnexpectedEof.into()));
    }
    Ok(n_copied)
}

fn ends_with_line_feed(path: &Path) -> io::Result<bool> {
    let mut file = regular::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
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
