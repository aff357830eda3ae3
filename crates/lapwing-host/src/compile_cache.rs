//! What OpenVINO compiled, kept so that a model opens faster the next time.
//!
//! The backend keeps an entry for each model and what it was compiled by and for; how much they may
//! take is decided here. Everything in the folder can be made again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapwing_backend::{CacheOutcome, CacheUse};
use lapwing_files::{Lock, disk, new_folder};
use lapwing_openvino::cache::{self, Entry, EntryState, RemoveEntryError};
use lapwing_store::Store;
use serde::{Deserialize, Serialize};

/// What the cache may take; a model of a few billion parameters leaves an entry of its own size.
pub const N_BYTES_MAX: u64 = 4_000_000_000;

/// One entry as users see it; the keys are those of the JSON.
#[derive(Debug, Clone, Serialize)]
pub struct KeptModel {
    /// The name of the entry.
    pub key: String,
    /// The model's name in the store, or the folder where it was; none when that is not known.
    pub model: Option<String>,
    /// The graph that was compiled.
    pub graph: Option<PathBuf>,
    /// The library's name for the device.
    pub device: Option<String>,
    /// The device's own name.
    pub device_name: Option<String>,
    /// The version of its driver.
    pub driver_version: Option<String>,
    /// The version of OpenVINO.
    pub library_version: Option<String>,
    /// What the library was told.
    pub properties: Option<BTreeMap<String, String>>,
    /// All files of the entry.
    pub size_bytes: u64,
    /// How long the compilation took.
    pub compile_ms: Option<f64>,
    /// When it was compiled, in seconds since 1970.
    pub created_unix_s: Option<u64>,
    /// When a model last came out of it.
    pub last_used_unix_s: u64,
    /// `ready`, `in use` or `damaged`.
    pub state: &'static str,
    /// What is wrong with a damaged one.
    pub why: Option<String>,
    /// Where it is.
    pub path: PathBuf,
}

/// What came of the cache when a model was opened; the keys are those of the JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheReport {
    /// `hit`, `stored`, `rebuilt` or `not stored`.
    pub outcome: String,
    /// Why it was compiled again, or is not kept.
    pub why: Option<String>,
    /// What the entry takes.
    pub size_bytes: u64,
}

/// What was removed, and what could not be.
#[derive(Debug, Default)]
pub struct Cleared {
    /// Entries that are gone.
    pub n_removed: usize,
    /// What they took.
    pub n_bytes: u64,
    /// Entries that are still there.
    pub refused: Vec<RemoveEntryError>,
    /// Entries that other processes are making.
    pub n_being_made: usize,
}

/// Compiled models that were to be removed are in use, or cannot be removed.
#[derive(Debug, thiserror::Error)]
#[error("{n_refused} of {n_wanted} compiled models stay: {first}")]
pub struct NotCleared {
    /// Those that stay.
    pub n_refused: usize,
    /// Those that were to go.
    pub n_wanted: usize,
    /// Why the first one stays.
    pub first: String,
}

/// Size of everything in the cache.
pub fn n_bytes(folder: &Path) -> u64 {
    disk::n_bytes_below(folder)
}

/// Every entry, the one that was used last first.
pub fn list(folder: &Path, store: &Store) -> Vec<KeptModel> {
    let mut entries = cache::entries(folder);
    entries.reverse();
    entries.into_iter().map(|entry| KeptModel::of(entry, store)).collect()
}

/// Remove what killed processes and earlier versions left behind.
pub fn sweep(folder: &Path) {
    cache::sweep(folder);
}

/// After a model was opened: make room when an entry was added. What is in use stays, so that a model
/// that is larger than the whole cache is kept too.
pub fn settle(folder: &Path, cache_use: &CacheUse) {
    if matches!(cache_use.outcome, CacheOutcome::Stored | CacheOutcome::Rebuilt { .. }) {
        for entry in cache::trim(folder, N_BYTES_MAX) {
            tracing::info!(entry = %entry.folder.display(), "removed from the compile cache");
        }
    }
}

