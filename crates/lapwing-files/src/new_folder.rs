//! Folders that appear whole or not at all.
//!
//! A [`NewFolder`] is written beside its place under names that only its process uses:
//!
//! ```text
//! .out.lock-41-0   held as long as it lives; the system lets go of it when a process ends
//! .out.tmp-41-0    what is being written
//! .out.old-41-0    what was there before, between the two renamings of `finish`
//! ```
//!
//! A folder whose lock nobody holds is what a killed process left: [`sweep`] removes it, or gives it
//! back its name when it is what was there before and nothing took its place.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::FileError;
use crate::lock::try_lock;
use crate::new_file::folder_of;

const LOCK: &str = "lock";
const TEMPORARY: &str = "tmp";
const OLD: &str = "old";

/// A folder beside its final place; removed unless it is finished.
#[derive(Debug)]
pub struct NewFolder {
    path: PathBuf,
    place: PathBuf,
    old: PathBuf,
    lock_path: PathBuf,
    /// Closing it releases the lock; none where the file system has no locks.
    lock: Option<File>,
    is_finished: bool,
}

impl NewFolder {
    /// Begin the folder that is to be at `place`, whose parent is made when it is not there. What is
    /// at `place` stays until [`NewFolder::finish`].
    ///
    /// # Errors
    ///
    /// When nothing can be written beside `place`.
    pub fn create(place: &Path) -> Result<NewFolder, FileError> {
        let parent = folder_of(place);
        std::fs::create_dir_all(parent).map_err(FileError::cannot("write", parent))?;
        // The number of a process that is gone may come again.
        for attempt in 0_u32.. {
            if let Some(new) = Self::try_create(place, attempt)? {
                return Ok(new);
            }
        }
        let source = io::Error::new(ErrorKind::AlreadyExists, "no name is free");
        Err(FileError::cannot("write", place)(source))
    }

    /// `None` when that attempt's name is taken.
    fn try_create(place: &Path, attempt: u32) -> Result<Option<NewFolder>, FileError> {
        let owner = format!("{}-{attempt}", std::process::id());
        let lock_path = beside(place, LOCK, &owner)?;
        let lock = match File::create_new(&lock_path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
            Err(source) => return Err(FileError::cannot("write", &lock_path)(source)),
        };
        let lock = match try_lock(&lock) {
            Ok(true) => Some(lock),
            // Somebody who sweeps was faster; so it was if the file is gone now.
            Ok(false) => return Ok(None),
            Err(_) => None,
        };
        if lock.is_some() && !lock_path.exists() {
            return Ok(None);
        }
        let path = beside(place, TEMPORARY, &owner)?;
        let old = beside(place, OLD, &owner)?;
        let created = match old.exists() {
            true => Err(ErrorKind::AlreadyExists.into()),
            false => std::fs::create_dir(&path),
        };
        let place = place.to_owned();
        match created {
            Ok(()) => Ok(Some(NewFolder { path, place, old, lock_path, lock, is_finished: false })),
            Err(source) => {
                let _ = std::fs::remove_file(&lock_path);
                match source.kind() {
                    ErrorKind::AlreadyExists => Ok(None),
                    _ => Err(FileError::cannot("write", &path)(source)),
                }
            }
        }
    }

    /// Where to write until it is finished.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Put the folder in its place. What was there gives way only now, and comes back if the
    /// renaming fails.
    ///
    /// # Errors
    ///
    /// When the system refuses; everything is then as it was.
    pub fn finish(mut self) -> Result<(), FileError> {
        let had_old = replace(&self.path, &self.place, &self.old)
            .map_err(FileError::cannot("write", &self.place))?;
        self.is_finished = true;
        if had_old {
            warn_of_failure(&self.old, remove(&self.old));
        }
        Ok(())
    }
}

/// Put the folder `new` at `place`. What is there moves to `aside` first, so that half a folder
/// never has the name of a whole one, and comes back when the renaming fails. Whether there was
/// something, which is now at `aside`. All three are on one file system.
///
/// # Errors
///
/// When the system refuses; everything is then as it was.
pub fn replace(new: &Path, place: &Path, aside: &Path) -> io::Result<bool> {
    let was_there = place.symlink_metadata().is_ok();
    if was_there {
        std::fs::rename(place, aside)?;
    }
    match std::fs::rename(new, place) {
        Ok(()) => Ok(was_there),
        Err(error) => {
            if was_there {
                // The first error is the one to tell.
                let _ = std::fs::rename(aside, place);
            }
            Err(error)
        }
    }
}

/// Remove a file, a link or a folder; links are removed, not what they lead to.
///
/// # Errors
///
/// When it is not there, or the system refuses.
pub fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata()?.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if !self.is_finished {
            warn_of_failure(&self.path, std::fs::remove_dir_all(&self.path));
        }
        // Removed before it is released, so that nobody can take a lock that is about to go.
        warn_of_failure(&self.lock_path, std::fs::remove_file(&self.lock_path));
        self.lock = None;
    }
}

/// Remove what killed processes left of new folders at `place`, and bring back what was there before
/// if they had moved it away. What cannot be removed stays: it is in nobody's way.
pub fn sweep(place: &Path) {
    let Some(prefix) = prefix(place) else { return };
    let Ok(entries) = std::fs::read_dir(folder_of(place)) else { return };
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
        sweep_owner(place, &owner);
    }
}

fn sweep_owner(place: &Path, owner: &str) {
    let [Ok(lock_path), Ok(temporary), Ok(old)] =
        [LOCK, TEMPORARY, OLD].map(|kind| beside(place, kind, owner))
    else {
        return;
    };
    // Held until the end, so that nobody can take the name meanwhile.
    let lock = match OpenOptions::new().write(true).open(&lock_path) {
        Ok(lock) if try_lock(&lock).is_ok_and(|locked| locked) => Some(lock),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        _ => return,
    };
    if old.is_dir() {
        let done = match place.exists() {
            true => std::fs::remove_dir_all(&old),
            false => std::fs::rename(&old, place),
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

/// What every hidden name beside `place` starts with.
fn prefix(place: &Path) -> Option<String> {
    place.file_name().map(|name| format!(".{}.", name.to_string_lossy()))
}

fn beside(place: &Path, kind: &str, owner: &str) -> Result<PathBuf, FileError> {
    match prefix(place) {
        Some(prefix) => Ok(place.with_file_name(format!("{prefix}{kind}-{owner}"))),
        None => {
            let source = io::Error::new(ErrorKind::InvalidInput, "the path has no last name");
            Err(FileError::cannot("write", place)(source))
        }
    }
}

#[cfg(test)]
mod tests;
