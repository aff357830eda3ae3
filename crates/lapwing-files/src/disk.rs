//! Room: what is free where a path is, and what folders take.

use std::path::{Path, PathBuf};

use sysinfo::{DiskRefreshKind, Disks};

use crate::regular::{self, N_TEXT_BYTES_MAX};

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

/// Why something of some size cannot be written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum NoRoomError {
    /// The disk is too full.
    #[error(
        "no room in {}: {} needed, {} free",
        folder.display(), human_bytes(*n_bytes_needed), human_bytes(*n_bytes_free)
    )]
    Disk { folder: PathBuf, n_bytes_needed: u64, n_bytes_free: u64 },
    /// Files of this process may not be so large: at the limit the system ends it.
    #[error(
        "a file may have {}, {} needed (`ulimit -f`)",
        human_bytes(*n_bytes_max), human_bytes(*n_bytes_needed)
    )]
    FileSize { n_bytes_needed: u64, n_bytes_max: u64 },
}

/// Check that `n_bytes` fit where `folder` is, as far as the system tells.
///
/// # Errors
///
/// When they do not.
pub fn require(folder: &Path, n_bytes: u64) -> Result<(), NoRoomError> {
    fits(folder, n_bytes, None, free_bytes(folder))
}

/// Check that a file of `n_bytes` may be written where `folder` is, as far as the system tells.
///
/// # Errors
///
/// When it does not fit, or is larger than a file of this process may be.
pub fn require_file(folder: &Path, n_bytes: u64) -> Result<(), NoRoomError> {
    fits(folder, n_bytes, file_size_max(), free_bytes(folder))
}

/// Check a size against what there is, where that is known.
fn fits(
    folder: &Path,
    n_bytes_needed: u64,
    file_size_max: Option<u64>,
    n_bytes_free: Option<u64>,
) -> Result<(), NoRoomError> {
    if let Some(n_bytes_max) = file_size_max
        && n_bytes_max < n_bytes_needed
    {
        return Err(NoRoomError::FileSize { n_bytes_needed, n_bytes_max });
    }
    match n_bytes_free {
        Some(n_bytes_free) if n_bytes_free < n_bytes_needed => {
            Err(NoRoomError::Disk { folder: folder.to_owned(), n_bytes_needed, n_bytes_free })
        }
        _ => Ok(()),
    }
}

/// The largest file that this process may write; `None` when there is no limit or none is told.
fn file_size_max() -> Option<u64> {
    limit_in(&regular::read_text(Path::new("/proc/self/limits"), N_TEXT_BYTES_MAX).ok()?)
}

/// The soft limit of the size of files in a text such as `/proc/self/limits`.
fn limit_in(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max file size"))?;
    // `unlimited` is no number.
    line.split_whitespace().next()?.parse().ok()
}

/// A size for people: `98.4 MB`.
pub fn human_bytes(n_bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = n_bytes as f64;
    let mut unit_idx = 0;
    while value >= 999.95 && unit_idx + 1 < UNITS.len() {
        value /= 1000.0;
        unit_idx += 1;
    }
    match unit_idx {
        0 => format!("{n_bytes} B"),
        _ => format!("{value:.1} {}", UNITS[unit_idx]),
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

    #[test]
    fn both_limits_count_where_they_are_known() {
        const MB: u64 = 1_000_000;
        let check = |file_size_max, n_bytes_free, expected: Option<&str>| {
            let found = fits(Path::new("/cache"), 100 * MB, file_size_max, n_bytes_free);
            assert_eq!(found.err().map(|error| error.to_string()).as_deref(), expected);
        };
        check(None, None, None);
        check(Some(100 * MB), Some(100 * MB), None);
        let too_small = "a file may have 99.0 MB, 100.0 MB needed (`ulimit -f`)";
        check(Some(99 * MB), Some(100 * MB), Some(too_small));
        let too_full = "no room in /cache: 100.0 MB needed, 99.0 MB free";
        check(Some(100 * MB), Some(99 * MB), Some(too_full));
        check(None, Some(99 * MB), Some(too_full));
    }

    #[test]
    fn the_limit_of_files_is_read() {
        let check = |limits: &str, expected: Option<u64>| assert_eq!(limit_in(limits), expected);
        check(
            "Limit                     Soft Limit           Hard Limit           Units     \n\
             Max cpu time              unlimited            unlimited            seconds   \n\
             Max file size             1024000              unlimited            bytes     \n",
            Some(1_024_000),
        );
        check(
            "Max file size             unlimited            unlimited            bytes     ",
            None,
        );
        check(
            "Max data size             7                    7                    bytes     ",
            None,
        );
        check("", None);
    }

    #[test]
    fn bytes_for_people() {
        let check = |n_bytes: u64, expected: &str| assert_eq!(human_bytes(n_bytes), expected);
        check(0, "0 B");
        check(999, "999 B");
        check(1000, "1.0 kB");
        check(98_362_432, "98.4 MB");
        check(999_999_999, "1.0 GB");
        check(u64::MAX, "18446744.1 TB");
    }
}
