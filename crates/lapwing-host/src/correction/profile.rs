//! A profile on disk: the JSON file and the file of arrays beside it.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use lapwing_files::checksum;
use lapwing_files::regular;
use lapwing_logits::Correction;
use lapwing_logits::profile::{
    Arrays, CorrectionProfile, HeadMap, PROFILE_BYTES_MAX, ReadProfileError,
};

use serde::Deserialize;

/// One byte more than allowed is enough to be refused by its length.
const JSON_BYTES_MAX: u64 = PROFILE_BYTES_MAX as u64 + 1;

/// A profile that was read, with its arrays.
#[derive(Debug, Clone)]
pub struct StoredProfile {
    /// Its file.
    pub path: PathBuf,
    /// SHA-256 of the file's bytes.
    pub sha256: String,
    /// What it says.
    pub profile: CorrectionProfile,
    /// What its sidecar holds.
    pub arrays: Arrays,
}

/// Why a profile is not used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ProfileError {
    /// Neither a file nor a name.
    #[error(
        "no correction profile \"{found}\": neither a file nor a name in {}", folder.display()
    )]
    Missing { found: String, folder: PathBuf },
    /// A model's name, and there are profiles for several devices or variants.
    #[error("\"{found}\" names several profiles in {}: {}", folder.display(), names.join(", "))]
    Several { found: String, folder: PathBuf, names: Vec<String> },
    /// The profile or its sidecar cannot be read.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The profile is malformed.
    #[error("cannot use {}", path.display())]
    Malformed { path: PathBuf, source: ReadProfileError },
    /// The sidecar was exchanged or changed.
    #[error(
        "{} is not the sidecar of its profile: expected sha256 {expected}, found {found}",
        path.display()
    )]
    OtherSidecar { path: PathBuf, expected: String, found: String },
    /// The profile is of another model, or of the same one on something else.
    #[error(
        "{} was calibrated on something else: expected {what} {expected}, found {found}",
        path.display()
    )]
    OtherModel { path: PathBuf, what: &'static str, expected: String, found: String },
    /// Nothing in the profile was found to help.
    #[error("the gate of {} is closed: {reason}", path.display())]
    GateClosed { path: PathBuf, reason: String },
    /// What helped is a change of the weights.
    #[error("{} holds a head map for an export, and nothing for a running model", path.display())]
    OnlyForExport { path: PathBuf },
}

/// Why a file may be a profile that somebody needs.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum PeekError {
    /// Nobody knows what it is.
    #[error("it cannot be read")]
    Read { source: io::Error },
    /// This version cannot tell what it is of.
    #[error("a later version may have written it")]
    Later { source: ReadProfileError },
}

impl StoredProfile {
    /// What to do at run time, if there is something.
    ///
    /// # Errors
    ///
    /// When the arrays are not what the profile says.
    pub fn correction(&self) -> Result<Option<Correction>, ProfileError> {
        self.profile.correction(&self.arrays).map_err(malformed(&self.path))
    }

    /// What to fold into the output head at export, if there is something.
    ///
    /// # Errors
    ///
    /// As [`StoredProfile::correction`].
    pub fn head_map(&self) -> Result<Option<HeadMap>, ProfileError> {
        self.profile.head_map(&self.arrays).map_err(malformed(&self.path))
    }
}

/// Read a profile and the sidecar beside it, and check everything that they say about each other.
///
/// # Errors
///
/// When one of them cannot be read, is malformed, or the two do not belong together.
pub fn read_profile(path: &Path) -> Result<StoredProfile, ProfileError> {
    let json = read(path, JSON_BYTES_MAX)?;
    let profile = CorrectionProfile::parse(&json).map_err(malformed(path))?;
    let sidecar_bytes = match &profile.sidecar {
        None => None,
        Some(sidecar) => {
            // A profile names no folder here: reading it has checked that.
            let beside = path.with_file_name(&sidecar.file);
            let bytes = read_sidecar(&beside, sidecar.n_bytes)?;
            let found = checksum::sha256_bytes(&bytes);
            if found != sidecar.sha256 {
                let expected = sidecar.sha256.clone();
                return Err(ProfileError::OtherSidecar { path: beside, expected, found });
            }
            Some((beside, bytes))
        }
    };
    let arrays = match &sidecar_bytes {
        None => profile.arrays(None).map_err(malformed(path))?,
        Some((beside, bytes)) => profile.arrays(Some(bytes)).map_err(malformed(beside))?,
    };
    let sha256 = checksum::sha256_bytes(&json);
    Ok(StoredProfile { path: path.to_owned(), sha256, profile, arrays })
}

