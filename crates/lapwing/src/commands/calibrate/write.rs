//! Writing a profile: never half of one under its name.

use std::io;
use std::path::{Path, PathBuf};

use lapwing_logits::profile::{
    Arrays, CorrectionProfile, ProfiledModel, Sidecar, WriteProfileError,
};

use super::sidecar_of;
use crate::checksum;
use crate::correction::{Difference, difference, peek_profile};
use crate::new_file;

/// Why a profile was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The name cannot be that of a profile.
    #[error("a profile cannot be called {}: expected {expected}", path.display())]
    Name {
        /// What was asked for.
        path: PathBuf,
        /// What a name must be.
        expected: &'static str,
    },
    /// The profile of something else would be lost.
    #[error(
        "{} is the profile of something else: its {what} is {found}, this model's {expected}",
        path.display()
    )]
    Taken {
        /// The profile that is there.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// That of the model that is calibrated.
        expected: String,
        /// That of the profile that is there.
        found: String,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What was found cannot be told in a profile.
    #[error("cannot write {}", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: WriteProfileError,
    },
}

/// How the name of a profile ends.
const ENDING: &str = ".correction.json";

/// Refuse a place that cannot be written before hours are spent on what goes there. A folder that
/// nobody named is made.
pub(super) fn check_place(out: &Path, is_named: bool) -> Result<(), WriteError> {
    let wrong = |expected| Err(WriteError::Name { path: out.to_owned(), expected });
    // The profile names its sidecar, and readers of it are as strict.
    let Some(name) = out.file_name().and_then(|name| name.to_str()) else {
        return wrong("a file name in UTF-8");
    };
    if name.starts_with('.') || name.contains([':', '\\']) {
        return wrong("a name without : and \\ that does not begin with a dot");
    }
    // The arrays go beside it under the same name: no file but those of a profile may be met there.
    if !name.ends_with(ENDING) || name.len() == ENDING.len() || out.is_dir() {
        return wrong("a file such as NAME.correction.json");
    }
    let folder = folder_of(out);
    let io_error = |path: &Path| {
        let path = path.to_owned();
        move |source| WriteError::Io { path, source }
    };
    if !is_named {
        std::fs::create_dir_all(folder).map_err(io_error(folder))?;
    }
    tempfile::NamedTempFile::new_in(folder).map_err(io_error(out))?;
    Ok(())
}

/// Refuse to replace a profile of anything else than `model`. What cannot be read as a profile, or
/// was written by another version, is of no use to anybody and may go.
pub(super) fn check_taken(out: &Path, model: &ProfiledModel) -> Result<(), WriteError> {
    let there = peek_profile(out);
    match there.and_then(|there| difference(model, &there.model)) {
        Some(Difference { what, expected, found }) => {
            Err(WriteError::Taken { path: out.to_owned(), what, expected, found })
        }
        None => Ok(()),
    }
}

/// Write the arrays and then the profile, which names them; each file is whole or not there.
pub(super) fn profile(
    out: &Path,
    profile: &mut CorrectionProfile,
    arrays: &Arrays,
) -> Result<(), WriteError> {
    let refused = |source| WriteError::Profile { path: out.to_owned(), source };
    let beside = sidecar_of(out);
    let has_arrays = arrays.names().next().is_some();
    if has_arrays {
        let bytes = arrays.to_bytes().map_err(refused)?;
        let file = beside.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let sha256 = checksum::sha256_bytes(&bytes);
        profile.sidecar = Some(Sidecar { file, sha256, n_bytes: bytes.len() as u64 });
        let json = profile.to_json().map_err(refused)?;
        write(&beside, &bytes)?;
        return write(out, &json);
    }
    write(out, &profile.to_json().map_err(refused)?)?;
    // What an earlier profile had here belongs to nothing any more.
    match std::fs::remove_file(&beside) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(WriteError::Io { path: beside, source })
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    new_file::write(path, bytes).map_err(|source| WriteError::Io { path: path.to_owned(), source })
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_reader_takes_are_refused_before_any_work() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str, is_taken: bool| {
            let checked = check_place(&folder.path().join(name), true);
            assert_eq!(checked.is_ok(), is_taken, "{name}: {checked:?}");
        };
        check("a.correction.json", true);
        check("a", false);
        check("config.json", false);
        check("model.json", false);
        check(".correction.json", false);
        check(".a.correction.json", false);
        check("a:b.correction.json", false);
        check("a.safetensors", false);
        check("", false);
        check("missing/a.correction.json", false);
        assert!(check_place(&folder.path().join("made/a.correction.json"), false).is_ok());
        assert_eq!(names_in(folder.path()), ["made"]);
    }

    fn names_in(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}
