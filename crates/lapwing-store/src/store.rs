//! The store: one folder per model below the data folder.
//!
//! A model is in the store when its folder is; a pull fills a staging folder and renames it, so a
//! folder is always whole. What was pulled, and its hashes, are in a small record inside it.

mod new_model;
mod record;

use std::io;
use std::path::{Path, PathBuf};

use lapwing_files::checksum::HashError;
use lapwing_files::{FileError, Lock, LockError, new_folder};
use lapwing_formats::gguf::only_model;
use serde::Serialize;

use crate::model_kind::ModelKind;

use record::{RECORD_FILE, read_record};

pub use new_model::NewModel;
pub use record::{FileRecord, Record};

/// Unfinished pulls, beside the models so that a rename finishes them.
const STAGING_FOLDER: &str = ".partial";
const LOCK_FOLDER: &str = ".locks";
/// How the name of what was taken out of the store begins, in the staging folder; then come the
/// process, a `-` and the model's folder name.
const REMOVED_PREFIX: &str = ".removed-";

/// A model in the store.
#[derive(Debug, Clone, Serialize)]
pub struct StoredModel {
    /// The name for commands.
    pub name: String,
    /// What it is.
    pub kind: ModelKind,
    /// Size of all its files, of those that links lead to as well.
    pub size_bytes: u64,
    /// The part of it that is not in the store: what links lead to.
    pub linked_bytes: u64,
    /// What to give to a command: the folder, or the file of a GGUF checkpoint.
    pub path: PathBuf,
    /// Where it came from; none for exports.
    pub source: Option<String>,
    /// Licence, if known.
    pub licence: Option<String>,
}

/// The store.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum StoreError {
    /// A name that could leave the store or confuse it.
    #[error(
        "\"{name}\" cannot be a model name: expected letters, digits and -_.@ with at most one / \
         and no --"
    )]
    Name { name: String },
    /// No such model.
    #[error("no model {name} in {}", folder.display())]
    NotFound { name: String, folder: PathBuf },
    /// A name that is taken.
    #[error("{name} is already in {}", folder.display())]
    Exists { name: String, folder: PathBuf },
    /// What has the name was pulled or put there by hand: it is not replaced by an export.
    #[error("{name} in {} is no earlier export", folder.display())]
    NotAnExport { name: String, folder: PathBuf },
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] FileError),
    /// Another process works on the model.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl From<HashError> for StoreError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Io(error) => Self::Io(error),
            HashError::Interrupted => Self::Interrupted,
        }
    }
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> StoreError {
    move |source| FileError::cannot("access", path)(source).into()
}

impl Store {
    /// The store in this folder, which need not exist.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of the model `name`, there or not.
    ///
    /// # Errors
    ///
    /// When `name` is no model name.
    pub fn folder(&self, name: &str) -> Result<PathBuf, StoreError> {
        Ok(self.root.join(folder_name(name)?))
    }

    /// Where a pull of `name` collects its files.
    ///
    /// # Errors
    ///
    /// As [`Store::folder`].
    pub fn staging(&self, name: &str) -> Result<PathBuf, StoreError> {
        Ok(self.root.join(STAGING_FOLDER).join(folder_name(name)?))
    }

    /// The lock file of the model `name`.
    ///
    /// # Errors
    ///
    /// As [`Store::folder`].
    pub fn lock_file(&self, name: &str) -> Result<PathBuf, StoreError> {
        Ok(self.root.join(LOCK_FOLDER).join(format!("{}.lock", folder_name(name)?)))
    }

    /// The model `name`, if it is there.
    ///
    /// # Errors
    ///
    /// When `name` is no model name.
    pub fn get(&self, name: &str) -> Result<Option<StoredModel>, StoreError> {
        let folder = self.folder(name)?;
        Ok(folder.is_dir().then(|| describe(&folder, name)))
    }

