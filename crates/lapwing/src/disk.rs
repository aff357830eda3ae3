//! Free space of the disk that a path is on.

use std::path::{Path, PathBuf};

use sysinfo::{DiskRefreshKind, Disks};

use crate::printer::human_bytes;

/// Bytes that are free where `path` is, or will be; `None` when the system does not tell.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|ancestor| ancestor.exists())?;
    let existing = std::fs::canonicalize(existing).ok()?;
    let wanted = DiskRefreshKind::nothing().with_storage();
    let disks = Disks::new_with_refreshed_list_specifics(wanted).ok()?;
    let holding = disks.iter().filter(|disk| existing.starts_with(disk.mount_point()));
    // The longest mount point is the file system itself, the shorter ones are above it.
    holding
        .max_by_key(|disk| disk.mount_point().as_os_str().len())
        // Memory and network file systems are not listed: the longest prefix is then another disk.
        .filter(|disk| is_same_disk(disk.mount_point(), &existing))
        .map(sysinfo::Disk::available_space)
}

/// Size of every file below `folder`; what links lead to is elsewhere and not counted.
pub fn n_bytes_below(folder: &Path) -> u64 {
    let mut n_bytes = 0_u64;
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) if metadata.is_file() => {
                    n_bytes = n_bytes.saturating_add(metadata.len());
                }
                _ => {}
            }
        }
    }
    n_bytes
}

/// Not enough room for what is to be written.
#[derive(Debug, thiserror::Error)]
#[error(
    "no room in {}: {} needed, {} free",
    folder.display(), human_bytes(*n_bytes_needed), human_bytes(*n_bytes_free)
)]
pub struct NoRoomError {
    /// Where it is to be written.
    pub folder: PathBuf,
    /// What it takes.
    pub n_bytes_needed: u64,
    /// What there is.
    pub n_bytes_free: u64,
}

/// Check that `n_bytes` fit where `folder` is, as far as the system tells.
///
/// # Errors
///
/// When they do not.
pub fn require(folder: &Path, n_bytes: u64) -> Result<(), NoRoomError> {
    match free_bytes(folder) {
        Some(n_bytes_free) if n_bytes_free < n_bytes => {
            Err(NoRoomError { folder: folder.to_path_buf(), n_bytes_needed: n_bytes, n_bytes_free })
        }
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn is_same_disk(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev()).ok();
    device(a).is_some_and(|a| Some(a) == device(b))
}

#[cfg(not(unix))]
fn is_same_disk(_a: &Path, _b: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        let folder = std::env::temp_dir();
        require(&folder, 0).unwrap();
        // Where the system tells nothing, nothing is refused.
        assert_eq!(require(&folder, u64::MAX).is_err(), free_bytes(&folder).is_some());
    }

    #[test]
    fn a_path_that_is_not_there_yet_is_on_the_disk_of_its_parent() {
        let parent = free_bytes(&std::env::temp_dir());
        let child = free_bytes(&std::env::temp_dir().join("lapwing-not-there/deeper"));
        assert_eq!(parent.is_some(), child.is_some());
    }
}
