//! What else than a plan decides what is measured: the program itself and files that it reads.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use lapwing_files::checksum;
use lapwing_host::CorrectionChoice;
use serde_json::{Value, json};

use crate::interrupt;
use crate::settings::Settings;

/// Another one for each build of the program. A checkout may hold more than its revision tells, so
/// that the file itself counts.
pub(super) fn of_program() -> Value {
    let metadata = std::env::current_exe().and_then(std::fs::metadata).ok();
    let modified = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
    let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "git_revision": option_env!("LAPWING_GIT_REVISION"),
        "n_bytes": metadata.map(|metadata| metadata.len()),
        "modified_ns": since.map(|since| since.as_nanos().to_string()),
    })
}

/// SHA-256 of the files that the profile of a correction for `model` may be: which of them it is
/// depends on the device. One that cannot be read is told when it is needed.
pub(super) fn of_profiles(
    correction: &CorrectionChoice,
    model: &str,
    settings: &Settings,
) -> Vec<String> {
    let name = match correction {
        CorrectionChoice::Off => return Vec::new(),
        CorrectionChoice::Auto => model,
        CorrectionChoice::Profile(name) => name,
    };
    let entries = std::fs::read_dir(settings.home.profiles()).into_iter().flatten().flatten();
    let in_folder = entries.filter(|entry| {
        let file = entry.file_name();
        let more = file.to_str().and_then(|file| file.strip_prefix(name));
        more.is_some_and(|more| more.is_empty() || more.starts_with('.'))
    });
    let in_folder = in_folder.map(|entry| entry.path());
    let paths: BTreeSet<PathBuf> = in_folder.chain([PathBuf::from(name)]).collect();
    let files = paths.iter().filter(|path| path.is_file());
    let hash =
        |path: &PathBuf| checksum::sha256_file(path, &mut |_| {}, &interrupt::requested).ok();
    files.filter_map(hash).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;
    use crate::home::Home;

    #[test]
    fn a_profile_that_changes_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let cli = Cli::try_parse_from(["lapwing", "list"]).unwrap();
        let mut settings = Settings::resolve(&cli).unwrap();
        settings.home = Home::find(Some(folder.path())).unwrap();
        let profiles = settings.home.profiles();
        std::fs::create_dir_all(&profiles).unwrap();
        let of = |correction: &CorrectionChoice| of_profiles(correction, "m", &settings);
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
