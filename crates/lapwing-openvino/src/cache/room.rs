//! Whether a compiled model can be written at all.
//!
//! OpenVINO says nothing when a disk is full: it removes what it wrote and goes on. At the limit
//! for the size of files (`ulimit -f`) the system ends the whole process. So both are looked at
//! before.

use std::path::{Path, PathBuf};

use sysinfo::{DiskRefreshKind, Disks};

/// Left for everybody else.
const N_BYTES_RESERVED: u64 = 64 << 20;

/// Why a compiled model of some size cannot be written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoRoom {
    /// The disk is too full.
    #[error(
        "no room in {}: {} needed, {} free",
        folder.display(), megabytes(*n_bytes_needed), megabytes(*n_bytes_free)
    )]
    Disk {
        /// Where it was to go.
        folder: PathBuf,
        /// What it may take.
        n_bytes_needed: u64,
        /// What there is.
        n_bytes_free: u64,
    },
    /// Files of this process may not be so large.
    #[error(
        "a file may have {}, {} needed (`ulimit -f`)",
        megabytes(*n_bytes_max), megabytes(*n_bytes_needed)
    )]
    FileSize {
        /// What it may take.
        n_bytes_needed: u64,
        /// The limit.
        n_bytes_max: u64,
    },
}

/// Check that the compiled form of weights of `n_bytes` may be written into `folder`, as far as the
/// system tells.
///
/// # Errors
///
/// When it may not.
pub(super) fn require(folder: &Path, n_bytes: u64) -> Result<(), NoRoom> {
    // A compiled model holds its weights, and a graph that is small beside them.
    let n_bytes_needed = n_bytes.saturating_add(n_bytes / 4).saturating_add(N_BYTES_RESERVED);
    fits(folder, n_bytes_needed, file_size_max(), free_bytes(folder))
}

/// Check a size against what there is, where that is known.
fn fits(
    folder: &Path,
    n_bytes_needed: u64,
    file_size_max: Option<u64>,
    n_bytes_free: Option<u64>,
) -> Result<(), NoRoom> {
    if let Some(n_bytes_max) = file_size_max
        && n_bytes_max < n_bytes_needed
    {
        return Err(NoRoom::FileSize { n_bytes_needed, n_bytes_max });
    }
    match n_bytes_free {
        Some(n_bytes_free) if n_bytes_free < n_bytes_needed => {
            Err(NoRoom::Disk { folder: folder.to_owned(), n_bytes_needed, n_bytes_free })
        }
        _ => Ok(()),
    }
}

/// The largest file that this process may write; `None` when there is no limit or none is told.
fn file_size_max() -> Option<u64> {
    limit_in(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

/// The soft limit of the size of files in a text such as `/proc/self/limits`.
fn limit_in(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max file size"))?;
    // `unlimited` is no number.
    line.split_whitespace().next()?.parse().ok()
}

/// Bytes that are free where `folder` is; `None` when the system does not tell.
fn free_bytes(folder: &Path) -> Option<u64> {
    let folder = std::fs::canonicalize(folder).ok()?;
    let wanted = DiskRefreshKind::nothing().with_storage();
    let disks = Disks::new_with_refreshed_list_specifics(wanted).ok()?;
    let holding = disks.iter().filter(|disk| folder.starts_with(disk.mount_point()));
    holding
        .max_by_key(|disk| disk.mount_point().as_os_str().len())
        // File systems of memory and networks are not listed: what remains is then another disk.
        .filter(|disk| is_same_disk(disk.mount_point(), &folder))
        .map(sysinfo::Disk::available_space)
}

#[cfg(unix)]
fn is_same_disk(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev()).ok();
    device(a).is_some_and(|a| Some(a) == device(b))
}

#[cfg(not(unix))]
fn is_same_disk(_: &Path, _: &Path) -> bool {
    true
}

fn megabytes(n_bytes: u64) -> String {
    format!("{:.1} MB", n_bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(require(folder.path(), 0), Ok(()));
        // Where the system tells nothing, nothing is refused.
        let refused = require(folder.path(), u64::MAX);
        assert_eq!(refused.is_err(), free_bytes(folder.path()).is_some());
    }

    #[test]
    fn both_limits_count_where_they_are_known() {
        let check = |file_size_max, n_bytes_free, expected: Option<&str>| {
            let found = fits(Path::new("/cache"), 100, file_size_max, n_bytes_free);
            assert_eq!(found.err().map(|error| error.to_string()).as_deref(), expected);
        };
        check(None, None, None);
        check(Some(100), Some(100), None);
        check(Some(99), Some(100), Some("a file may have 0.0 MB, 0.0 MB needed (`ulimit -f`)"));
        check(Some(100), Some(99), Some("no room in /cache: 0.0 MB needed, 0.0 MB free"));
        check(None, Some(99), Some("no room in /cache: 0.0 MB needed, 0.0 MB free"));
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
    fn the_message_has_both_sizes() {
        let error = NoRoom::FileSize { n_bytes_needed: 150_000_000, n_bytes_max: 1_000_000 };
        assert_eq!(error.to_string(), "a file may have 1.0 MB, 150.0 MB needed (`ulimit -f`)");
    }
}
