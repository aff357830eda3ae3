//! What else than a plan decides what is measured: the program itself and files that it reads.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use lapwing_files::checksum;
use serde_json::{Value, json};

use crate::cli::choice::Correction;
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
    correction: &Correction,
    model: &str,
    settings: &Settings,
) -> Vec<String> {
    let name = match correction {
        Correction::Off => return Vec::new(),
        Correction::Auto => model,
        Correction::Profile(name) => name,
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
    use lapwing_backend::{DeviceRequest, NpuOptions};

    use super::*;
    use crate::cli::choice::{BackendChoice, Precision};
    use crate::home::Home;
    use crate::recommendation::Recommendations;
    use crate::settings::{TRIAL_TIME, Trials};
    use crate::trial_limits::TrialLimits;
    use lapwing_store::{HubOptions, PATIENCE, Pointers, Proxies, StoreOptions};

    fn settings(home: Home) -> Settings {
        let store = StoreOptions {
            models: home.models(),
            catalog_file: home.catalog_file(),
            natives: home.natives(),
            pointers: Pointers::default(),
            pip: None,
            hub: HubOptions {
                endpoint: None,
                token: None,
                token_files: Vec::new(),
                proxies: Proxies::default(),
                patience: PATIENCE,
            },
        };
        Settings {
            home,
            file: None,
            verbosity: 0,
            quiet: true,
            log_filter: None,
            backend: BackendChoice::Auto,
            device: DeviceRequest::Auto,
            threads: None,
            precision: Precision::Fast,
            context: None,
            npu: NpuOptions::default(),
            variant: None,
            correction: Correction::Off,
            recommendations: Recommendations::new(),
            trials: Trials::Never,
            trial_limits: TrialLimits { time: TRIAL_TIME, n_bytes: u64::MAX },
            compile_cache: None,
            store,
            library_path: None,
        }
    }

    #[test]
    fn a_profile_that_changes_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(Home::find(Some(folder.path())).unwrap());
        let profiles = settings.home.profiles();
        std::fs::create_dir_all(&profiles).unwrap();
        let of = |correction: &Correction| of_profiles(correction, "m", &settings);
        let named = Correction::Profile("m.cpu".into());
        std::fs::write(profiles.join("m2.cpu.correction.json"), "of another model").unwrap();
        assert!(of(&Correction::Auto).is_empty() && of(&named).is_empty());
        let write = |text: &str| {
            std::fs::write(profiles.join("m.cpu.correction.json"), text).unwrap();
            assert_eq!(of(&Correction::Auto).len(), 1);
            assert_eq!(of(&Correction::Auto), of(&named));
            assert!(of(&Correction::Off).is_empty());
            of(&named)
        };
        assert_ne!(write("one"), write("two"));
    }
}
