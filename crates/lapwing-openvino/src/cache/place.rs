//! The place of one entry: what is there, what comes of using it, and what is put there.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use lapwing_backend::{CacheOutcome, CacheUse};
use lapwing_files::{Lease, disk};
use tracing::debug;

use super::entry::{EntryRecord, RECORD_FILE, blob_files};
use super::key::KeyFacts;
use super::{Cached, Compile, Compiled, paths};

/// Left on the disk for everybody else.
const N_BYTES_RESERVED: u64 = 64 << 20;

const UNREADABLE: &str = "OpenVINO does not take what it wrote of this model";

/// Where one entry is, or will be.
pub(super) struct Place<'a> {
    pub(super) key: String,
    pub(super) folder: PathBuf,
    /// Where this process writes it.
    pub(super) partial: PathBuf,
    pub(super) facts: &'a KeyFacts<'a>,
    /// A GPU's kernels for new shapes are compiled while it runs, and written into the folder that
    /// the compilation was told: it must be one that stays.
    pub(super) is_gpu: bool,
}

/// What came of looking for an entry.
enum Found<T> {
    Nothing,
    Hit(T, u64, Option<Lease>),
    /// Something is wrong with it.
    Bad(String),
    /// What came out of it computed something else than what went in, now or at an earlier start.
    Refused(String),
    /// The library did not take it, and compiled and wrote beside it.
    Anew(T, Before),
    /// The same of an entry that it never took: it cannot read what it writes of this model.
    Unreadable(T),
}

/// The library's files before it was called.
struct Before {
    files: BTreeMap<String, (u64, Option<SystemTime>)>,
    compile: Duration,
}

