//! From the correction that was asked for to a correction that is known to fit, or to none.
//!
//! A profile is taken for the very model, backend, device and precision that it was calibrated on,
//! and only while its gate is open. What does not fit is an error, never left out silently.

mod folder;
mod profile;
mod writing;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapwing_files::checksum::HashError;
use lapwing_logits::Correction;
use lapwing_logits::profile::ProfiledModel;
use serde_json::{Value, json};

use crate::choice::CorrectionChoice;
use crate::engine::Engine;
use crate::host::Host;
use crate::model_files::{ModelFiles, ModelFilesError};
use crate::notice::{Caller, Notice};

pub use folder::{profile_hashes, why_auto_is_off};
pub use profile::{PeekError, ProfileError, StoredProfile, read_profile};
pub use writing::{WriteProfileError, require_place, require_same_model, write_profile};

/// How the file name of a profile ends.
const PROFILE_SUFFIX: &str = ".correction.json";

/// What became of a [`CorrectionChoice`].
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What was asked for: `off`, `auto`, or the profile as it was named.
    pub requested: String,
    /// The profile that is used.
    pub profile: Option<PathBuf>,
    /// SHA-256 of the profile's bytes.
    pub profile_sha256: Option<String>,
    /// The candidate of the profile that is applied.
    pub candidate: Option<String>,
    /// Why it is used, or why none is; `None` when none was asked for.
    pub reason: Option<String>,
    /// What to do to the rows.
    pub correction: Option<Arc<Correction>>,
}

impl Resolved {
    /// No correction was asked for.
    pub fn off() -> Self {
        Self::without("off", None)
    }

    fn without(requested: &str, reason: Option<String>) -> Self {
        Self {
            requested: requested.to_owned(),
            profile: None,
            profile_sha256: None,
            candidate: None,
            reason,
            correction: None,
        }
    }

    /// The object that JSON outputs tell it by.
    pub fn as_json(&self) -> Value {
        let used = match &self.profile {
            Some(path) => json!(path),
            None => json!("off"),
        };
        json!({
            "requested": self.requested,
            "used": used,
            "profile_sha256": self.profile_sha256,
            "candidate": self.candidate,
            "reason": self.reason,
        })
    }
}

/// Why there is no correction where one was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CorrectError {
    /// The profile is not to be used.
    #[error("cannot correct the logits")]
    Profile(#[from] ProfileError),
    /// The model's files cannot be read, to be compared with the profile's.
    #[error("cannot correct the logits")]
    Files(#[from] ModelFilesError),
}

impl CorrectError {
    /// Whether whoever asked wanted no more.
    pub fn is_stop(&self) -> bool {
        matches!(self, CorrectError::Files(ModelFilesError::Hash(HashError::Interrupted)))
    }
}

/// Find, check and load what is asked for; tells when `auto` means none.
///
/// The model is hashed only when there is a profile to compare with.
///
/// # Errors
///
/// When a profile is damaged or of something else than this engine, or was named and is not there
/// or not to be used, or when the caller wants no more.
pub fn resolve(
    engine: &Engine,
    choice: &CorrectionChoice,
    host: &Host,
    caller: Caller<'_>,
) -> Result<Resolved, CorrectError> {
    let resolved = match choice {
        CorrectionChoice::Off => return Ok(Resolved::off()),
        CorrectionChoice::Auto => automatic(engine, host, caller)?,
        CorrectionChoice::Profile(name) => named(name, engine, host, caller)?,
    };
    match (&resolved.profile, &resolved.reason) {
        (None, Some(why)) => caller.tell(Notice::NoCorrection { why: why.clone() }),
        (Some(path), _) => tracing::info!(profile = %path.display(), "correcting logits"),
        (None, None) => {}
    }
    Ok(resolved)
}

/// The profile that fits by its name, when there is one and its gate is open.
fn automatic(engine: &Engine, host: &Host, caller: Caller<'_>) -> Result<Resolved, CorrectError> {
    let path = default_profile(engine, &host.profiles);
    let off = |reason: String| Resolved::without("auto", Some(reason));
    if !is_file(&path)? {
        return Ok(off(format!("there is no profile {}", path.display())));
    }
    let stored = read_profile(&path)?;
    fits(&stored, engine, caller)?;
    let gate = &stored.profile.gate;
    if !gate.open {
        return Ok(off(format!("the gate of {} is closed: {}", path.display(), gate.reason)));
    }
    match stored.correction()? {
        Some(correction) => Ok(used("auto", stored, correction)),
        None => Ok(off(format!(
            "what {} found is for an export, not for the running model",
            path.display()
        ))),
    }
}

/// The profile that was named: it must be there and usable.
fn named(
    name: &str,
    engine: &Engine,
    host: &Host,
    caller: Caller<'_>,
) -> Result<Resolved, CorrectError> {
    let path = find(name, engine, &host.profiles)?;
    let stored = read_profile(&path)?;
    fits(&stored, engine, caller)?;
    let gate = &stored.profile.gate;
    if !gate.open {
        let reason = gate.reason.clone();
        return Err(ProfileError::GateClosed { path, reason }.into());
    }
    match stored.correction()? {
        Some(correction) => Ok(used(name, stored, correction)),
        None => Err(ProfileError::OnlyForExport { path }.into()),
    }
}

fn used(requested: &str, stored: StoredProfile, correction: Correction) -> Resolved {
    let StoredProfile { path, sha256, profile, .. } = stored;
    Resolved {
        requested: requested.to_owned(),
        profile: Some(path),
        profile_sha256: Some(sha256),
        candidate: profile.gate.chosen,
        reason: Some(profile.gate.reason),
        correction: Some(Arc::new(correction)),
    }
}

/// A path, or the name of a profile in the profiles folder with or without its endings.
fn find(name: &str, engine: &Engine, folder: &Path) -> Result<PathBuf, ProfileError> {
    let device = device_name(engine);
    let in_folder = [
        name.to_owned(),
        format!("{name}{PROFILE_SUFFIX}"),
        format!("{name}.{device}{PROFILE_SUFFIX}"),
    ];
    let candidates =
        std::iter::once(PathBuf::from(name)).chain(in_folder.iter().map(|file| folder.join(file)));
    for path in candidates {
        if is_file(&path)? {
            return Ok(path);
        }
    }
    Err(ProfileError::Missing { found: name.to_owned(), folder: folder.to_owned() })
}

/// Whether there is a file. What cannot be looked at is not taken for missing.
fn is_file(path: &Path) -> Result<bool, ProfileError> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(ProfileError::Read { path: path.to_owned(), source }),
    }
}

