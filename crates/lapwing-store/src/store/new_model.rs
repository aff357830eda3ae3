//! A model that is written into the store by something else than a pull.

use std::path::{Path, PathBuf};

use lapwing_files::{Lock, checksum};

use crate::model_kind::ModelKind;

use super::{FileRecord, Record, Store, StoreError, delete, files_below, read_record};

/// The scheme of an export in [`Record::source`].
const EXPORT_SCHEME: &str = "export:";

/// A model on its way into the store; what was staged is deleted unless it is finished.
#[derive(Debug)]
pub struct NewModel {
    store: Store,
    name: String,
    staging: PathBuf,
    _lock: Lock,
}

impl Store {
    /// Begin an export that becomes the model `name`. `overwrite` gives up an earlier export.
    ///
    /// # Errors
    ///
    /// When `name` is no model name or is taken, or another process works on it.
    pub fn begin(&self, name: &str, overwrite: bool) -> Result<NewModel, StoreError> {
        let lock = Lock::try_acquire(&self.lock_file(name)?)?;
        let taken = self.folder(name)?.symlink_metadata().is_ok();
        let (owned, folder) = (name.to_owned(), self.root.clone());
        if taken && !overwrite {
            return Err(StoreError::Exists { name: owned, folder });
        }
        let is_export = self.record(name).is_some_and(|r| r.source.starts_with(EXPORT_SCHEME));
        if taken && !is_export {
            return Err(StoreError::NotAnExport { name: owned, folder });
        }
        let staging = self.staging(name)?;
        if staging.symlink_metadata().is_ok() {
            delete(&staging)?;
        }
        Ok(NewModel { store: self.clone(), name: owned, staging, _lock: lock })
    }
}

impl NewModel {
    /// The folder to write, which does not exist yet.
    pub fn staging(&self) -> &Path {
        &self.staging
    }

    /// Write down what is in the staging folder, made from `source`, and put it into its place.
    ///
    /// # Errors
    ///
    /// When reading or writing fails, or when stopped; the store is then as it was.
    pub fn finish(self, source: &Path, stop: &dyn Fn() -> bool) -> Result<PathBuf, StoreError> {
        let mut files = Vec::new();
        for (path, size_bytes) in files_below(&self.staging) {
            let sha256 = checksum::sha256_file(&path, &mut |_| {}, stop)?;
            let inside = path.strip_prefix(&self.staging).unwrap_or(&path);
            let path = inside.to_string_lossy().into_owned();
            files.push(FileRecord { path, size_bytes, sha256 });
        }
        // A checkpoint of the store knows its licence.
        let origin = [Some(source), source.parent()].into_iter().flatten().find_map(read_record);
        let real = source.canonicalize().unwrap_or_else(|_| source.to_path_buf());
        let record = Record {
            name: self.name.clone(),
            source: format!("{EXPORT_SCHEME}{}", real.display()),
            requested: None,
            variant: None,
            kind: ModelKind::of_files(files.iter().map(|file| file.path.as_str())),
            licence: origin.and_then(|record| record.licence),
            files,
        };
        self.store.install(&self.staging, &record)
    }
}

impl Drop for NewModel {
    fn drop(&mut self) {
        if self.staging.symlink_metadata().is_ok() {
            // Nobody is left to hear of a failure here.
            let _ = delete(&self.staging);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(new: &NewModel, text: &str) {
        std::fs::create_dir_all(new.staging()).unwrap();
        std::fs::write(new.staging().join("openvino_model.xml"), text).unwrap();
    }

    #[test]
    fn an_export_is_found_under_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("models"));
        let new = store.begin("mine", false).unwrap();
        write(&new, "<net/>");
        new.finish(Path::new("/checkpoint"), &|| false).unwrap();
        let model = store.get("mine").unwrap().unwrap();
        assert_eq!(model.source.as_deref(), Some("export:/checkpoint"));
        assert!(store.is_whole(&store.record("mine").unwrap()));

        assert!(matches!(store.begin("mine", false), Err(StoreError::Exists { .. })));
        let new = store.begin("mine", true).unwrap();
        write(&new, "<other/>");
        new.finish(Path::new("/checkpoint"), &|| false).unwrap();
        let path = store.folder("mine").unwrap().join("openvino_model.xml");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "<other/>");
    }

    #[test]
    fn an_export_that_fails_leaves_nothing_and_no_pulled_model_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("models"));
        let new = store.begin("mine", false).unwrap();
        write(&new, "<net/>");
        let staging = new.staging().to_path_buf();
        drop(new);
        assert!(!staging.exists() && store.get("mine").unwrap().is_none());

        std::fs::create_dir_all(store.folder("pulled").unwrap()).unwrap();
        assert!(matches!(store.begin("pulled", true), Err(StoreError::NotAnExport { .. })));
    }
}
