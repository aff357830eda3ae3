//! What the profiles of a folder mean for a model before it is opened.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use lapwing_files::checksum;

use super::PROFILE_SUFFIX;
use super::profile::peek_profile;
use crate::choice::CorrectionChoice;

/// Why no profile of `model` would be used on any device; `None` where one may be, or where that
/// is for the measurement to find out.
pub fn why_auto_is_off(model: &str, folder: &Path) -> Option<&'static str> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Some("there is no profile");
        }
        Err(_) => return None,
    };
    let is_of_model = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let device = name
            .and_then(|name| name.strip_prefix(model)?.strip_prefix('.'))
            .and_then(|rest| rest.strip_suffix(PROFILE_SUFFIX));
        device.is_some_and(|device| !device.contains('.'))
    };
    let profiles: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(is_of_model).collect();
    if profiles.is_empty() {
        return Some("there is no profile");
    }
    let is_closed = |path: &PathBuf| {
        peek_profile(path).is_ok_and(|profile| profile.is_some_and(|found| !found.gate.open))
    };
    profiles.iter().all(is_closed).then_some("the gate of its profile is closed")
}

/// SHA-256 of the files that the profile of a correction for `model` may be: which of them it is
/// depends on the device. One that cannot be read is told when it is needed.
pub fn profile_hashes(
    correction: &CorrectionChoice,
    model: &str,
    folder: &Path,
    is_stopped: &dyn Fn() -> bool,
) -> Vec<String> {
    let name = match correction {
        CorrectionChoice::Off => return Vec::new(),
        CorrectionChoice::Auto => model,
        CorrectionChoice::Profile(name) => name,
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let in_folder = entries.filter(|entry| {
        let file = entry.file_name();
        let more = file.to_str().and_then(|file| file.strip_prefix(name));
        more.is_some_and(|more| more.is_empty() || more.starts_with('.'))
    });
    let in_folder = in_folder.map(|entry| entry.path());
    let paths: BTreeSet<PathBuf> = in_folder.chain([PathBuf::from(name)]).collect();
    let files = paths.iter().filter(|path| path.is_file());
    let hash = |path: &PathBuf| checksum::sha256_file(path, &mut |_| {}, is_stopped).ok();
    files.filter_map(hash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_changes_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let profiles = folder.path();
        let of =
            |correction: &CorrectionChoice| profile_hashes(correction, "m", profiles, &|| false);
        let named = CorrectionChoice::Profile("m.cpu".into());
        std::fs::write(profiles.join("m2.cpu.correction.json"), "of another model").unwrap();
        assert!(of(&CorrectionChoice::Auto).is_empty() && of(&named).is_empty());
        let write = |text: &str| {
            std::fs::write(profiles.join("m.cpu.correction.json"), text).unwrap();
            assert_eq!(of(&CorrectionChoice::Auto).len(), 1);
            assert_eq!(of(&CorrectionChoice::Auto), of(&named));
            assert!(of(&CorrectionChoice::Off).is_empty());
            of(&named)
        };
        assert_ne!(write("one"), write("two"));
    }
}