/// The profile at `path` without its arrays; `None` when there is no file, or one that no reader
/// takes any more.
///
/// # Errors
///
/// When there is a file that cannot be read, or that a later version may have written.
pub(super) fn peek_profile(path: &Path) -> Result<Option<CorrectionProfile>, PeekError> {
    let json = match read_beginning(path, JSON_BYTES_MAX) {
        Ok(json) => json,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PeekError::Read { source }),
    };
    match CorrectionProfile::parse(&json) {
        Ok(profile) => Ok(Some(profile)),
        Err(source) if may_be_later(&source) => Err(PeekError::Later { source }),
        Err(_) => Ok(None),
    }
}

/// The file name of the sidecar that the profile at `path` tells of, of any version.
pub(super) fn peek_sidecar(path: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Naming {
        sidecar: Option<Named>,
    }
    #[derive(Deserialize)]
    struct Named {
        file: String,
    }
    let json = read_beginning(path, JSON_BYTES_MAX).ok()?;
    let naming: Naming = serde_json::from_slice(&json).ok()?;
    Some(naming.sidecar?.file)
}

fn may_be_later(error: &ReadProfileError) -> bool {
    match error {
        ReadProfileError::Version { expected, found } => u64::from(*expected) < *found,
        ReadProfileError::TooLong { .. } => true,
        _ => false,
    }
}

/// The sidecar, when it has the length that the profile says.
fn read_sidecar(path: &Path, expected: u64) -> Result<Vec<u8>, ProfileError> {
    let failed = |source| ProfileError::Read { path: path.to_owned(), source };
    let found = std::fs::metadata(path).map_err(failed)?.len();
    if found != expected {
        return Err(malformed(path)(ReadProfileError::SidecarLength { expected, found }));
    }
    read(path, expected)
}

fn read(path: &Path, n_bytes_max: u64) -> Result<Vec<u8>, ProfileError> {
    let failed = |source| ProfileError::Read { path: path.to_owned(), source };
    read_beginning(path, n_bytes_max).map_err(failed)
}

/// The first bytes of a file.
fn read_beginning(path: &Path, n_bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    regular::open(path)?.take(n_bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn malformed(path: &Path) -> impl Fn(ReadProfileError) -> ProfileError {
    let path = path.to_owned();
    move |source| ProfileError::Malformed { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_understands_is_told_from_what_nobody_needs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.correction.json");
        let check = |json: &[u8], expected: Option<&str>| {
            std::fs::write(&path, json).unwrap();
            let found = peek_profile(&path);
            let found = found.map(|found| assert!(found.is_none())).map_err(|e| e.to_string());
            assert_eq!(found.err().as_deref(), expected);
        };
        assert!(peek_profile(&path).unwrap().is_none());
        check(b"{}", None);
        check(br#"{"schema_version": 1}"#, None);
        let later = Some("a later version may have written it");
        check(br#"{"schema_version": 1000}"#, later);
        check(&vec![b' '; PROFILE_BYTES_MAX + 1], later);
        // A folder cannot be read.
        let error = peek_profile(folder.path()).unwrap_err();
        assert_eq!(error.to_string(), "it cannot be read");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.correction.json");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no mkfifo");
            return;
        }
        let error = read_profile(&path).unwrap_err();
        let ProfileError::Read { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.to_string(), "expected a regular file, found a pipe");
    }
}