    /// Every model, by name.
    ///
    /// # Errors
    ///
    /// When the store cannot be read; a store that does not exist is empty.
    pub fn list(&self) -> Result<Vec<StoredModel>, StoreError> {
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error(&self.root)(error)),
        };
        let mut models = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io_error(&self.root))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') && entry.path().is_dir() {
                models.push(describe(&entry.path(), &model_name(&name)));
            }
        }
        models.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(models)
    }

    /// The record of the model `name`; none when it was put there by hand.
    pub fn record(&self, name: &str) -> Option<Record> {
        read_record(&self.folder(name).ok()?)
    }

    /// Whether the files of a record are all there with their sizes.
    pub fn is_whole(&self, record: &Record) -> bool {
        let Ok(folder) = self.folder(&record.name) else { return false };
        record.files.iter().all(|file| {
            std::fs::metadata(folder.join(&file.path)).is_ok_and(|m| m.len() == file.size_bytes)
        })
    }

    /// Make the staged folder `staged`, with its record, the model `record.name`. The caller holds
    /// the model's lock.
    ///
    /// # Errors
    ///
    /// When writing fails; the model is then as it was.
    pub fn install(&self, staged: &Path, record: &Record) -> Result<PathBuf, StoreError> {
        let folder = self.folder(&record.name)?;
        let text = serde_json::to_string_pretty(record)
            .map_err(|error| io_error(staged)(io::Error::other(error)))?;
        let record_path = staged.join(RECORD_FILE);
        std::fs::write(&record_path, text).map_err(io_error(&record_path))?;
        self.sweep(&record.name)?;
        let aside = self.aside(&folder)?;
        let was_there = new_folder::replace(staged, &folder, &aside).map_err(io_error(&folder))?;
        if let (true, Err(error)) = (was_there, delete(&aside)) {
            // The new model is in its place; the next pull or removal tries again.
            tracing::warn!(%error, "what was replaced is not deleted yet");
        }
        Ok(folder)
    }

    /// Remove the model `name` and what an unfinished pull of it left. Never follows a link.
    ///
    /// # Errors
    ///
    /// When there is no such model, another process works on it, or removing fails.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        let folder = self.folder(name)?;
        let staging = self.staging(name)?;
        let there = |path: &Path| path.symlink_metadata().is_ok();
        if !there(&folder) && !there(&staging) {
            let folder = self.root.clone();
            return Err(StoreError::NotFound { name: name.to_owned(), folder });
        }
        let _lock = Lock::try_acquire(&self.lock_file(name)?)?;
        self.sweep(name)?;
        for path in [folder, staging] {
            if there(&path) {
                // At once, so that it can be deleted at leisure.
                let aside = self.aside(&path)?;
                std::fs::rename(&path, &aside).map_err(io_error(&path))?;
                delete(&aside)?;
            }
        }
        Ok(())
    }

    /// Where what is at `path` goes when it is taken out of the store.
    fn aside(&self, path: &Path) -> Result<PathBuf, StoreError> {
        let staging = self.root.join(STAGING_FOLDER);
        std::fs::create_dir_all(&staging).map_err(io_error(&staging))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(staging.join(format!("{REMOVED_PREFIX}{}-{name}", std::process::id())))
    }

    /// Delete what killed processes had taken out of the store. The caller holds the lock of
    /// `name`; what belongs to another model is left alone while somebody works on that.
    fn sweep(&self, name: &str) -> Result<(), StoreError> {
        let own = folder_name(name)?;
        let staging = self.root.join(STAGING_FOLDER);
        let entries = match std::fs::read_dir(&staging) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io_error(&staging)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(io_error(&staging))?;
            let file_name = entry.file_name().to_string_lossy().into_owned();
            let Some(rest) = file_name.strip_prefix(REMOVED_PREFIX) else { continue };
            let Some((_, model)) = rest.split_once('-') else { continue };
            let lock_file = self.root.join(LOCK_FOLDER).join(format!("{model}.lock"));
            let lock = (model != own).then(|| Lock::try_acquire(&lock_file));
            if !matches!(lock, Some(Err(_))) {
                delete(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Delete a file, a link or a folder; links inside are removed, not what they point to.
fn delete(path: &Path) -> Result<(), StoreError> {
    new_folder::remove(path).map_err(io_error(path))
}

/// `org/repo@rev` as `org--repo@rev`. A name has no `--` of its own, so that no two names share a
/// folder.
fn folder_name(name: &str) -> Result<String, StoreError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    let is_part = |part: &str| !part.is_empty() && !part.starts_with(['.', '-']);
    let mut parts = name.split('/');
    let fits = parts.clone().count() <= 2
        && name.len() <= 200
        && !name.contains("--")
        && parts.all(|part| is_part(part) && part.chars().all(allowed));
    match fits {
        true => Ok(name.replace('/', "--")),
        false => Err(StoreError::Name { name: name.to_owned() }),
    }
}

/// The name that belongs to a folder of the store.
fn model_name(folder_name: &str) -> String {
    folder_name.replacen("--", "/", 1)
}

fn describe(folder: &Path, name: &str) -> StoredModel {
    let record = read_record(folder);
    let files = files_below(folder);
    let names: Vec<_> = files.iter().map(|(path, _)| path.to_string_lossy()).collect();
    let kind = ModelKind::of_files(names.iter().map(AsRef::as_ref));
    let is_all_linked = folder.is_symlink();
    let linked = files.iter().filter(|(path, _)| is_all_linked || path.is_symlink());
    StoredModel {
        name: record.as_ref().map_or(name, |record| &record.name).to_owned(),
        kind,
        size_bytes: files.iter().map(|(_, size_bytes)| size_bytes).sum(),
        linked_bytes: linked.map(|(_, size_bytes)| size_bytes).sum(),
        path: model_path(folder, kind, &files),
        source: record.as_ref().map(|record| record.source.clone()),
        licence: record.and_then(|record| record.licence),
    }
}

/// A GGUF checkpoint is one file, or the first of its parts; everything else is a folder.
fn model_path(folder: &Path, kind: ModelKind, files: &[(PathBuf, u64)]) -> PathBuf {
    let paths = files.iter().map(|(path, _)| path.clone());
    match (kind, only_checkpoint(paths)) {
        (ModelKind::Gguf, Some(path)) => path,
        _ => folder.to_path_buf(),
    }
}

/// The GGUF among `paths` that stands for all of them: the only one, or the first of its parts.
fn only_checkpoint(paths: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let is_gguf = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "gguf");
    let ggufs: Vec<PathBuf> = paths.filter(is_gguf).collect();
    only_model(&ggufs).map(Path::to_owned)
}

/// The checkpoint that is meant by `path`: a folder that holds one GGUF means that file, or the
/// first of its parts.
pub fn checkpoint_at(path: PathBuf) -> PathBuf {
    let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
    only_checkpoint(entries.map(|entry| entry.path())).unwrap_or(path)
}

/// Every file below `folder` with its size, the record left out; directory links are not followed.
fn files_below(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(file_type) if file_type.is_dir() => folders.push(path),
                Ok(_) if entry.file_name() != RECORD_FILE => {
                    // Through a link to a file: the size is the file's.
                    let size_bytes = std::fs::metadata(&path).map_or(0, |m| m.len());
                    files.push((path, size_bytes));
                }
                _ => {}
            }
        }
    }
    files.sort();
    files
}

#[cfg(test)]
mod tests;
