//! Which weights a file holds, without reading gigabytes at every start.
//!
//! The SHA-256 of a weights file is remembered together with everything by which the file system
//! tells that a file was replaced or written to. Whatever differs, or cannot be told, means reading
//! the file again: a memo that is wrong or lost costs time only.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lapwing_files::checksum::sha256_bytes;
use lapwing_files::{FileError, new_file, regular};
use lapwing_formats::Map;
use serde::{Deserialize, Serialize};

use super::FILE_BYTES_MAX;

/// A file that was written to a moment ago may be written to again within the same tick of the
/// file system's clock.
const AGE_MIN: Duration = Duration::from_secs(2);

/// What a memo file says.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Memo {
    file: FileIdentity,
    sha256: String,
}

/// By what a file is known to be the same as before.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct FileIdentity {
    path: PathBuf,
    n_bytes: u64,
    modified_ns: u64,
    /// When its owner, name or content last changed; nobody can set this back.
    changed_ns: i64,
    inode: u64,
}

/// The SHA-256 of mapped weights, out of a memo in `folder` or computed and remembered there.
pub(super) fn sha256_of_weights(folder: &Path, weights: &Map) -> String {
    let identity = identity(weights);
    let memo_path = folder.join(format!("{}.json", name_of(weights.path())));
    if let Some(identity) = &identity
        && let Some(memo) = read(&memo_path)
        && memo.file == *identity
    {
        return memo.sha256;
    }
    let started = Instant::now();
    let sha256 = sha256_bytes(weights);
    let elapsed = started.elapsed();
    if let Some(file) = identity.filter(|file| is_settled(file, SystemTime::now())) {
        let memo = serde_json::to_vec(&Memo { file, sha256: sha256.clone() });
        // Without a memo the next start computes it again.
        let written = memo.map(|memo| {
            let made = std::fs::create_dir_all(folder).map_err(FileError::cannot("write", folder));
            made.and_then(|()| new_file::write(&memo_path, &memo))
        });
        tracing::debug!(memo = %memo_path.display(), ?written, ?elapsed, "hashed the weights");
    }
    sha256
}

/// The name of the memo of the file at `path`.
fn name_of(path: &Path) -> String {
    let whole = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    sha256_bytes(whole.as_os_str().as_encoded_bytes())[..32].to_owned()
}

/// What the file system says about the file behind `weights`; `None` when it does not say enough.
fn identity(weights: &Map) -> Option<FileIdentity> {
    let path = std::fs::canonicalize(weights.path()).ok()?;
    let metadata = std::fs::metadata(&path).ok()?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let (changed_ns, inode) = changed_and_inode(&metadata);
    let file = FileIdentity {
        path,
        n_bytes: metadata.len(),
        modified_ns: u64::try_from(modified.as_nanos()).ok()?,
        changed_ns,
        inode,
    };
    // Another file may be there already.
    (file.n_bytes == weights.len() as u64).then_some(file)
}

#[cfg(unix)]
fn changed_and_inode(metadata: &Metadata) -> (i64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    let seconds_ns = metadata.ctime().saturating_mul(1_000_000_000);
    (seconds_ns.saturating_add(metadata.ctime_nsec()), metadata.ino())
}

#[cfg(not(unix))]
fn changed_and_inode(_: &Metadata) -> (i64, u64) {
    (0, 0)
}

fn is_settled(file: &FileIdentity, now: SystemTime) -> bool {
    let modified = UNIX_EPOCH + Duration::from_nanos(file.modified_ns);
    now.duration_since(modified).is_ok_and(|age| AGE_MIN <= age)
}

fn read(path: &Path) -> Option<Memo> {
    serde_json::from_slice(&regular::read(path, FILE_BYTES_MAX).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    /// Weights that were written an hour ago, beside a folder for memos.
    struct Case {
        folder: tempfile::TempDir,
    }

    impl Case {
        fn new() -> Case {
            let case = Case { folder: tempfile::tempdir().unwrap() };
            case.write("weights", Duration::from_secs(3600));
            case
        }

        fn write(&self, text: &str, age: Duration) {
            std::fs::write(self.weights(), text).unwrap();
            let file = File::options().append(true).open(self.weights()).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        }

        fn weights(&self) -> PathBuf {
            self.folder.path().join("model.bin")
        }

        fn memos(&self) -> PathBuf {
            self.folder.path().join("memos")
        }

        fn memo(&self) -> Option<PathBuf> {
            let entry = std::fs::read_dir(self.memos()).ok()?.next()?;
            Some(entry.unwrap().path())
        }

        fn sha256(&self) -> String {
            sha256_of_weights(&self.memos(), &Map::open(&self.weights()).unwrap())
        }

        /// Make the memo say something that the file would never hash to.
        fn forge(&self) {
            let path = self.memo().unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replace(&sha256_bytes(b"weights"), "forged")).unwrap();
        }
    }

    #[test]
    fn a_file_is_hashed_once() {
        let case = Case::new();
        assert_eq!(case.sha256(), sha256_bytes(b"weights"));
        case.forge();
        assert_eq!(case.sha256(), "forged", "the memo is believed");
    }

    #[test]
    fn a_file_that_changed_is_hashed_again() {
        let case = Case::new();
        case.sha256();
        case.forge();
        case.write("weightz", Duration::from_secs(3600));
        assert_eq!(case.sha256(), sha256_bytes(b"weightz"), "same length, other time");
        // What was put in its place with the old time.
        let case = Case::new();
        case.sha256();
        case.forge();
        let modified = std::fs::metadata(case.weights()).unwrap().modified().unwrap();
        std::fs::write(case.folder.path().join("new"), "wEights").unwrap();
        std::fs::rename(case.folder.path().join("new"), case.weights()).unwrap();
        File::options().append(true).open(case.weights()).unwrap().set_modified(modified).unwrap();
        assert_eq!(case.sha256(), sha256_bytes(b"wEights"), "same length and time, another file");
    }

    #[test]
    fn weights_that_are_no_longer_in_the_file_are_not_remembered() {
        let case = Case::new();
        let mapped = Map::open(&case.weights()).unwrap();
        let modified = std::fs::metadata(case.weights()).unwrap().modified().unwrap();
        std::fs::write(case.folder.path().join("new"), "longer weights").unwrap();
        std::fs::rename(case.folder.path().join("new"), case.weights()).unwrap();
        File::options().append(true).open(case.weights()).unwrap().set_modified(modified).unwrap();
        assert_eq!(sha256_of_weights(&case.memos(), &mapped), sha256_bytes(b"weights"));
        assert_eq!(case.memo(), None);
    }

    #[test]
    fn a_file_of_this_very_moment_is_not_remembered() {
        let case = Case::new();
        case.write("weights", Duration::ZERO);
        assert_eq!(case.sha256(), sha256_bytes(b"weights"));
        assert_eq!(case.memo(), None);
    }

    #[test]
    fn a_broken_memo_is_replaced() {
        let case = Case::new();
        case.sha256();
        for broken in ["", "{", "[]", "{\"sha256\":\"a\"}"] {
            std::fs::write(case.memo().unwrap(), broken).unwrap();
            assert_eq!(case.sha256(), sha256_bytes(b"weights"), "{broken}");
        }
        assert!(read(&case.memo().unwrap()).is_some(), "it is whole again");
    }
}
