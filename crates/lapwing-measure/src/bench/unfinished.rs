//! Runs that are not over: noted while they last, so that a rerun goes on where they stopped.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};

use crate::record;
use lapwing_files::{FileError, Lock, LockError, new_file};
use serde::{Deserialize, Serialize};

/// What was measured longer ago may be of a machine in another state.
const AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A run that is noted; forgotten with [`Unfinished::finish`].
#[derive(Debug)]
pub struct Unfinished {
    folder: PathBuf,
    /// Its name.
    pub run_id: String,
    /// Whether it was begun by an earlier call.
    pub is_resumed: bool,
    /// When the earliest of its calls began.
    pub started_at: SystemTime,
    // Nobody else goes on with it while this is held.
    _lock: Lock,
}

/// What is written down of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    run_id: String,
    plan_sha256: String,
    started_at_s: u64,
}

/// Why a run cannot be noted or gone on with.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum UnfinishedError {
    /// The run that was named is not there.
    #[error("there is no unfinished run {run_id} in {}", folder.display())]
    Unknown { run_id: String, folder: PathBuf },
    /// It measured something else.
    #[error("run {run_id} is of other models, settings, tests, libraries or another program")]
    Other { run_id: String },
    /// The note cannot be written.
    #[error(transparent)]
    Write(#[from] FileError),
    /// Somebody measures it right now, or it cannot be locked.
    #[error("cannot take up run {run_id}")]
    Lock { run_id: String, source: LockError },
}

impl Unfinished {
    /// Go on with the run `resume`, or with the newest one of the same plan unless `fresh`, or
    /// begin one.
    ///
    /// # Errors
    ///
    /// When the named run is not there or of another plan, or the note cannot be written.
    pub fn begin(
        folder: &Path,
        plan_sha256: &str,
        host: &str,
        resume: Option<&str>,
        fresh: bool,
    ) -> Result<Unfinished, UnfinishedError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut notes = notes(folder);
        notes.sort_by_key(|note| std::cmp::Reverse(note.started_at_s));
        if let Some(run_id) = resume {
            let run_id = run_id.to_owned();
            let note = notes.into_iter().find(|note| note.run_id == run_id).ok_or_else(|| {
                UnfinishedError::Unknown { run_id: run_id.clone(), folder: folder.to_owned() }
            })?;
            if note.plan_sha256 != plan_sha256 {
                return Err(UnfinishedError::Other { run_id });
            }
            return Self::hold(folder, &note, true);
        }
        let is_recent = |note: &Note| now.saturating_sub(note.started_at_s) <= AGE_MAX.as_secs();
        for note in notes.iter().filter(|note| !fresh && note.plan_sha256 == plan_sha256) {
            // Another process may be measuring the same right now.
            if let (true, Ok(unfinished)) = (is_recent(note), Self::hold(folder, note, true)) {
                return Ok(unfinished);
            }
        }
        for note in notes.iter().filter(|note| !is_recent(note)) {
            // A run may last longer than a day: nobody holds one that was broken off.
            if let Ok(old) = Self::hold(folder, note, true) {
                forget(folder, &old.run_id);
            }
        }
        let run_id = record::run_id(host, SystemTime::now(), std::process::id());
        let note =
            Note { run_id: run_id.clone(), plan_sha256: plan_sha256.into(), started_at_s: now };
        let unfinished = Self::hold(folder, &note, false)?;
        let path = note_path(folder, &run_id);
        let text = serde_json::to_vec(&note).expect("a note has only string keys");
        new_file::write(&path, &text).inspect_err(|_| forget(folder, &run_id))?;
        Ok(unfinished)
    }

    /// It is over.
    pub fn finish(self) {
        forget(&self.folder, &self.run_id);
        // Only an empty folder goes.
        let _ = std::fs::remove_dir(&self.folder);
    }

    fn hold(folder: &Path, note: &Note, is_resumed: bool) -> Result<Unfinished, UnfinishedError> {
        let run_id = note.run_id.clone();
        let lock = Lock::try_acquire(&lock_path(folder, &run_id))
            .map_err(|source| UnfinishedError::Lock { run_id: run_id.clone(), source })?;
        let folder = folder.to_owned();
        let started_at = UNIX_EPOCH.checked_add(Duration::from_secs(note.started_at_s));
        let started_at = started_at.unwrap_or(UNIX_EPOCH);
        Ok(Unfinished { folder, run_id, is_resumed, started_at, _lock: lock })
    }
}