impl Place<'_> {
    /// Take the model out of the entry, or compile it and make one.
    pub(super) fn read_or_write<T: Compiled>(
        &self,
        cache: &Path,
        compile: &mut Compile<'_, T>,
    ) -> Result<Cached<T>, T::Error> {
        self.remove_partials(cache);
        match self.look(compile) {
            Found::Hit(compiled, n_bytes, lease) => Ok(self.hit(compiled, n_bytes, lease)),
            Found::Nothing => self.compile_anew(None, compile),
            Found::Bad(why) => self.compile_anew(Some(why), compile),
            Found::Refused(why) => not_stored(compile(None)?, &self.folder, why),
            Found::Unreadable(compiled) => {
                not_stored(compiled, &self.folder, UNREADABLE.to_owned())
            }
            Found::Anew(compiled, before) => {
                let why = "OpenVINO did not take it".to_owned();
                let row = compiled.first_row()?;
                let stored = self.set_aside(&before).and_then(|()| self.keep(before.compile, &row));
                self.settle(compiled, stored, Some(why), compile)
            }
        }
    }

    /// Where nothing can be written an entry may still be taken.
    pub(super) fn read_only<T: Compiled>(
        &self,
        compile: &mut Compile<'_, T>,
        why: String,
    ) -> Result<Cached<T>, T::Error> {
        if self.is_gpu {
            return not_stored(compile(None)?, &self.folder, why);
        }
        match self.look(compile) {
            Found::Hit(compiled, n_bytes, lease) => Ok(self.hit(compiled, n_bytes, lease)),
            Found::Nothing => not_stored(compile(None)?, &self.folder, why),
            Found::Refused(why) => not_stored(compile(None)?, &self.folder, why),
            Found::Bad(bad) => {
                let why = format!("{bad}, and {why}");
                not_stored(compile(None)?, &self.folder, why)
            }
            Found::Unreadable(compiled) => {
                not_stored(compiled, &self.folder, UNREADABLE.to_owned())
            }
            Found::Anew(compiled, _) => {
                let why = format!("OpenVINO did not take it, and {why}");
                not_stored(compiled, &self.folder, why)
            }
        }
    }

    /// Take the model out of the entry, if there is one and nothing is wrong with it.
    fn look<T: Compiled>(&self, compile: &mut Compile<'_, T>) -> Found<T> {
        if std::fs::symlink_metadata(&self.folder).is_err() {
            return Found::Nothing;
        }
        let started = Instant::now();
        let record = match EntryRecord::read(&self.folder) {
            Ok(record) => record,
            Err(why) => return Found::Bad(why),
        };
        if let Err(why) = record.check(&self.folder, &self.key, self.facts) {
            return Found::Bad(why);
        }
        if let Some(why) = record.refused {
            return Found::Refused(why);
        }
        let checked = started.elapsed();
        let lease = Lease::take(&self.record_path());
        let files = files_of(&self.folder);
        let started = Instant::now();
        let compiled = compile(Some(&self.folder));
        let compile = started.elapsed();
        debug!(key = self.key, ?checked, ?compile, "looked into the compile cache");
        match compiled {
            Ok(compiled) => {
                // What is not from the cache was written to it.
                let is_unchanged = || files == files_of(&self.folder);
                let is_taken = compiled.is_from_cache().unwrap_or_else(is_unchanged);
                if !is_taken && !record.is_confirmed {
                    // By its checksums it is what the library wrote.
                    self.note(record.refuse(&self.folder, UNREADABLE));
                    return Found::Unreadable(compiled);
                }
                if !is_taken {
                    return Found::Anew(compiled, Before { files, compile });
                }
                let n_bytes = record.n_bytes();
                match self.confirm(&compiled, record) {
                    // The record may be another file now.
                    Ok(()) => Found::Hit(compiled, n_bytes, Lease::take(&self.record_path())),
                    Err(why) => {
                        drop((compiled, lease));
                        Found::Refused(why)
                    }
                }
            }
            Err(error) => Found::Bad(format!("OpenVINO cannot use it: {error}")),
        }
    }

    /// Demand that a model out of the entry computes what went in, unless one did before: the files
    /// are those that were written, and another version of the library has another entry.
    fn confirm<T: Compiled>(&self, compiled: &T, mut record: EntryRecord) -> Result<(), String> {
        if record.is_confirmed {
            return Ok(());
        }
        let confirmed = require_same(compiled, &record);
        let noted = match &confirmed {
            Ok(()) => {
                record.is_confirmed = true;
                record.write(&self.folder)
            }
            Err(why) => record.refuse(&self.folder, why),
        };
        self.note(noted);
        confirmed
    }

    fn note(&self, noted: io::Result<()>) {
        if let Err(error) = noted {
            debug!(key = self.key, %error, "the next start will find it out again");
        }
    }

    fn record_path(&self) -> PathBuf {
        self.folder.join(RECORD_FILE)
    }

    fn hit<T>(&self, compiled: T, n_bytes: u64, lease: Option<Lease>) -> Cached<T> {
        let folder = self.folder.clone();
        let cache_use = CacheUse { outcome: CacheOutcome::Hit, folder, n_bytes };
        Cached { compiled, cache_use, lease }
    }

    /// Compile the model and keep it; `bad` is what was wrong with the entry that was there.
    fn compile_anew<T: Compiled>(
        &self,
        bad: Option<String>,
        compile: &mut Compile<'_, T>,
    ) -> Result<Cached<T>, T::Error> {
        if let Err(why) = self.ready() {
            self.remove_bad(bad.is_some());
            return not_stored(compile(None)?, &self.folder, why);
        }
        let started = Instant::now();
        let compiled = match compile(Some(&self.partial)) {
            Ok(compiled) => compiled,
            Err(error) => {
                let said = error.to_string();
                remove_folder(&self.partial);
                // The model is at fault unless the message is about the folder.
                let name = self.partial.file_name().unwrap_or_default().to_string_lossy();
                if !said.contains(&*name) {
                    return Err(error);
                }
                self.remove_bad(bad.is_some());
                return not_stored(compile(None)?, &self.folder, said);
            }
        };
        let elapsed = started.elapsed();
        let row = compiled.first_row().inspect_err(|_| remove_folder(&self.partial))?;
        let stored = self.keep(elapsed, &row);
        if stored.is_err() {
            self.remove_bad(bad.is_some());
        }
        self.settle(compiled, stored, bad, compile)
    }

    /// Make the folder to compile into, if there is room.
    fn ready(&self) -> Result<(), String> {
        let parent = self.folder.parent().unwrap_or(Path::new("."));
        let n_bytes = self.facts.weights.len() as u64;
        // A compiled model holds its weights, and a graph that is small beside them.
        let n_bytes = n_bytes.saturating_add(n_bytes / 4).saturating_add(N_BYTES_RESERVED);
        // OpenVINO says nothing when a disk is full: it removes what it wrote and goes on. At the
        // limit for the size of files the system ends the whole process.
        disk::require_file(parent, n_bytes).map_err(|error| error.to_string())?;
        std::fs::create_dir(&self.partial)
            .map_err(|error| format!("cannot write in {}: {error}", parent.display()))
    }

    /// Make an entry of what the library wrote into the partial folder; its size.
    fn keep(&self, compile: Duration, first_row: &[f32]) -> Result<u64, String> {
        let kept = self.try_keep(compile, first_row);
        if kept.is_err() {
            remove_folder(&self.partial);
        }
        kept
    }

    fn try_keep(&self, compile: Duration, first_row: &[f32]) -> Result<u64, String> {
        let failed =
            |error: io::Error| format!("cannot keep it in {}: {error}", self.folder.display());
        let record = EntryRecord::of_folder(
            &self.partial,
            &self.key,
            self.facts,
            compile,
            first_row,
        )
        .map_err(failed)?
        // The library removes what it could not write, and goes on.
        .ok_or_else(|| {
            let n_megabytes = self.facts.weights.len().div_ceil(1_000_000);
            format!(
                "OpenVINO wrote nothing: {} has no room for about {n_megabytes} MB, or models \
                     of this device cannot be kept",
                self.folder.parent().unwrap_or(Path::new(".")).display()
            )
        })?;
        record.write(&self.partial).map_err(failed)?;
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        std::fs::rename(&self.partial, &self.folder).map_err(failed)?;
        Ok(record.n_bytes())
    }

    /// Move the entry into the partial folder, with only those files that the library wrote since
    /// `before`.
    fn set_aside(&self, before: &Before) -> Result<(), String> {
        let moved = || -> io::Result<()> {
            std::fs::rename(&self.folder, &self.partial)?;
            std::fs::remove_file(self.partial.join(RECORD_FILE))?;
            let now = files_of(&self.partial);
            for (name, _) in now.iter().filter(|(name, file)| before.files.get(*name) == Some(file))
            {
                std::fs::remove_file(self.partial.join(name))?;
            }
            Ok(())
        };
        moved().map_err(|error| {
            remove_folder(&self.partial);
            format!("cannot replace {}: {error}", self.folder.display())
        })
    }

    /// What is told of a model that was compiled; `bad` is what was wrong with an entry before.
    fn settle<T: Compiled>(
        &self,
        compiled: T,
        stored: Result<u64, String>,
        bad: Option<String>,
        compile: &mut Compile<'_, T>,
    ) -> Result<Cached<T>, T::Error> {
        let (compiled, n_bytes) = match (stored, self.is_gpu) {
            (Ok(n_bytes), false) => (compiled, n_bytes),
            (Err(why), false) => return not_stored(compiled, &self.folder, why),
            // Two models at once would be twice the memory.
            (stored, true) => {
                drop(compiled);
                match stored.map(|n_bytes| (compile(Some(&self.folder)), n_bytes)) {
                    Ok((Ok(compiled), _)) if compiled.is_from_cache() == Some(false) => {
                        remove_folder(&self.folder);
                        let why = "OpenVINO does not take what it wrote".to_owned();
                        return not_stored(compiled, &self.folder, why);
                    }
                    Ok((Ok(compiled), n_bytes)) => match EntryRecord::read(&self.folder)
                        .and_then(|record| self.confirm(&compiled, record))
                    {
                        Ok(()) => (compiled, n_bytes),
                        Err(why) => {
                            drop(compiled);
                            return not_stored(compile(None)?, &self.folder, why);
                        }
                    },
                    Ok((Err(error), _)) => {
                        remove_folder(&self.folder);
                        return not_stored(compile(None)?, &self.folder, error.to_string());
                    }
                    Err(why) => return not_stored(compile(None)?, &self.folder, why),
                }
            }
        };
        let outcome = match bad {
            Some(why) => CacheOutcome::Rebuilt { why },
            None => CacheOutcome::Stored,
        };
        debug!(key = self.key, ?outcome, n_bytes, "compiled a model for the cache");
        let cache_use = CacheUse { outcome, folder: self.folder.clone(), n_bytes };
        let lease = Lease::take(&self.record_path());
        Ok(Cached { compiled, cache_use, lease })
    }

    /// Nobody can be writing there: the lock is ours.
    fn remove_partials(&self, cache: &Path) {
        for entry in std::fs::read_dir(cache).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.to_str().and_then(paths::key_of_partial) == Some(self.key.as_str()) {
                remove_folder(&entry.path());
            }
        }
    }

    fn remove_bad(&self, is_bad: bool) {
        if is_bad {
            remove_folder(&self.folder);
        }
    }
}

