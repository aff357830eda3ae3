//! Every environment variable that Lapwing reads, in one place.
//!
//! Nothing else in the workspace reads the environment: [`crate::settings`] looks these up once
//! and hands plain values on. To add one: a constant here, a line in [`ALL`] that says what it
//! is for, a use in settings; that of an option is named after it and is in [`ALL`] only.

pub const LAPWING_HOME: &str = "LAPWING_HOME";
pub const LAPWING_CONFIG: &str = "LAPWING_CONFIG";
pub const LAPWING_TRIAL_SECONDS: &str = "LAPWING_TRIAL_SECONDS";
pub const LAPWING_TRIAL_MB: &str = "LAPWING_TRIAL_MB";
pub const LAPWING_PYTHON: &str = "LAPWING_PYTHON";
pub const LAPWING_LOG: &str = "LAPWING_LOG";
pub const ORT_DYLIB_PATH: &str = "ORT_DYLIB_PATH";
pub const OPENVINO_INSTALL_DIR: &str = "OPENVINO_INSTALL_DIR";
pub const INTEL_OPENVINO_DIR: &str = "INTEL_OPENVINO_DIR";
pub const LD_LIBRARY_PATH: &str = "LD_LIBRARY_PATH";
pub const HF_ENDPOINT: &str = "HF_ENDPOINT";
pub const HF_TOKEN: &str = "HF_TOKEN";
pub const HF_TOKEN_PATH: &str = "HF_TOKEN_PATH";
pub const HF_HOME: &str = "HF_HOME";
pub const HF_HUB_CACHE: &str = "HF_HUB_CACHE";
pub const HF_HUB_OFFLINE: &str = "HF_HUB_OFFLINE";
/// Keeps tokens from being sent.
pub const HF_HUB_DISABLE_IMPLICIT_TOKEN: &str = "HF_HUB_DISABLE_IMPLICIT_TOKEN";
/// Where the folder of [`HF_HOME`] is otherwise.
pub const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
/// Where our own folders are otherwise.
pub const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
pub const XDG_DATA_HOME: &str = "XDG_DATA_HOME";
/// The user's folder, where caches are otherwise.
pub const HOME: &str = "HOME";
/// What `service install` hands on to the service: where things are, and everything of our own but the
/// settings file, which it names.
pub fn is_kept(name: &str) -> bool {
    const PLACES: [&str; 7] = [
        XDG_CONFIG_HOME,
        XDG_DATA_HOME,
        XDG_CACHE_HOME,
        ORT_DYLIB_PATH,
        OPENVINO_INSTALL_DIR,
        INTEL_OPENVINO_DIR,
        LD_LIBRARY_PATH,
    ];
    let is_own = name.starts_with("LAPWING_") && ![LAPWING_CONFIG, LAPWING_GUARD].contains(&name);
    is_own || PLACES.contains(&name)
}

/// Proxies for addresses with `https`, the first that is set.
pub const HTTPS_PROXIES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
/// The same for addresses with `http`. Not `HTTP_PROXY`: on a web server a request can set it.
pub const HTTP_PROXIES: [&str; 3] = ["http_proxy", "all_proxy", "ALL_PROXY"];
/// Hosts that are asked directly.
pub const NO_PROXIES: [&str; 2] = ["no_proxy", "NO_PROXY"];
/// Where a service manager hears of this process, how often it wants to (microseconds), and which
/// process is meant.
pub const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
pub const WATCHDOG_USEC: &str = "WATCHDOG_USEC";
pub const WATCHDOG_PID: &str = "WATCHDOG_PID";
/// Not for users: who guards this process, and where it says what it does. See [`crate::guard`].
pub const LAPWING_GUARD: &str = "LAPWING_GUARD";
/// Set to 1 unless the user sets it.
pub const ORT_DISABLE_TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