/// Everything that can be read of what is noted.
fn notes(folder: &Path) -> Vec<Note> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let notes = entries.map(|entry| entry.path());
    let notes = notes.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let text = |path: PathBuf| regular::read(&path, N_TEXT_BYTES_MAX).ok();
    notes.filter_map(|path| serde_json::from_slice(&text(path)?).ok()).collect()
}

/// A note that stays does no harm: it grows old.
fn forget(folder: &Path, run_id: &str) {
    let _ = std::fs::remove_file(note_path(folder, run_id));
    let _ = std::fs::remove_file(lock_path(folder, run_id));
}

fn note_path(folder: &Path, run_id: &str) -> PathBuf {
    folder.join(format!("{run_id}.json"))
}

fn lock_path(folder: &Path, run_id: &str) -> PathBuf {
    folder.join(format!("{run_id}.lock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(folder: &Path, plan: &str, resume: Option<&str>, fresh: bool) -> Unfinished {
        Unfinished::begin(folder, plan, "host", resume, fresh).unwrap()
    }

    #[test]
    fn a_run_that_was_broken_off_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("runs");
        let first = begin(&folder, "plan", None, false);
        assert!(!first.is_resumed);
        let first_id = first.run_id.clone();
        // While it is held, the same command is another run.
        let beside = begin(&folder, "plan", None, false);
        assert!(!beside.is_resumed);
        assert_ne!(beside.run_id, first_id);
        beside.finish();
        drop(first);
        let again = begin(&folder, "plan", None, false);
        assert_eq!((again.is_resumed, &again.run_id), (true, &first_id));
        drop(again);
        assert!(!begin(&folder, "another", None, false).is_resumed);
        assert!(!begin(&folder, "plan", None, true).is_resumed);
        let named = begin(&folder, "plan", Some(&first_id), false);
        assert!(named.is_resumed);
        named.finish();
        let gone = Unfinished::begin(&folder, "plan", "host", Some(&first_id), false);
        assert!(matches!(gone, Err(UnfinishedError::Unknown { .. })), "{gone:?}");
    }

    #[test]
    fn a_run_of_something_else_or_of_long_ago_does_not_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let note = Note { run_id: "0".into(), plan_sha256: "plan".into(), started_at_s: 0 };
        std::fs::write(note_path(folder, "0"), serde_json::to_vec(&note).unwrap()).unwrap();
        let other = Unfinished::begin(folder, "another", "host", Some("0"), false);
        assert!(matches!(other, Err(UnfinishedError::Other { .. })), "{other:?}");
        let begun = begin(folder, "plan", None, false);
        assert!(!begun.is_resumed);
        assert!(!note_path(folder, "0").exists(), "it is old");
        begun.finish();
        assert!(!folder.exists(), "nothing is left");
    }

    #[test]
    fn a_run_that_lasts_is_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let note = Note { run_id: "0".into(), plan_sha256: "plan".into(), started_at_s: 60 };
        std::fs::write(note_path(folder, "0"), serde_json::to_vec(&note).unwrap()).unwrap();
        let running = begin(folder, "plan", Some("0"), false);
        assert_eq!(running.started_at, UNIX_EPOCH + Duration::from_secs(60));
        begin(folder, "plan", None, false).finish();
        assert!(note_path(folder, "0").exists(), "it is held");
        drop(running);
        begin(folder, "plan", None, false).finish();
        assert!(!note_path(folder, "0").exists(), "it is old, and nobody holds it");
    }
}
