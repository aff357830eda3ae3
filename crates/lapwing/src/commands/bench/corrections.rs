//! Which corrections are worth measuring: `auto` without a profile that may be used is `off`.

use std::path::PathBuf;

use lapwing_host::CorrectionChoice;
use lapwing_host::correction::peek_profile;

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
