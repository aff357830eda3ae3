//! Empty caches that starts are measured with. A compiled model is as large as the model: what a
//! killed process left is removed by the next call.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lapwing_files::{FileError, Lock};
use tempfile::TempDir;

/// How their names begin.
const PREFIX: &str = "bench-";
/// A folder is locked long before it is so old.
const AGE_MIN: Duration = Duration::from_secs(60);

/// A cache of its own, which vanishes when dropped.
pub(super) struct StartCache {
    // Told by the system to be free when this process dies. Let go of before the folder is removed.
    _lock: Lock,
    folder: TempDir,
}

impl StartCache {
    /// An empty cache below `parent`, which is made when it is not there.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub(super) fn make(parent: &Path) -> Result<StartCache, FileError> {
        let cannot = FileError::cannot("make a cache to measure with in", parent);
        std::fs::create_dir_all(parent).map_err(&cannot)?;
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).map_err(&cannot)?;
        let lock = Lock::try_acquire(&lock_path(folder.path()))
            .map_err(|error| cannot(io::Error::other(error)))?;
        let cache = StartCache { _lock: lock, folder };
        std::fs::create_dir(cache.path()).map_err(&cannot)?;
        Ok(cache)
    }

    /// Where compiled models go.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("compiled")
    }
}

/// Remove the caches below `parent` that nobody holds any more.
pub fn remove_leftovers(parent: &Path) {
    remove_older(parent, AGE_MIN);
}

fn remove_older(parent: &Path, age_min: Duration) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_cache = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|modified| modified.elapsed().ok());
        let is_old = age.is_some_and(|age| age_min <= age);
        if is_cache && is_old && Lock::try_acquire(&lock_path(&entry.path())).is_ok() {
            // What stays is tried again by the next call.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn lock_path(folder: &Path) -> PathBuf {
    folder.join("lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_lasts_as_long_as_its_holder() {
        let parent = tempfile::tempdir().unwrap();
        let parent = parent.path().join("cache");
        let cache = StartCache::make(&parent).unwrap();
        std::fs::write(cache.path().join("blob"), "compiled").unwrap();
        // That of somebody who was killed, and what is none of ours.
        std::fs::create_dir_all(parent.join("bench-dead/compiled")).unwrap();
        std::fs::create_dir(parent.join("openvino")).unwrap();
        remove_leftovers(&parent);
        assert!(parent.join("bench-dead").exists(), "it may be about to be locked");
        remove_older(&parent, Duration::ZERO);
        assert!(!parent.join("bench-dead").exists());
        assert!(cache.path().join("blob").exists() && parent.join("openvino").exists());
        let path = cache.path();
        drop(cache);
        assert!(!path.parent().unwrap().exists());
    }
}
