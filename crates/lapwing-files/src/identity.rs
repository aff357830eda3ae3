//! Whether a file is still the one that was opened, told without reading it.

use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// What changes when somebody writes to a file, cuts it off or puts another one in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its length.
    pub n_bytes: u64,
    /// When it was last written to, in nanoseconds since 1970; 0 where the system does not tell.
    pub modified_ns: u64,
    /// Which file the name leads to: the number of its inode; 0 where there are none.
    pub inode: u64,
}

impl Identity {
    /// That of an open file, or of the one that a name leads to.
    pub fn of(metadata: &Metadata) -> Identity {
        let modified = metadata.modified().ok();
        let since = modified.and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
        let modified_ns = since.and_then(|since| u64::try_from(since.as_nanos()).ok());
        Identity {
            n_bytes: metadata.len(),
            modified_ns: modified_ns.unwrap_or(0),
            inode: inode(metadata),
        }
    }

    /// That of the file at `path`.
    ///
    /// # Errors
    ///
    /// When there is none, or the system does not tell.
    pub fn at(path: &Path) -> io::Result<Identity> {
        std::fs::metadata(path).map(|metadata| Identity::of(&metadata))
    }

    /// What became of the file that had this identity and has `now`, in few words; `None` when it
    /// is the same.
    pub fn change_to(&self, now: &Identity) -> Option<String> {
        if self == now {
            return None;
        }
        Some(match (self.inode == now.inode, self.n_bytes == now.n_bytes) {
            (false, _) => "another file is in its place".to_owned(),
            (true, true) => "it was written to, or its time was set".to_owned(),
            (true, false) => format!("it had {} bytes and has {}", self.n_bytes, now.n_bytes),
        })
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn whoever_writes_cuts_off_or_replaces_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.bin");
        std::fs::write(&path, [7; 100]).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        // Not the present moment, which the changes below have.
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        let before = Identity::at(&path).unwrap();
        let change = || before.change_to(&Identity::at(&path).unwrap());
        assert_eq!(change(), None);
        std::fs::read(&path).unwrap();
        assert_eq!(change(), None, "who reads changes nothing");
        std::fs::write(&path, [8; 100]).unwrap();
        assert_eq!(change().as_deref(), Some("it was written to, or its time was set"));
        file.set_len(10).unwrap();
        assert_eq!(change().as_deref(), Some("it had 100 bytes and has 10"));
        if cfg!(unix) {
            std::fs::write(folder.path().join("new"), [7; 100]).unwrap();
            std::fs::rename(folder.path().join("new"), &path).unwrap();
            assert_eq!(change().as_deref(), Some("another file is in its place"));
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Identity::at(&path).is_err());
    }
}
