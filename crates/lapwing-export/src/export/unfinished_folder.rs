//! The folder that an export writes into before it has its name.
//!
//! ```text
//! .out.lock-41-0   held as long as the export lives; the system lets go of it when a process ends
//! .out.tmp-41-0    what is being written
//! .out.old-41-0    the earlier export, between the two renamings of `finish`
//! ```
//!
//! A folder whose lock nobody holds is what a killed export left: the next one removes it, or gives
//! it back its name when it is the earlier export and nothing took its place.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::error::ExportError;

const LOCK: &str = "lock";
const TEMPORARY: &str = "tmp";
const OLD: &str = "old";

/// A folder beside its final place; removed unless it is finished.
pub(super) struct UnfinishedFolder {
    pub(super) path: PathBuf,
    old: PathBuf,
    lock_path: PathBuf,
    /// Closing it releases the lock; none where the file system has no locks.
    lock: Option<File>,
    is_finished: bool,
}

impl UnfinishedFolder {
    pub(super) fn create(out: &Path) -> Result<UnfinishedFolder, ExportError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            |source| ExportError::Write { path, source }
        };
        let parent = parent(out);
        std::fs::create_dir_all(parent).map_err(failed(parent))?;
        // The number of a process that is gone may come again.
        for attempt in 0_u32.. {
            let owner = format!("{}-{attempt}", std::process::id());
            let lock_path = beside(out, LOCK, &owner)?;
            let lock = match File::create_new(&lock_path) {
                Ok(lock) => lock,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(source) => return Err(failed(&lock_path)(source)),
            };
            let lock = match lock.try_lock() {
                Ok(()) => Some(lock),
                // Somebody who sweeps was faster; so it was if the file is gone now.
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(_)) => None,
            };
            if lock.is_some() && !lock_path.exists() {
                continue;
            }
            let path = beside(out, TEMPORARY, &owner)?;
            let old = beside(out, OLD, &owner)?;
            let created = if old.exists() {
                Err(ErrorKind::AlreadyExists.into())
            } else {
                std::fs::create_dir(&path)
            };
            match created {
                Ok(()) => {
                    return Ok(UnfinishedFolder { path, old, lock_path, lock, is_finished: false });
                }
                Err(source) => {
                    let _ = std::fs::remove_file(&lock_path);
                    if source.kind() != ErrorKind::AlreadyExists {
                        return Err(failed(&path)(source));
                    }
                }
            }
        }
        let source = io::Error::new(ErrorKind::AlreadyExists, "no name is free");
        Err(failed(out)(source))
    }

    /// Put the folder in its place. What was there gives way only now, and comes back if the
    /// renaming fails.
    pub(super) fn finish(&mut self, out: &Path) -> Result<(), ExportError> {
        let failed = |source| ExportError::Write { path: out.to_owned(), source };
        let had_old = out.exists();
        if had_old {
            std::fs::rename(out, &self.old).map_err(failed)?;
        }
        if let Err(source) = std::fs::rename(&self.path, out) {
            if had_old {
                // The first error is the one to tell.
                let _ = std::fs::rename(&self.old, out);
            }
            return Err(failed(source));
        }
        self.is_finished = true;
        if had_old {
            warn_of_failure(&self.old, std::fs::remove_dir_all(&self.old));
        }
        Ok(())
    }
}

impl Drop for UnfinishedFolder {
    fn drop(&mut self) {
        if !self.is_finished {
            warn_of_failure(&self.path, std::fs::remove_dir_all(&self.path));
        }
        // Removed before it is released, so that nobody can take a lock that is about to go.
        warn_of_failure(&self.lock_path, std::fs::remove_file(&self.lock_path));
        self.lock = None;
    }
}

/// Remove what killed exports to `out` left, and bring back an earlier export that they had moved
/// away. What cannot be removed stays: it is in nobody's way.
pub(super) fn sweep(out: &Path) {
    let Some(prefix) = prefix(out) else { return };
    let Ok(entries) = std::fs::read_dir(parent(out)) else { return };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut owners: Vec<String> = names
        .filter_map(|name| {
            let (kind, owner) = name.strip_prefix(&prefix)?.split_once('-')?;
            let is_ours = [LOCK, TEMPORARY, OLD].contains(&kind)
                && owner.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
            is_ours.then(|| owner.to_owned())
        })
        .collect();
    owners.sort_unstable();
    owners.dedup();
    for owner in owners {
        sweep_owner(out, &owner);
    }
}

fn sweep_owner(out: &Path, owner: &str) {
    let [Ok(lock_path), Ok(temporary), Ok(old)] =
        [LOCK, TEMPORARY, OLD].map(|kind| beside(out, kind, owner))
    else {
        return;
    };
    // Held until the end, so that no export can take the name meanwhile.
    let lock = match OpenOptions::new().write(true).open(&lock_path) {
        Ok(lock) if lock.try_lock().is_ok() => Some(lock),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        _ => return,
    };
    if old.is_dir() {
        let done = match out.exists() {
            true => std::fs::remove_dir_all(&old),
            false => std::fs::rename(&old, out),
        };
        warn_of_failure(&old, done);
    }
    if temporary.is_dir() {
        warn_of_failure(&temporary, std::fs::remove_dir_all(&temporary));
    }
    if lock.is_some() {
        warn_of_failure(&lock_path, std::fs::remove_file(&lock_path));
    }
}

fn warn_of_failure(path: &Path, done: io::Result<()>) {
    if let Err(error) = done {
        tracing::warn!(path = %path.display(), %error, "cannot clean up");
    }
}

fn parent(out: &Path) -> &Path {
    match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What every hidden name beside `out` starts with.
fn prefix(out: &Path) -> Option<String> {
    out.file_name().map(|name| format!(".{}.", name.to_string_lossy()))
}

fn beside(out: &Path, kind: &str, owner: &str) -> Result<PathBuf, ExportError> {
    let Some(prefix) = prefix(out) else {
        let source = io::Error::new(ErrorKind::InvalidInput, "the path has no last name");
        return Err(ExportError::Write { path: out.to_owned(), source });
    };
    Ok(out.with_file_name(format!("{prefix}{kind}-{owner}")))
}

#[cfg(test)]
mod tests;
