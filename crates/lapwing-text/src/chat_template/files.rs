//! The files of a model's folder that hold its template.

use std::io;
use std::path::Path;

use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};

use super::OpenTemplateError;

/// What a file of JSON holds; null where there is none.
pub(super) fn read_json(path: &Path) -> Result<serde_json::Value, OpenTemplateError> {
    match read_optional(path)? {
        Some(text) => serde_json::from_str(&text)
            .map_err(|source| OpenTemplateError::Json { path: path.to_owned(), source }),
        None => Ok(serde_json::Value::Null),
    }
}

/// The text of a file; `None` where there is none.
pub(super) fn read_optional(path: &Path) -> Result<Option<String>, OpenTemplateError> {
    match regular::read_text(path, N_TEXT_BYTES_MAX) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpenTemplateError::Read { path: path.to_owned(), source }),
    }
}