/// What is told of a model that was compiled and is not kept.
pub(super) fn not_stored<T: Compiled>(
    compiled: T,
    folder: &Path,
    why: String,
) -> Result<Cached<T>, T::Error> {
    debug!(why, "the compiled model is not kept");
    let outcome = CacheOutcome::NotStored { why };
    let cache_use = CacheUse { outcome, folder: folder.to_owned(), n_bytes: 0 };
    Ok(Cached { compiled, cache_use, lease: None })
}

/// Demand that a model out of the cache computes what was compiled.
fn require_same<T: Compiled>(compiled: &T, record: &EntryRecord) -> Result<(), String> {
    let found = match compiled.first_row() {
        Ok(row) => record.first_logits.require(&row),
        Err(error) => Err(error.to_string()),
    };
    found.map_err(|found| {
        format!("what OpenVINO gives back of its own cache computes something else: {found}")
    })
}

/// Name, length and time of the library's files in a folder.
pub(super) fn files_of(folder: &Path) -> BTreeMap<String, (u64, Option<SystemTime>)> {
    let files = blob_files(folder).unwrap_or_default().into_iter();
    files.map(|(name, file)| (name, (file.len(), file.modified().ok()))).collect()
}

/// What cannot be removed now is swept at a later start.
fn remove_folder(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        debug!(folder = %folder.display(), %error, "not removed");
    }
}
