//! A profile on disk: the JSON file and the file of arrays beside it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use lapwing_logits::Correction;
use lapwing_logits::profile::{
    Arrays, CorrectionProfile, HeadMap, PROFILE_BYTES_MAX, ReadProfileError,
};

use crate::checksum;

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
pub enum ProfileError {
    /// Neither a file nor a name.
    #[error(
        "no correction profile \"{found}\": neither a file nor a name in {}", folder.display()
    )]
    Missing {
        /// What was asked for.
        found: String,
        /// Where profiles are kept.
        folder: PathBuf,
    },
    /// A model's name, and there are profiles for several devices or variants.
    #[error("\"{found}\" names several profiles in {}: {}", folder.display(), names.join(", "))]
    Several {
        /// What was asked for.
        found: String,
        /// Where profiles are kept.
        folder: PathBuf,
        /// Those that it may mean.
        names: Vec<String>,
    },
    /// The profile or its sidecar cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The profile is malformed.
    #[error("cannot use {}", path.display())]
    Malformed {
        /// The profile, or its sidecar.
        path: PathBuf,
        /// What is wrong with it.
        source: ReadProfileError,
    },
    /// The sidecar was exchanged or changed.
    #[error(
        "{} is not the sidecar of its profile: expected sha256 {expected}, found {found}",
        path.display()
    )]
    OtherSidecar {
        /// The sidecar.
        path: PathBuf,
        /// What the profile says.
        expected: String,
        /// That of the file.
        found: String,
    },
    /// The profile is of another model, or of the same one on something else.
    #[error(
        "{} was calibrated on something else: expected {what} {expected}, found {found}",
        path.display()
    )]
    OtherModel {
        /// The profile.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What the profile was calibrated on.
        expected: String,
        /// What is running.
        found: String,
    },
    /// Nothing in the profile was found to help.
    #[error("the gate of {} is closed: {reason}", path.display())]
    GateClosed {
        /// The profile.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// What helped is a change of the weights.
    #[error("{} holds a head map for an export, and nothing for a running model", path.display())]
    OnlyForExport {
        /// The profile.
        path: PathBuf,
    },
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
    // One byte more than allowed is enough to be refused by its length.
    let json = read(path, PROFILE_BYTES_MAX as u64 + 1)?;
    let profile = CorrectionProfile::parse(&json).map_err(malformed(path))?;
    let sidecar_bytes = match &profile.sidecar {
        None => None,
        Some(sidecar) => {
            // A profile names no folder here: reading it has checked that.
            let beside = path.with_file_name(&sidecar.file);
            let bytes = read(&beside, sidecar.n_bytes.saturating_add(1))?;
            check_length(&beside, sidecar.n_bytes, &bytes)?;
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

/// The profile at `path` without its arrays, when there is one that can be read.
pub fn peek_profile(path: &Path) -> Option<CorrectionProfile> {
    let json = read(path, PROFILE_BYTES_MAX as u64 + 1).ok()?;
    CorrectionProfile::parse(&json).ok()
}

fn check_length(path: &Path, expected: u64, bytes: &[u8]) -> Result<(), ProfileError> {
    let found = bytes.len() as u64;
    if found == expected {
        return Ok(());
    }
    // Of a longer file only the beginning was read.
    let found = std::fs::metadata(path).map_or(found, |metadata| metadata.len());
    Err(malformed(path)(ReadProfileError::SidecarLength { expected, found }))
}

fn read(path: &Path, n_bytes_max: u64) -> Result<Vec<u8>, ProfileError> {
    let failed = |source| ProfileError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(n_bytes_max).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn malformed(path: &Path) -> impl Fn(ReadProfileError) -> ProfileError {
    let path = path.to_owned();
    move |source| ProfileError::Malformed { path: path.clone(), source }
}