/// Remove the entries that `is_wanted` of the list, except those in use.
pub fn clear(folder: &Path, store: &Store, is_wanted: &dyn Fn(&KeptModel) -> bool) -> Cleared {
    let mut cleared = Cleared::default();
    for entry in cache::entries(folder) {
        if !is_wanted(&KeptModel::of(entry.clone(), store)) {
            continue;
        }
        match cache::remove(folder, &entry) {
            Ok(()) => {
                cleared.n_removed += 1;
                cleared.n_bytes += entry.n_bytes;
            }
            Err(error) => cleared.refused.push(error),
        }
    }
    cleared
}

/// Delete the whole cache, with what is no entry; what is in use stays.
///
/// # Errors
///
/// When it is there and cannot be deleted.
pub fn remove(folder: &Path, store: &Store) -> io::Result<Cleared> {
    let before = n_bytes(folder);
    sweep(folder);
    let mut cleared = clear(folder, store, &|_| true);
    if cleared.refused.is_empty() {
        cleared.n_being_made = remove_rest(folder)?;
    }
    cleared.n_bytes = before.saturating_sub(n_bytes(folder));
    Ok(cleared)
}

/// How names end that are no entries and ours.
const OUR_ENDS: [&str; 4] = [".lock", ".partial", ".blob", ".cl_cache"];

/// Remove what is no entry, but nothing that another process is making: it holds the lock. Returns
/// how many those are.
fn remove_rest(folder: &Path) -> io::Result<usize> {
    let names: Vec<_> = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?.flatten().map(|entry| entry.path()).collect(),
    };
    let is_lock = |path: &&PathBuf| path.extension().is_some_and(|end| end == "lock");
    let mut held = Vec::new();
    for path in names.iter().filter(is_lock) {
        if Lock::is_held(path) {
            held.extend(path.file_stem().map(|key| key.to_string_lossy().into_owned()));
        }
    }
    for path in &names {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_ours = name == "weights" || OUR_ENDS.iter().any(|end| name.ends_with(end));
        if !is_ours {
            continue;
        }
        if held.iter().any(|key| name.contains(key.as_str())) {
            continue;
        }
        match new_folder::remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    // It stays while something is in it.
    let _ = std::fs::remove_dir(folder);
    Ok(held.len())
}

impl Cleared {
    /// Whether everything is gone that was to go.
    ///
    /// # Errors
    ///
    /// When something stays.
    pub fn require_all(&self) -> Result<(), NotCleared> {
        let n_refused = self.refused.len() + self.n_being_made;
        let being_made =
            (self.n_being_made != 0).then(|| "another process is compiling".to_owned());
        match self.refused.first().map(with_cause).or(being_made) {
            None => Ok(()),
            Some(first) => {
                let n_wanted = self.n_removed + n_refused;
                Err(NotCleared { n_refused, n_wanted, first })
            }
        }
    }
}

impl CacheReport {
    /// As JSON and messages tell it.
    pub fn of(cache_use: &CacheUse) -> Self {
        let (outcome, why) = match &cache_use.outcome {
            CacheOutcome::Hit => ("hit", None),
            CacheOutcome::Stored => ("stored", None),
            CacheOutcome::Rebuilt { why } => ("rebuilt", Some(why.clone())),
            CacheOutcome::NotStored { why } => ("not stored", Some(why.clone())),
        };
        Self { outcome: outcome.to_owned(), why, size_bytes: cache_use.n_bytes }
    }

    /// Whether the model came out of the cache.
    pub fn is_hit(&self) -> bool {
        self.outcome == "hit"
    }
}

