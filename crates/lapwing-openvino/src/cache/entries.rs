//! All entries of a cache: listing them, and removing what is old, unwanted or left over.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lapwing_files::{Lease, Lock, LockError};

use super::entry::{EntryRecord, RECORD_FILE};
use super::key::is_key;
use super::paths::{key_of_lock, key_of_partial, lock_path};

/// The lock of an entry that is gone stays so long: somebody may be waiting for it.
const LOCK_AGE_MIN: Duration = Duration::from_secs(24 * 60 * 60);

/// One compiled model.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub key: String,
    /// Where it is.
    pub folder: PathBuf,
    /// Size of all its files.
    pub n_bytes: u64,
    /// When it was written or a model last came out of it.
    pub last_used: SystemTime,
    /// How it stands.
    pub state: EntryState,
    /// What it is; `None` when its record cannot be read.
    pub record: Option<EntryRecord>,
}

/// How an entry stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryState {
    /// It is there for the next time.
    Ready,
    /// A model that came out of it is open, or is being opened.
    InUse,
    /// It will be compiled anew.
    Damaged {
        /// What is wrong.
        why: String,
    },
}

/// Why an entry was not removed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum RemoveEntryError {
    /// Somebody uses it.
    #[error("{} is in use", folder.display())]
    InUse { folder: PathBuf },
    /// The system refuses.
    #[error("cannot remove {}", folder.display())]
    Io { folder: PathBuf, source: io::Error },
}

/// Every entry below `cache`, the one that was not used for the longest time first. Checksums are
/// not looked at.
pub fn entries(cache: &Path) -> Vec<Entry> {
    let keys = names_in(cache).into_iter().filter(|name| is_key(name));
    let mut entries: Vec<Entry> =
        keys.filter(|key| cache.join(key).is_dir()).map(|key| entry(cache, key)).collect();
    entries.sort_by(|a, b| (a.last_used, &a.key).cmp(&(b.last_used, &b.key)));
    entries
}

/// Remove one entry.
///
/// # Errors
///
/// When somebody uses it or the system refuses.
pub fn remove(cache: &Path, entry: &Entry) -> Result<(), RemoveEntryError> {
    let folder = entry.folder.clone();
    let failed = |source| RemoveEntryError::Io { folder: folder.clone(), source };
    // Held until the entry is gone.
    let _lock = match Lock::try_acquire(&lock_path(cache, &entry.key)) {
        Ok(lock) => lock,
        Err(LockError::Io(error)) => return Err(failed(error.source)),
        Err(_) => return Err(RemoveEntryError::InUse { folder }),
    };
    if Lease::is_held(&folder.join(RECORD_FILE)) {
        return Err(RemoveEntryError::InUse { folder });
    }
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Remove those entries that were not used for the longest time, until the rest takes no more than
/// `n_bytes_max`. What is in use stays. Returns the removed ones.
pub fn trim(cache: &Path, n_bytes_max: u64) -> Vec<Entry> {
    let entries = entries(cache);
    let mut n_bytes = entries.iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.n_bytes));
    let mut removed = Vec::new();
    for entry in entries {
        if n_bytes <= n_bytes_max {
            break;
        }
        match remove(cache, &entry) {
            Ok(()) => {
                n_bytes = n_bytes.saturating_sub(entry.n_bytes);
                removed.push(entry);
            }
            // A cache that stays large is no reason not to answer.
            Err(error) => tracing::debug!(%error, "not trimmed"),
        }
    }
    removed
}

/// Remove what is no entry: what killed processes left behind, what earlier versions of Lapwing
/// kept, and locks of entries that are long gone.
pub fn sweep(cache: &Path) {
    for name in names_in(cache) {
        let path = cache.join(&name);
        let removed = if let Some(key) = key_of_partial(&name) {
            sweep_partial(cache, key, &path)
        } else if let Some(key) = key_of_lock(&name) {
            sweep_lock(cache, key, &path)
        } else if is_old_blob(&path) {
            std::fs::remove_file(&path)
        } else {
            Ok(())
        };
        // What stays is tried again at the next start.
        if let Err(error) = removed {
            tracing::debug!(path = %path.display(), %error, "not swept");
        }
    }
}

/// Earlier versions had the library's files directly in the cache.
fn is_old_blob(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("blob" | "cl_cache")) && path.is_file()
}

fn sweep_partial(cache: &Path, key: &str, path: &Path) -> io::Result<()> {
    match Lock::try_acquire(&lock_path(cache, key)) {
        Ok(_lock) => std::fs::remove_dir_all(path),
        Err(LockError::Io(error)) => Err(error.source),
        // Somebody is at it.
        Err(_) => Ok(()),
    }
}

fn sweep_lock(cache: &Path, key: &str, path: &Path) -> io::Result<()> {
    let age = std::fs::metadata(path)?.modified()?.elapsed().unwrap_or_default();
    if age < LOCK_AGE_MIN || cache.join(key).exists() {
        return Ok(());
    }
    match Lock::try_acquire(path) {
        Ok(_lock) => std::fs::remove_file(path),
        Err(LockError::Io(error)) => Err(error.source),
        Err(_) => Ok(()),
    }
}

fn entry(cache: &Path, key: String) -> Entry {
    let folder = cache.join(&key);
    let record_path = folder.join(RECORD_FILE);
    let record = EntryRecord::read(&folder);
    let is_used = Lock::is_held(&lock_path(cache, &key)) || Lease::is_held(&record_path);
    let sound = record.as_ref().map_err(String::clone).and_then(|record| match record.key == key {
        true => record.check_lengths(&folder),
        false => Err("it is of another model".to_owned()),
    });
    let state = match (is_used, sound) {
        (true, _) => EntryState::InUse,
        (false, Ok(())) => EntryState::Ready,
        (false, Err(why)) => EntryState::Damaged { why },
    };
    let modified = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified());
    Entry {
        n_bytes: n_bytes_in(&folder),
        last_used: modified(&record_path)
            .or_else(|_| modified(&folder))
            .unwrap_or(SystemTime::UNIX_EPOCH),
        state,
        record: record.ok(),
        key,
        folder,
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn n_bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| entry.metadata().ok());
    files.filter(std::fs::Metadata::is_file).fold(0, |sum, file| sum.saturating_add(file.len()))
}

#[cfg(test)]
mod tests;
