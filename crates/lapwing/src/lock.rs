//! One process at a time per model or runtime.
//!
//! An advisory lock of the operating system on a small file that names the holder. It ends with
//! the process, however that ends, so there is never a stale lock to remove.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::interrupt;

const POLL: Duration = Duration::from_millis(200);

/// A held lock; released when dropped.
#[derive(Debug)]
pub struct Lock {
    // Closing the file releases the lock.
    _file: File,
}

/// Why a lock was not obtained.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock file cannot be made or locked.
    #[error("cannot lock {}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process works on the same thing.
    #[error("{holder} is working on it ({} is locked)", path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as it wrote itself down.
        holder: String,
    },
    /// Ctrl-C while waiting.
    #[error("interrupted while waiting for {holder}")]
    Interrupted {
        /// Who holds it.
        holder: String,
    },
}

impl Lock {
    /// Take the lock, or wait for its holder; `on_wait` hears once who that is.
    ///
    /// # Errors
    ///
    /// When the file cannot be locked, or after Ctrl-C.
    pub fn acquire(path: &Path, on_wait: &mut dyn FnMut(&str)) -> Result<Self, LockError> {
        let mut told = false;
        loop {
            let holder = match Self::try_acquire(path) {
                Err(LockError::Held { holder, .. }) => holder,
                other => return other,
            };
            if interrupt::requested() {
                return Err(LockError::Interrupted { holder });
            }
            if !told {
                on_wait(&holder);
                told = true;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Take the lock if nobody has it.
    ///
    /// # Errors
    ///
    /// When the file cannot be locked, or another process holds it.
    pub fn try_acquire(path: &Path) -> Result<Self, LockError> {
        let io_error = |source| LockError::Io { path: path.to_path_buf(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io_error)?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(io_error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = read_holder(&mut file);
                return Err(LockError::Held { path: path.to_path_buf(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io_error(source)),
        }
        write_holder(&mut file).map_err(io_error)?;
        Ok(Self { _file: file })
    }
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())
}

fn read_holder(file: &mut File) -> String {
    let mut pid = String::new();
    match file.take(20).read_to_string(&mut pid) {
        Ok(_) if !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("process {pid}")
        }
        _ => "another process".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_hears_who_is_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("locks/model.lock");
        let first = Lock::try_acquire(&path).unwrap();
        match Lock::try_acquire(&path) {
            Err(LockError::Held { holder, .. }) => {
                assert_eq!(holder, format!("process {}", std::process::id()));
            }
            other => panic!("{other:?}"),
        }
        drop(first);
        Lock::try_acquire(&path).unwrap();
    }
}