/// Name and meaning of every variable, for the man page and `--help`.
///
/// Those from `ORT_DISABLE_TELEMETRY` on are read by the libraries and crates that honour them, not
/// by [`crate::settings`].
pub const ALL: &[(&str, &str)] = &[
    (LAPWING_HOME, "one folder for settings, models, runtimes and caches"),
    (LAPWING_CONFIG, "the settings file"),
    ("LAPWING_BACKEND", "same as --backend"),
    ("LAPWING_DEVICE", "same as --device"),
    ("LAPWING_THREADS", "same as --threads"),
    ("LAPWING_PRECISION", "same as --precision"),
    ("LAPWING_CONTEXT", "same as --context"),
    ("LAPWING_NPU_PROMPT", "same as --npu-prompt"),
    ("LAPWING_PROPERTY", "same as --property, one"),
    (LAPWING_TRIAL_SECONDS, "limit of a first compilation for a GPU or an NPU"),
    (LAPWING_TRIAL_MB, "memory limit of the same"),
    ("LAPWING_VARIANT", "same as --variant"),
    ("LAPWING_CORRECTION", "same as --correction"),
    ("LAPWING_TRUST", "same as --trust"),
    ("LAPWING_SERVE_LISTEN", "same as --listen of `serve`, several with commas between them"),
    ("LAPWING_SERVE_SOCKET", "same as --socket of `serve`"),
    ("LAPWING_SERVE_NO_PORT", "same as --no-port of `serve`: true or false"),
    ("LAPWING_SERVE_KEY_FILE", "same as --key-file of `serve`"),
    ("LAPWING_SERVE_HOST", "same as --host of `serve`, as many"),
    ("LAPWING_SERVE_ORIGIN", "same as --origin of `serve`, as many"),
    ("LAPWING_SERVE_ALIAS", "same as --alias of `serve`, as many"),
    ("LAPWING_SERVE_DEFAULT_MODEL", "same as --default-model of `serve`"),
    ("LAPWING_SERVE_ANY_NAME", "same as --any-name of `serve`: true or false"),
    ("LAPWING_SERVE_ALLOW_PULL", "same as --allow-pull of `serve`: true or false"),
    ("LAPWING_SERVE_KEEP_ALIVE", "same as --keep-alive of `serve`"),
    ("LAPWING_SERVE_MEMORY_MB", "same as --memory-mb of `serve`"),
    ("LAPWING_SERVE_PARALLEL", "same as --parallel of `serve`"),
    ("LAPWING_SERVE_QUEUE", "same as --queue of `serve`"),
    ("LAPWING_SERVE_POWER", "same as --power of `serve`, one"),
    ("LAPWING_SERVE_OTLP", "same as --otlp of `serve`"),
    (LAPWING_PYTHON, "the Python whose pip fetches wheels"),
    (LAPWING_LOG, "log filter, for example lapwing=debug"),
    (ORT_DYLIB_PATH, "an installed libonnxruntime, file or folder"),
    (OPENVINO_INSTALL_DIR, "the folder of an installed OpenVINO"),
    (INTEL_OPENVINO_DIR, "the same, as setupvars.sh sets it"),
    (LD_LIBRARY_PATH, "where the system's loader finds drivers first"),
    (HF_ENDPOINT, "address of the Hugging Face hub or a mirror"),
    (HF_TOKEN, "access token for gated and private repositories"),
    (HF_TOKEN_PATH, "file with that token"),
    (HF_HOME, "folder with the token that `hf auth login` saved, and with `hub`"),
    (HF_HUB_CACHE, "that cache itself, where models are found that the store lacks"),
    (
        HF_HUB_OFFLINE,
        "1: nothing is downloaded, from the hub or by pip; `pull` takes what the cache has",
    ),
    ("HTTPS_PROXY", "proxy on the way to the hub"),
    ("NO_PROXY", "hosts that are asked without it"),
    (NOTIFY_SOCKET, "set by a service manager: where `serve` tells how it is"),
    (WATCHDOG_USEC, "set by a service manager: how often it wants to hear of `serve`"),
    (WATCHDOG_PID, "set by a service manager: of which process"),
    (ORT_DISABLE_TELEMETRY, "1 unless set: ONNX Runtime records and sends no events"),
    (XDG_CONFIG_HOME, "where the folder with the settings is, and units of systemd"),
    (XDG_DATA_HOME, "where the folder with models and runtimes is"),
    (XDG_CACHE_HOME, "where the folder with compiled models is"),
    ("SSL_CERT_FILE", "certificates to trust instead of the system's"),
    ("NO_COLOR", "no colours"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_listed_once() {
        let mut names: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let n_names = names.len();
        names.dedup();
        assert_eq!(names.len(), n_names);
        assert!(names.contains(&LAPWING_HOME) && names.contains(&HF_ENDPOINT));
        for name in crate::settings::option_variables() {
            assert!(names.contains(&&*name), "{name}");
        }
    }
}
