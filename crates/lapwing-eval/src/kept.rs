//! What a measurement that was broken off leaves behind, for the same command to go on from.
//!
//! One journal a set of settings, in one folder; it is removed when the measurement is
//! done.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lapwing_files::{FileError, checksum};

use crate::journal::{Journal, JournalKey, OpenJournalError};

/// Digits of a key's hash in the name of its journal.
const N_NAME_DIGITS: usize = 16;

/// The journal of one measurement.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    /// What is finished.
    pub journal: Journal,
}

/// Why nothing can be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The folder cannot be made, or what is left over not be removed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The journal cannot be used.
    #[error("cannot keep what is finished")]
    Journal(#[from] OpenJournalError),
}

impl Kept {
    /// Open the journal in `folder` for these settings, or begin one. With `fresh` what is there is
    /// thrown away.
    ///
    /// # Errors
    ///
    /// When a file cannot be used, or another process writes the journal.
    pub fn open(folder: &Path, key: &JournalKey, fresh: bool) -> Result<Kept, KeepError> {
        std::fs::create_dir_all(folder).map_err(FileError::cannot("make", folder))?;
        let path = folder.join(file_name(key));
        let mut journal = Journal::open(&path, key);
        if fresh && !matches!(journal, Err(OpenJournalError::InUse { .. })) {
            drop(journal);
            remove(&path)?;
            journal = Journal::open(&path, key);
        }
        Ok(Kept { path, journal: journal? })
    }

    /// The measurement is done: nothing is left to go on from.
    ///
    /// # Errors
    ///
    /// When the file cannot be removed.
    pub fn remove(self) -> Result<(), KeepError> {
        drop(self.journal);
        Ok(remove(&self.path)?)
    }
}

fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(FileError::cannot("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn file_name(key: &JournalKey) -> String {
    let text = serde_json::Value::Object(key.clone()).to_string();
    let sha256 = checksum::sha256_bytes(text.as_bytes());
    format!("{}.jsonl", &sha256[..N_NAME_DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(limit: u64) -> JournalKey {
        let mut key = JournalKey::new();
        key.insert("limit".to_owned(), limit.into());
        key
    }

    #[test]
    fn other_settings_have_another_journal() {
        assert_eq!(file_name(&key(1)), file_name(&key(1)));
        assert_ne!(file_name(&key(1)), file_name(&key(2)));
    }

    #[test]
    fn finished_units_are_found_again_until_they_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let open = |fresh| Kept::open(&folder.path().join("eval"), &key(1), fresh);
        open(false).unwrap().journal.finish("window 0", &1.0).unwrap();
        let again = open(false).unwrap();
        assert_eq!(again.journal.n_finished(), 1);
        // Whoever writes it is not robbed of it.
        assert!(open(true).is_err());
        drop(again);
        assert_eq!(open(true).unwrap().journal.n_finished(), 0);
        let kept = open(false).unwrap();
        let path = kept.path.clone();
        kept.remove().unwrap();
        assert!(!path.exists());
    }
}