/// As [`resolve`] finds one, where no model runs: a path, or the name of a profile in the profiles
/// folder with or without its endings.
///
/// # Errors
///
/// When there is none, when the name is that of several, or when the folder cannot be read.
pub fn find_on_any_device(name: &str, folder: &Path) -> Result<PathBuf, ProfileError> {
    let whole = [folder.join(name), folder.join(format!("{name}{PROFILE_SUFFIX}"))];
    for path in std::iter::once(PathBuf::from(name)).chain(whole) {
        if is_file(&path)? {
            return Ok(path);
        }
    }
    let start = format!("{name}.");
    let mut names = names_in(folder)
        .map_err(|source| ProfileError::Read { path: folder.to_owned(), source })?;
    names.retain(|file| file.starts_with(&start) && file.ends_with(PROFILE_SUFFIX));
    names.sort();
    let (found, folder) = (name.to_owned(), folder.to_owned());
    match names.as_slice() {
        [] => Err(ProfileError::Missing { found, folder }),
        [only] => Ok(folder.join(only)),
        _ => Err(ProfileError::Several { found, folder, names }),
    }
}

/// Nothing where there is no folder; names that are not UTF-8 are nobody's.
fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
    names.filter_map(Result::transpose).collect()
}

/// Where the profile of this model on this device is put, and looked for.
pub fn default_profile(engine: &Engine, folder: &Path) -> PathBuf {
    folder.join(format!("{}.{}{PROFILE_SUFFIX}", engine.name(), device_name(engine)))
}

fn device_name(engine: &Engine) -> String {
    engine.model.device_used().id.to_lowercase().replace(['/', '\\', ':'], "-")
}

/// What a profile of this engine says about its model. Reads all of the model's files.
///
/// # Errors
///
/// When one cannot be read, or once `is_stopped` says so.
pub fn profiled_model(
    engine: &Engine,
    is_stopped: &dyn Fn() -> bool,
) -> Result<ProfiledModel, ModelFilesError> {
    let sha256 = ModelFiles::of(&engine.folder)?.sha256(is_stopped)?;
    Ok(ProfiledModel { sha256, ..unhashed(engine) })
}

/// All but the hash.
fn unhashed(engine: &Engine) -> ProfiledModel {
    ProfiledModel {
        name: engine.name(),
        sha256: String::new(),
        backend: engine.backend.to_owned(),
        device: device_name(engine),
        precision: engine.precision.to_string(),
        n_vocab: engine.n_tokens(),
    }
}