fn with_cause(error: &RemoveEntryError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

impl KeptModel {
    fn of(entry: Entry, store: &Store) -> Self {
        let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let record = entry.record.as_ref();
        let by = record.map(|record| &record.by);
        let (state, why) = match entry.state {
            EntryState::Ready => ("ready", None),
            EntryState::InUse => ("in use", None),
            EntryState::Damaged { why } => ("damaged", Some(why)),
        };
        Self {
            model: record.and_then(|record| model_of(&record.graph, store)),
            graph: record.map(|record| record.graph.clone()),
            device: by.map(|by| by.device.clone()),
            device_name: by.map(|by| by.device_name.clone()),
            driver_version: by.and_then(|by| by.driver_version.clone()),
            library_version: by.map(|by| by.library_version.clone()),
            properties: by.map(|by| by.properties.clone()),
            size_bytes: entry.n_bytes,
            compile_ms: record.map(|record| record.compile_ms),
            created_unix_s: record.map(|record| record.created_unix_s),
            last_used_unix_s: since(entry.last_used).as_secs(),
            state,
            why,
            path: entry.folder,
            key: entry.key,
        }
    }

    /// Whether it was compiled from the model that a user calls `name`, at `path` where there is
    /// one.
    pub fn is_of(&self, name: &str, path: Option<&Path>) -> bool {
        let same = |path: &Path| {
            let whole = |path: &Path| std::fs::canonicalize(path).ok();
            let folder = self.graph.as_deref().and_then(Path::parent);
            folder.is_some_and(|folder| whole(folder).is_some() && whole(folder) == whole(path))
        };
        self.model.as_deref() == Some(name) || path.is_some_and(same)
    }
}

/// The name in the store of the model that `graph` belongs to, or its folder.
fn model_of(graph: &Path, store: &Store) -> Option<String> {
    let folder = graph.parent()?;
    let stored = store.list().unwrap_or_default();
    let name = stored.into_iter().find(|model| folder.starts_with(&model.path));
    Some(name.map_or_else(|| folder.display().to_string(), |model| model.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_says_whether_the_model_came_out_of_the_cache() {
        let check = |outcome: CacheOutcome, word: &str, why: Option<&str>| {
            let cache_use = CacheUse { outcome, folder: PathBuf::new(), n_bytes: 7 };
            let report = CacheReport::of(&cache_use);
            assert_eq!((report.outcome.as_str(), report.size_bytes), (word, 7));
            assert_eq!(report.why.as_deref(), why);
            assert_eq!(report.is_hit(), cache_use.outcome == CacheOutcome::Hit);
        };
        let why = || "because".to_owned();
        check(CacheOutcome::Hit, "hit", None);
        check(CacheOutcome::Stored, "stored", None);
        check(CacheOutcome::Rebuilt { why: why() }, "rebuilt", Some("because"));
        check(CacheOutcome::NotStored { why: why() }, "not stored", Some("because"));
    }

    #[test]
    fn a_cache_is_removed_with_everything_in_it() {
        let root = tempfile::tempdir().unwrap();
        let (folder, store) = (root.path().join("openvino"), Store::new(root.path().join("store")));
        assert_eq!(remove(&folder, &store).unwrap().n_bytes, 0);
        std::fs::create_dir_all(folder.join("weights")).unwrap();
        std::fs::write(folder.join("17.blob"), [0; 1000]).unwrap();
        std::fs::write(folder.join("weights/memo.json"), [0; 10]).unwrap();
        std::fs::create_dir(folder.join("0123456789abcdef0123456789abcdef")).unwrap();
        assert_eq!(n_bytes(&folder), 1010);
        let [kept] = &list(&folder, &store)[..] else { panic!("one entry") };
        assert_eq!((kept.state, &kept.model), ("damaged", &None));
        let cleared = remove(&folder, &store).unwrap();
        assert_eq!((cleared.n_removed, cleared.n_bytes), (1, 1010));
        assert!(!folder.exists());
    }

    #[test]
    fn clearing_leaves_what_is_being_made_and_what_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path();
        let key = "0123456789abcdef0123456789abcdef";
        let other = "fedcba9876543210fedcba9876543210";
        let partial = |key: &str| cache.join(format!(".{key}.7.partial"));
        for path in [partial(key), partial(other), cache.join("mine")] {
            std::fs::create_dir(path).unwrap();
        }
        std::fs::write(cache.join("note.txt"), "mine").unwrap();
        std::fs::write(cache.join(format!("{other}.lock")), "").unwrap();
        let held = std::fs::File::create(cache.join(format!("{key}.lock"))).unwrap();
        held.lock().unwrap();
        assert_eq!(remove_rest(cache).unwrap(), 1);
        assert!(partial(key).is_dir() && cache.join(format!("{key}.lock")).is_file());
        assert!(!partial(other).exists() && !cache.join(format!("{other}.lock")).exists());
        assert!(cache.join("mine").is_dir() && cache.join("note.txt").is_file());
        drop(held);
        assert_eq!(remove_rest(cache).unwrap(), 0);
        assert!(!partial(key).exists());
        assert_eq!(remove_rest(&cache.join("nothing")).unwrap(), 0);
    }
}
