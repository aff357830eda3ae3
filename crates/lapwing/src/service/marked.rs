//! Files with a mark in their first line, by which we know what we wrote and whether it was changed.

use std::io;
use std::path::Path;

use lapwing_files::checksum::sha256_bytes;
use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};
use lapwing_files::{FileError, new_file};

use super::ServiceError;

const MARK: &str = "# Written by `lapwing service install`; settings belong into lapwing.toml. ";

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// What we wrote.
    Ours,
    /// Something that somebody else wrote, or changed.
    Changed,
}

/// The text with its mark.
pub fn marked(text: &str) -> String {
    format!("{MARK}{}\n{text}", sha256_bytes(text.as_bytes()))
}

/// What stands at `path`.
///
/// # Errors
///
/// When it cannot be read.
pub fn look(path: &Path) -> Result<Found, ServiceError> {
    let text = match regular::read_text(path, N_TEXT_BYTES_MAX) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(FileError::cannot("read", path)(error).into()),
    };
    let is_ours = text.split_once('\n').is_some_and(|(_, body)| marked(body) == text);
    Ok(if is_ours { Found::Ours } else { Found::Changed })
}

/// Refuse to touch `path` if somebody changed it.
///
/// # Errors
///
/// When somebody did, or it cannot be read.
pub fn check_untouched(path: &Path) -> Result<(), ServiceError> {
    match look(path)? {
        Found::Nothing | Found::Ours => Ok(()),
        Found::Changed => Err(ServiceError::Changed { path: path.to_owned() }),
    }
}

/// Write the text with its mark, as a whole or not at all; its folder is made.
///
/// # Errors
///
/// When it cannot be written.
pub fn write(path: &Path, text: &str) -> Result<(), ServiceError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(FileError::cannot("make", folder))?;
    }
    Ok(new_file::write(path, marked(text).as_bytes())?)
}

/// Remove it, if it is there.
///
/// # Errors
///
/// When it cannot be removed.
pub fn remove(path: &Path) -> Result<(), ServiceError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::cannot("remove", path)(error).into())
        }
        _ => Ok(()),
    }
}
