//! One compiled model on disk: the library's files, and a record of what they are.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapwing_files::checksum::length_and_crc32;
use lapwing_files::{new_file, regular};
use serde::{Deserialize, Serialize};

use super::FILE_BYTES_MAX;
use super::first_logits::FirstLogits;
use super::key::{CompiledBy, KeyFacts};

/// The record's file in the folder of an entry. It is written last.
pub(super) const RECORD_FILE: &str = "entry.json";

/// Other records are of other versions of this program, and their entries are made anew.
const SCHEMA_VERSION: u32 = 2;

/// What the library calls its files. Others come later and are its own business: a GPU's kernels.
const BLOB_EXTENSION: &str = "blob";

/// What a compiled model is, and what its files must be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EntryRecord {
    /// Of this format.
    pub schema_version: u32,
    /// The name of the entry.
    pub key: String,
    /// The graph that was compiled, where it was then.
    pub graph: PathBuf,
    /// By what and for what it was compiled.
    #[serde(flatten)]
    pub by: CompiledBy,
    /// How long the compilation took.
    pub compile_ms: f64,
    /// When, in seconds since 1970.
    pub created_unix_s: u64,
    /// What it computed when it was compiled.
    pub first_logits: FirstLogits,
    /// Whether it computed that when it came out of the cache.
    pub is_confirmed: bool,
    /// Why it is compiled anew at every start, where it is: what came out of the cache computed
    /// something else. Nothing else is kept then.
    pub refused: Option<String>,
    /// The library's files by name.
    pub blobs: BTreeMap<String, Blob>,
}

/// One file of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// Its length.
    pub n_bytes: u64,
    /// Its CRC-32.
    pub crc32: u32,
}

impl EntryRecord {
    /// The record of what the library left in `folder`, `None` when it left nothing.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub(super) fn of_folder(
        folder: &Path,
        key: &str,
        facts: &KeyFacts<'_>,
        compile: Duration,
        first_row: &[f32],
    ) -> io::Result<Option<EntryRecord>> {
        let mut blobs = BTreeMap::new();
        for (name, _) in blob_files(folder)? {
            let (n_bytes, crc32) = length_and_crc32(&folder.join(&name))?;
            blobs.insert(name, Blob { n_bytes, crc32 });
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok((!blobs.is_empty()).then(|| EntryRecord {
            schema_version: SCHEMA_VERSION,
            key: key.to_owned(),
            graph: std::path::absolute(facts.graph_file)
                .unwrap_or_else(|_| facts.graph_file.to_owned()),
            by: facts.compiled_by(),
            compile_ms: compile.as_secs_f64() * 1e3,
            created_unix_s: since.as_secs(),
            first_logits: FirstLogits::of(first_row),
            is_confirmed: false,
            refused: None,
            blobs,
        }))
    }

    /// The record in the entry's `folder`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn read(folder: &Path) -> Result<EntryRecord, String> {
        let bytes = regular::read(&folder.join(RECORD_FILE), FILE_BYTES_MAX)
            .map_err(|error| format!("{RECORD_FILE}: {error}"))?;
        /// What records of every version have.
        #[derive(Deserialize)]
        struct Versioned {
            schema_version: u32,
        }
        let damaged = |error| format!("{RECORD_FILE} is damaged: {error}");
        let Versioned { schema_version } = serde_json::from_slice(&bytes).map_err(damaged)?;
        match schema_version {
            SCHEMA_VERSION => serde_json::from_slice(&bytes).map_err(damaged),
            found => Err(format!("{RECORD_FILE} is of version {found}, not {SCHEMA_VERSION}")),
        }
    }

    /// Keep of the entry in `folder` only that it is not to be used, and why.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written.
    pub(super) fn refuse(mut self, folder: &Path, why: &str) -> io::Result<()> {
        // Also those that the library wrote beside the entry's own.
        for (name, _) in blob_files(folder)? {
            std::fs::remove_file(folder.join(name))?;
        }
        self.blobs.clear();
        self.refused = Some(why.to_owned());
        self.write(folder)
    }

    /// Write the record into the entry's `folder`.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let json = serde_json::to_vec_pretty(self)?;
        new_file::write(&folder.join(RECORD_FILE), &json).map_err(|error| error.source)
    }

    /// Check that the record is of what `facts` describe, and that the files in `folder` are those
    /// that were written.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub(super) fn check(
        &self,
        folder: &Path,
        key: &str,
        facts: &KeyFacts<'_>,
    ) -> Result<(), String> {
        if self.by != facts.compiled_by() {
            return Err(self.foreign(facts));
        }
        if self.key != key {
            return Err("it is of another model".to_owned());
        }
        self.check_lengths(folder)?;
        for (name, blob) in &self.blobs {
            let failed = |error| format!("{name}: {error}");
            let (_, crc32) = length_and_crc32(&folder.join(name)).map_err(failed)?;
            if crc32 != blob.crc32 {
                return Err(format!("{name} is damaged"));
            }
        }
        Ok(())
    }

    /// Check that the files of the library in `folder` are there and as long as they were.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub(super) fn check_lengths(&self, folder: &Path) -> Result<(), String> {
        let found = blob_files(folder).map_err(|error| format!("it cannot be read: {error}"))?;
        let found: BTreeMap<_, _> = found.into_iter().collect();
        if let Some(name) = found.keys().find(|name| !self.blobs.contains_key(*name)) {
            return Err(format!("{name} is none of its files"));
        }
        for (name, Blob { n_bytes, .. }) in &self.blobs {
            match found.get(name).map(Metadata::len) {
                Some(length) if length == *n_bytes => {}
                Some(length) => {
                    return Err(format!("{name} has {length} bytes instead of {n_bytes}"));
                }
                None => return Err(format!("{name} is missing")),
            }
        }
        Ok(())
    }

    /// Size of the library's files.
    pub(super) fn n_bytes(&self) -> u64 {
        self.blobs.values().fold(0, |sum, blob| sum.saturating_add(blob.n_bytes))
    }

    /// In what it differs from what is wanted.
    fn foreign(&self, facts: &KeyFacts<'_>) -> String {
        let wanted = facts.compiled_by();
        for (what, found, wanted) in [
            ("OpenVINO", &self.by.library_version, &wanted.library_version),
            ("device", &self.by.device, &wanted.device),
            ("processor", &self.by.device_name, &wanted.device_name),
        ] {
            if found != wanted {
                return format!("it is of {what} {found}, not {wanted}");
            }
        }
        "it was compiled with another driver or other properties".to_owned()
    }
}

/// Names of the library's files in a folder; links are none.
pub(super) fn blob_files(folder: &Path) -> io::Result<Vec<(String, Metadata)>> {
    let mut blobs = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let metadata = entry.metadata()?;
        let extension = Path::new(&name).extension();
        if extension.is_some_and(|extension| extension == BLOB_EXTENSION) {
            match metadata.is_file() {
                true => blobs.push((name, metadata)),
                false => return Err(io::Error::other(format!("{name} is no file"))),
            }
        }
    }
    Ok(blobs)
}

#[cfg(test)]
mod tests;
