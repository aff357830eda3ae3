//! What OpenVINO compiled, kept so that a model opens faster the next time.
//!
//! The library writes one blob a model and device and deletes none: the oldest go here, before a
//! model is opened. Everything in the folder can be made again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::home::Home;

/// What the cache may take; a model of a few billion parameters leaves a blob of its own size.
pub const N_BYTES_MAX: u64 = 4_000_000_000;

/// The cache's folder, there or not.
pub fn folder(home: &Home) -> PathBuf {
    home.cache().join("openvino")
}

/// Size of everything in the cache.
pub fn n_bytes(folder: &Path) -> u64 {
    blobs(folder).iter().map(|blob| blob.n_bytes).sum()
}

/// Delete the oldest blobs until the rest takes no more than [`N_BYTES_MAX`].
pub fn trim(folder: &Path) {
    trim_to(folder, N_BYTES_MAX);
}

/// Delete the cache.
///
/// # Errors
///
/// When it is there and cannot be deleted.
pub fn remove(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

struct Blob {
    modified: SystemTime,
    path: PathBuf,
    n_bytes: u64,
}

/// The files directly in the cache, oldest first.
fn blobs(folder: &Path) -> Vec<Blob> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let blob = |entry: std::fs::DirEntry| {
        let metadata = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Some(Blob { modified, path: entry.path(), n_bytes: metadata.len() })
    };
    let mut blobs: Vec<Blob> = entries.filter_map(blob).collect();
    blobs.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
    blobs
}

fn trim_to(folder: &Path, n_bytes_max: u64) {
    let blobs = blobs(folder);
    let mut n_bytes: u64 = blobs.iter().map(|blob| blob.n_bytes).sum();
    for blob in blobs {
        if n_bytes <= n_bytes_max {
            return;
        }
        match std::fs::remove_file(&blob.path) {
            Ok(()) => n_bytes -= blob.n_bytes,
            // A cache that stays large is no reason not to answer.
            Err(error) => tracing::warn!(path = %blob.path.display(), %error, "cannot trim"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_blobs_go_first() {
        let folder = tempfile::tempdir().unwrap();
        for (name, age_s) in [("old", 300), ("new", 100), ("middle", 200)] {
            let file = std::fs::File::create(folder.path().join(name)).unwrap();
            file.set_len(10).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age_s)).unwrap();
        }
        let left = |n_bytes_max| {
            trim_to(folder.path(), n_bytes_max);
            let names = blobs(folder.path()).into_iter();
            names.map(|blob| blob.path.file_name().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(left(30), ["old", "middle", "new"]);
        assert_eq!(left(29), ["middle", "new"]);
        assert_eq!(left(10), ["new"]);
        assert_eq!(n_bytes(folder.path()), 10);
        remove(folder.path()).unwrap();
        remove(folder.path()).unwrap();
    }
}
