//! What a measurement that was broken off leaves behind, for the same command to go on from.
//!
//! One journal a set of settings, below the cache folder; it is removed when the measurement is
//! done.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lapwing_files::{Journal, JournalKey, OpenJournalError, checksum};

use crate::home::Home;
use crate::printer::Printer;

/// Digits of a key's hash in the name of its journal.
const N_NAME_DIGITS: usize = 16;

/// The journal of one measurement.
pub(in crate::commands) struct Kept {
    path: PathBuf,
    pub(in crate::commands) journal: Journal,
}

impl Kept {
    /// Open the journal for these settings, or begin one; says when there is something to go on
    /// from. With `fresh` what is there is thrown away.
    pub(in crate::commands) fn open(
        home: &Home,
        key: &JournalKey,
        fresh: bool,
        printer: &Printer,
    ) -> anyhow::Result<Kept> {
        const FAILED: &str = "cannot keep what is finished";
        let folder = home.cache().join("eval");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(file_name(key));
        let mut journal = Journal::open(&path, key);
        if fresh && !is_in_use(&journal) {
            drop(journal);
            remove(&path)?;
            journal = Journal::open(&path, key);
        }
        let journal = journal.context(FAILED)?;
        if journal.n_finished() != 0 {
            let n_finished = journal.n_finished();
            printer.note(format!("going on: {n_finished} were finished by an earlier run"));
        }
        Ok(Kept { path, journal })
    }

    /// The measurement is done: nothing is left to go on from.
    pub(in crate::commands) fn remove(self) -> anyhow::Result<()> {
        drop(self.journal);
        remove(&self.path)
    }
}

fn is_in_use(opened: &Result<Journal, OpenJournalError>) -> bool {
    matches!(opened, Err(OpenJournalError::InUse { .. }))
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
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
        let home = Home::find(Some(folder.path())).unwrap();
        let open = |fresh| Kept::open(&home, &key(1), fresh, &Printer::new(true));
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
