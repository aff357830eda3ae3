//! What a pull or an export writes down about a model, beside its files.

use std::path::Path;

use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};
use serde::{Deserialize, Serialize};

use crate::model_kind::ModelKind;

/// The record inside a model's folder.
pub(super) const RECORD_FILE: &str = ".lapwing.json";

/// What a pull wrote down about a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The name in the store.
    pub name: String,
    /// Where the model came from, with the exact revision.
    pub source: String,
    /// The source as it was asked for, which may name a branch or no revision at all.
    #[serde(default)]
    pub requested: Option<String>,
    /// Which of several files of the source this is.
    #[serde(default)]
    pub variant: Option<String>,
    /// What it is.
    pub kind: ModelKind,
    /// Licence, if known.
    pub licence: Option<String>,
    /// Its files.
    pub files: Vec<FileRecord>,
}

/// One file of a pulled model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Path inside the model's folder.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// Its hash, lower-case hexadecimal.
    pub sha256: String,
}

/// The record in `folder`, when there is one that can be read.
pub(super) fn read_record(folder: &Path) -> Option<Record> {
    let text = regular::read_text(&folder.join(RECORD_FILE), N_TEXT_BYTES_MAX);
    serde_json::from_str(&text.ok()?).ok()
}
