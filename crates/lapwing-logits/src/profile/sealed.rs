//! The checksum that a profile's JSON carries of itself.

use std::fmt::Write as _;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{CorrectionProfile, ReadProfileError, check_sha256};

/// The names of all fields, so that none is unknown, and the checksum.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the fields are there to be known by name")]
pub(super) struct Sealed {
    schema_version: IgnoredAny,
    model: IgnoredAny,
    reference: IgnoredAny,
    texts: IgnoredAny,
    seed: IgnoredAny,
    estimator: IgnoredAny,
    diagnostics: IgnoredAny,
    candidates: IgnoredAny,
    gate: IgnoredAny,
    correction: IgnoredAny,
    head_map: IgnoredAny,
    sidecar: IgnoredAny,
    sha256: String,
}

/// A profile with its checksum, to write.
#[derive(Serialize)]
struct ToSeal<'a> {
    #[serde(flatten)]
    profile: &'a CorrectionProfile,
    sha256: String,
}

impl Sealed {
    /// Refuse a profile that was changed since its checksum was made.
    pub(super) fn check(&self, profile: &CorrectionProfile) -> Result<(), ReadProfileError> {
        check_sha256("sha256", &self.sha256)?;
        let found = sha256(profile).map_err(|source| ReadProfileError::Json { source })?;
        if found == self.sha256 {
            return Ok(());
        }
        Err(ReadProfileError::Changed { expected: self.sha256.clone(), found })
    }
}

/// The indented JSON of a profile, with its checksum as the last field.
pub(super) fn seal(profile: &CorrectionProfile) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec_pretty(&ToSeal { profile, sha256: sha256(profile)? })
}

/// Of the compact JSON, in lower-case hexadecimal.
fn sha256(profile: &CorrectionProfile) -> Result<String, serde_json::Error> {
    let mut digits = String::with_capacity(64);
    for byte in Sha256::digest(serde_json::to_vec(profile)?) {
        write!(digits, "{byte:02x}").expect("a string takes everything");
    }
    Ok(digits)
}
