//! Writing a profile: never half of one under its name.

use std::io;
use std::path::{Path, PathBuf};

use lapwing_files::new_file::{self, NewFile};
use lapwing_files::{FileError, checksum};
use lapwing_logits::profile::{self, Arrays, CorrectionProfile, ProfiledModel, Sidecar};

use super::profile::{PeekError, peek_profile, peek_sidecar};
use super::{Difference, PROFILE_SUFFIX, difference};

/// Why a profile was not written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum WriteProfileError {
    /// The name cannot be that of a profile.
    #[error("a profile cannot be called {}: expected {expected}", path.display())]
    Name { path: PathBuf, expected: &'static str },
    /// The profile of something else would be lost.
    #[error(
        "{} is the profile of something else: its {what} is {found}, this model's {expected}",
        path.display()
    )]
    Taken { path: PathBuf, what: &'static str, expected: String, found: String },
    /// A profile that somebody needs might be lost.
    #[error("cannot tell whether {} may be replaced", path.display())]
    Unknown { path: PathBuf, source: PeekError },
    /// A file cannot be written.
    #[error(transparent)]
    Io(#[from] FileError),
    /// What was found cannot be told in a profile.
    #[error("cannot write {}", path.display())]
    Profile { path: PathBuf, source: profile::WriteProfileError },
}

/// How the name of its arrays ends.
const SIDECAR_ENDING: &str = ".safetensors";
/// Digits of their hash in the name of the arrays.
const N_NAME_DIGITS: usize = 8;

/// Refuse a place that cannot be written before hours are spent on what goes there. A folder that
/// nobody named is made.
///
/// # Errors
///
/// When it cannot be the name of a profile, or nothing can be written there.
pub fn require_place(out: &Path, is_named: bool) -> Result<(), WriteProfileError> {
    let wrong = |expected| Err(WriteProfileError::Name { path: out.to_owned(), expected });
    // The profile names its sidecar, and readers of it are as strict.
    let Some(name) = out.file_name().and_then(|name| name.to_str()) else {
        return wrong("a file name in UTF-8");
    };
    if name.starts_with('.') || name.contains([':', '\\']) {
        return wrong("a name without : and \\ that does not begin with a dot");
    }
    // The arrays go beside it under such a name: no file but those of a profile may be met there.
    if !name.ends_with(PROFILE_SUFFIX) || name.len() == PROFILE_SUFFIX.len() || out.is_dir() {
        return wrong("a file such as NAME.correction.json");
    }
    let folder = new_file::folder_of(out);
    if !is_named {
        std::fs::create_dir_all(folder).map_err(FileError::cannot("write", folder))?;
    }
    NewFile::create(out).map_err(FileError::cannot("write", out))?;
    Ok(())
}

/// Refuse to replace a profile of anything else than `model`, and what may be one that this version
/// cannot read. What is no profile, or was written by an earlier version, is of no use to anybody
/// and may go.
///
/// # Errors
///
/// When it is one of these.
pub fn require_same_model(out: &Path, model: &ProfiledModel) -> Result<(), WriteProfileError> {
    let there = peek_profile(out)
        .map_err(|source| WriteProfileError::Unknown { path: out.to_owned(), source })?;
    match there.and_then(|there| difference(model, &there.model)) {
        Some(Difference { what, expected, found }) => {
            Err(WriteProfileError::Taken { path: out.to_owned(), what, expected, found })
        }
        None => Ok(()),
    }
}

/// Write the arrays and then the profile, which names them. Their file's name holds their hash, so
/// that an earlier profile keeps its own arrays until it is replaced: at any moment there is a
/// profile with its arrays, the earlier or the later one.
///
/// # Errors
///
/// When what was found cannot be told in a profile, or a file cannot be written: an earlier profile
/// stays then.
pub fn write_profile(
    out: &Path,
    profile: &mut CorrectionProfile,
    arrays: &Arrays,
) -> Result<(), WriteProfileError> {
    let refused = |source| WriteProfileError::Profile { path: out.to_owned(), source };
    let has_arrays = arrays.names().next().is_some();
    let bytes = has_arrays.then(|| arrays.to_bytes()).transpose().map_err(refused)?;
    profile.sidecar = bytes.as_ref().map(|bytes| sidecar(out, bytes));
    let json = profile.to_json().map_err(refused)?;
    let earlier = peek_sidecar(out).filter(|file| is_sidecar_of(out, file));
    let named = profile.sidecar.as_ref().map(|sidecar| sidecar.file.clone());
    if let (Some(file), Some(bytes)) = (&named, &bytes) {
        new_file::write(&out.with_file_name(file), bytes)?;
    }
    let written = new_file::write(out, &json);
    // What the profile that is there now does not name belongs to nothing.
    let (kept, lost) = if written.is_ok() { (named, earlier) } else { (earlier, named) };
    if let Some(lost) = lost.filter(|lost| Some(lost) != kept.as_ref()) {
        remove(&out.with_file_name(lost));
    }
    Ok(written?)
}

/// What the profile at `out` tells of its arrays.
fn sidecar(out: &Path, bytes: &[u8]) -> Sidecar {
    let sha256 = checksum::sha256_bytes(bytes);
    let file = format!("{}.{}{SIDECAR_ENDING}", stem_of(out), &sha256[..N_NAME_DIGITS]);
    Sidecar { file, sha256, n_bytes: bytes.len() as u64 }
}

/// Whether `file` is a name that a profile at `out` gives its arrays, or gave them before it held
/// their hash: no other file is touched, whatever a profile says.
fn is_sidecar_of(out: &Path, file: &str) -> bool {
    let rest = file.strip_prefix(&stem_of(out)).and_then(|rest| rest.strip_suffix(SIDECAR_ENDING));
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    rest.is_some_and(|rest| match rest.strip_prefix('.') {
        Some(digits) => digits.len() == N_NAME_DIGITS && digits.bytes().all(is_digit),
        None => rest.is_empty(),
    })
}

/// `NAME.correction`.
fn stem_of(out: &Path) -> String {
    out.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// A file that nobody needs does no harm where it cannot be removed.
fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "cannot remove what is not needed");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use lapwing_logits::profile::{
        Array, CorrectionRecipe, Diagnostics, Gate, GateRules, SCHEMA_VERSION,
    };

    use super::*;
    use crate::correction::read_profile;

    #[test]
    fn names_that_no_reader_takes_are_refused_before_any_work() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str, is_taken: bool| {
            let checked = require_place(&folder.path().join(name), true);
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
        assert!(require_place(&folder.path().join("made/a.correction.json"), false).is_ok());
        assert_eq!(names_in(folder.path()), ["made"]);
    }

    fn empty() -> CorrectionProfile {
        let model = ProfiledModel {
            name: "m".into(),
            sha256: "0".repeat(64),
            backend: "ort".into(),
            device: "cpu".into(),
            precision: "fast".into(),
            n_vocab: 2,
        };
        let rules = GateRules {
            confidence: 0.95,
            min_gain_nats: 0.01,
            min_divergence_share: 0.01,
            allow_one_domain: false,
        };
        let (n_positions, n_windows) = (0, 0);
        CorrectionProfile {
            schema_version: SCHEMA_VERSION,
            model,
            reference: None,
            texts: Vec::new(),
            seed: 0,
            estimator: "none".into(),
            diagnostics: Diagnostics {
                n_positions,
                n_windows,
                frozen_share: 0.0,
                bands: Vec::new(),
            },
            candidates: Vec::new(),
            gate: Gate { open: false, chosen: None, reason: "none".into(), rules },
            correction: CorrectionRecipe { offset: None, smoothing: None },
            head_map: None,
            sidecar: None,
        }
    }

    #[test]
    fn a_profile_is_replaced_with_its_arrays() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("m.correction.json");
        std::fs::write(folder.path().join("model.safetensors"), "weights").unwrap();
        let write_one = |offset: Option<f32>| {
            let (mut written, mut arrays) = (empty(), Arrays::default());
            if let Some(offset) = offset {
                arrays.insert("offset", Array::vector([offset, 0.0].into()));
            }
            write_profile(&out, &mut written, &arrays).unwrap();
            let read = read_profile(&out).unwrap();
            assert_eq!((&read.profile, &read.arrays), (&written, &arrays));
            let mut expected = vec!["m.correction.json".to_owned(), "model.safetensors".to_owned()];
            let sidecar = written.sidecar.map(|sidecar| sidecar.file);
            expected.extend(sidecar.clone());
            expected.sort();
            let mut found = names_in(folder.path());
            found.sort();
            assert_eq!(found, expected);
            sidecar
        };
        let first = write_one(Some(1.0));
        assert_eq!(write_one(Some(1.0)), first);
        assert_ne!(write_one(Some(2.0)), first);
        assert_eq!(write_one(None), None);
    }

    #[test]
    fn arrays_without_a_profile_do_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("m.correction.json");
        std::fs::create_dir(&out).unwrap();
        let mut arrays = Arrays::default();
        arrays.insert("offset", Array::vector([1.0, 0.0].into()));
        let error = write_profile(&out, &mut empty(), &arrays).unwrap_err();
        assert!(matches!(error, WriteProfileError::Io { .. }), "{error}");
        assert_eq!(names_in(folder.path()), ["m.correction.json"]);
    }

    #[test]
    fn only_what_a_profile_can_have_named_is_removed() {
        let out = Path::new("folder/m.cpu.correction.json");
        let check = |file: &str, expected: bool| {
            assert_eq!(is_sidecar_of(out, file), expected, "{file}");
        };
        check(&sidecar(out, b"arrays").file, true);
        check("m.cpu.correction.0123abcd.safetensors", true);
        check("m.cpu.correction.safetensors", true);
        check("m.cpu.correction.0123abcde.safetensors", false);
        check("m.cpu.correction.0123ABCD.safetensors", false);
        check("m.cpu.correction.../abcde.safetensors", false);
        check("m.cpu.correction0123abcd.safetensors", false);
        check("m.gpu.correction.0123abcd.safetensors", false);
        check("model.safetensors", false);
        check("m.cpu.correction.json", false);
        check("", false);
    }

    fn names_in(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}
