//! Which corrections are worth measuring, and the files that they come from: `auto` without a profile
//! that may be used is `off`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use lapwing_files::checksum;
use lapwing_host::CorrectionChoice;
use lapwing_host::correction::peek_profile;

use crate::interrupt;
use crate::printer::Printer;
use crate::settings::Settings;

/// `asked`, with `off` in the place of an `auto` that changes nothing for `model`; that is said.
pub(super) fn effective(
    asked: Vec<CorrectionChoice>,
    model: &str,
    settings: &Settings,
    printer: &Printer,
) -> Vec<CorrectionChoice> {
    let of_one = |correction| match (&correction, auto_is_off(model, settings)) {
        (CorrectionChoice::Auto, Some(why)) => {
            printer.note(format!("--correction auto is off for {model}: {why}"));
            CorrectionChoice::Off
        }
        _ => correction,
    };
    asked.into_iter().map(of_one).collect()
}

/// Why no profile of `model` would be used on any device; `None` where one may be, or where that
/// is for the measurement to find out.
fn auto_is_off(model: &str, settings: &Settings) -> Option<&'static str> {
    let folder = settings.home.profiles();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Some("there is no profile");
        }
        Err(_) => return None,
    };
    let is_of_model = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let device = name
            .and_then(|name| name.strip_prefix(model)?.strip_prefix('.'))
            .and_then(|rest| rest.strip_suffix(".correction.json"));
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