/// Refuse a profile of anything else than this engine; what costs nothing is compared first.
fn fits(stored: &StoredProfile, engine: &Engine, caller: Caller<'_>) -> Result<(), CorrectError> {
    let expected = &stored.profile.model;
    let unhashed = ProfiledModel { sha256: expected.sha256.clone(), ..unhashed(engine) };
    let found = match difference(expected, &unhashed) {
        None => difference(expected, &profiled_model(engine, caller.is_stopped)?),
        found => found,
    };
    match found {
        Some(found) => Err(other(stored, found).into()),
        None => Ok(()),
    }
}

/// Where two models differ that a profile cannot be of both.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// What differs.
    pub what: &'static str,
    /// That of the first.
    pub expected: String,
    /// That of the second.
    pub found: String,
}

/// What keeps a profile of `expected` from being one of `found`. Names do not: a folder that was
/// moved holds the same model.
pub fn difference(expected: &ProfiledModel, found: &ProfiledModel) -> Option<Difference> {
    let n_tokens = [expected, found].map(|model| model.n_vocab.to_string());
    let parts = [
        ("backend", &expected.backend, &found.backend),
        ("device", &expected.device, &found.device),
        ("precision", &expected.precision, &found.precision),
        ("number of tokens", &n_tokens[0], &n_tokens[1]),
        ("sha256 of the model", &expected.sha256, &found.sha256),
    ];
    let (what, expected, found) =
        parts.into_iter().find(|(_, expected, found)| expected != found)?;
    Some(Difference { what, expected: expected.clone(), found: found.clone() })
}

fn other(stored: &StoredProfile, difference: Difference) -> ProfileError {
    let Difference { what, expected, found } = difference;
    ProfileError::OtherModel { path: stored.path.clone(), what, expected, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_device_is_that_of_the_only_profile() {
        let folder = tempfile::tempdir().unwrap();
        let profiles = folder.path().join("profiles");
        std::fs::create_dir_all(&profiles).unwrap();
        for name in ["a.cpu", "b.cpu", "b.gpu.0"] {
            std::fs::write(profiles.join(format!("{name}{PROFILE_SUFFIX}")), "").unwrap();
        }
        let check = |name: &str, expected: &str| {
            let found = match find_on_any_device(name, &profiles) {
                Ok(path) => path.file_name().unwrap().to_string_lossy().into_owned(),
                Err(error) => error.to_string(),
            };
            assert!(found.contains(expected), "{name}: {found}");
        };
        check("a", "a.cpu.correction.json");
        check("a.cpu", "a.cpu.correction.json");
        check("b.gpu.0.correction.json", "b.gpu.0.correction.json");
        check("b", "b.cpu.correction.json, b.gpu.0.correction.json");
        check("c", "no correction profile \"c\"");
        let file = folder.path().join("profile.json");
        std::fs::write(&file, "").unwrap();
        check(file.to_str().unwrap(), "profile.json");
        // What is below a file cannot be looked at.
        check(file.join("a").to_str().unwrap(), "cannot read");
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_not_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(names_in(&folder.path().join("missing")).unwrap(), [""; 0]);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(names_in(&file).is_err());
        let profiles = folder.path().join("profiles");
        assert!(!is_file(&profiles).unwrap());
        std::fs::write(&profiles, "").unwrap();
        let error = find_on_any_device("a", &profiles).unwrap_err();
        assert!(matches!(error, ProfileError::Read { .. }), "{error}");
    }

    #[test]
    fn a_profile_is_of_one_model_on_one_backend_device_and_precision() {
        let model = ProfiledModel {
            name: "m".into(),
            sha256: "00".into(),
            backend: "ort".into(),
            device: "cpu".into(),
            precision: "fast".into(),
            n_vocab: 4,
        };
        let check = |other: ProfiledModel, expected: Option<&str>| {
            assert_eq!(difference(&model, &other).map(|found| found.what), expected);
        };
        check(ProfiledModel { name: "moved".into(), ..model.clone() }, None);
        check(ProfiledModel { backend: "openvino".into(), ..model.clone() }, Some("backend"));
        check(ProfiledModel { device: "gpu".into(), ..model.clone() }, Some("device"));
        check(ProfiledModel { precision: "exact".into(), ..model.clone() }, Some("precision"));
        let hashed = ProfiledModel { sha256: "01".into(), ..model.clone() };
        check(hashed, Some("sha256 of the model"));
    }
}
