//! Every setting, resolved once: flag, then environment, then settings file, then constant.
//!
//! Commands get plain values; nobody else reads the environment or `lapwing.toml`.

mod file;
mod layers;
mod store;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lapwing_backend::OpenOptions;
use lapwing_store::{StoreOptions, Variant};

use crate::cli::{Cli, RuntimeArgs, TrialLimitArgs};
use crate::env;
use crate::home::{FindHomeError, Home};
use crate::recommendation::Recommendations;
use crate::request::{BackendChoice, CorrectionChoice};
use crate::trial_limits::TrialLimits;

use layers::{Layers, keys};
use store::Sources;

pub use file::{ReadSettingsError, SettingsFile};

/// The backend when nobody says.
pub const BACKEND: BackendChoice = BackendChoice::Auto;
/// The correction when nobody says.
pub const CORRECTION: CorrectionChoice = CorrectionChoice::Off;

/// What the trial of a device may take when nobody says: a first compilation takes minutes.
pub const TRIAL_TIME: Duration = Duration::from_secs(20 * 60);

/// All settings of one run of the program.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folders.
    pub home: Home,
    /// The settings file that was read, if there is one.
    pub file: Option<PathBuf>,
    /// How often `-v` was given.
    pub verbosity: u8,
    /// Whether messages are kept back.
    pub quiet: bool,
    /// A log filter that wins over the verbosity.
    pub log_filter: Option<String>,
    /// Which library runs the model.
    pub backend: BackendChoice,
    /// What the library is asked for.
    pub options: OpenOptions,
    /// Which of several files of a model folder.
    pub variant: Option<Variant>,
    /// The logit correction.
    pub correction: CorrectionChoice,
    /// What `--device auto` means for models that were measured.
    pub recommendations: Recommendations,
    /// Whether a new device is tried in a process of its own; only commands set it.
    pub trials: Trials,
    /// What such a process may take.
    pub trial_limits: TrialLimits,
    /// What the store is told: folders, and where models and runtimes come from.
    pub store: StoreOptions,
    /// Where the system's loader looks for libraries first, as the environment says it.
    pub library_path: Option<OsString>,
}

/// Whether a device that is new is tried in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trials {
    /// When it is new to a model, or the library or driver is.
    WhenNew,
    /// Never: this process is expendable.
    Never,
}

/// Why the settings make no sense. The program ends with 2, as for a wrong flag.
#[derive(Debug, thiserror::Error)]
pub enum ResolveSettingsError {
    /// No folder to keep things in.
    #[error(transparent)]
    Home(#[from] FindHomeError),
    /// The settings file cannot be read.
    #[error(transparent)]
    File(#[from] ReadSettingsError),
    /// A value is none of those allowed.
    #[error("wrong value in {origin}: {problem}")]
    Value {
        /// Where the value is: a variable, or a key of the settings file.
        origin: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Settings {
    /// The settings for this command line in this process's environment.
    ///
    /// # Errors
    ///
    /// When a value of the environment or the settings file is wrong.
    pub fn resolve(cli: &Cli) -> Result<Self, ResolveSettingsError> {
        Self::resolve_with(cli, &|name| std::env::var_os(name))
    }

    fn resolve_with(cli: &Cli, lookup: Lookup<'_>) -> Result<Self, ResolveSettingsError> {
        // An empty variable counts as unset, as shells make it easy to write.
        let lookup = &|name: &str| lookup(name).filter(|value| !value.is_empty());
        let home = Home::find(lookup(env::LAPWING_HOME).as_deref().map(Path::new))?;
        let named = cli.global.config.clone().or(lookup(env::LAPWING_CONFIG).map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| home.settings_file());
        let SettingsFile { options, own } =
            SettingsFile::read(&path, named.is_some(), &option_keys())?;
        let layers = Layers { lookup, path: &path, table: &options };

        let recommendations = own.recommendations.clone();
        let store = Sources { lookup, path: &path }.options(&home, own);

        let flags = cli.command.runtime().cloned().unwrap_or_default();
        let is_default = flags.variant.is_none();
        let runtime = flags.or(layers.group()?);
        let options = OpenOptions {
            cache_folder: Some(crate::compile_cache::folder(&home)),
            ..runtime.open_options()
        };
        Ok(Self {
            backend: runtime.backend.unwrap_or(BACKEND),
            options,
            variant: runtime.variant.map(|name| Variant { name, is_default }),
            correction: runtime.correction.unwrap_or(CORRECTION),
            recommendations,
            trials: Trials::WhenNew,
            trial_limits: trial_limits(&layers.group()?),
            store,
            library_path: lookup(env::LD_LIBRARY_PATH),
            log_filter: lookup(env::LAPWING_LOG).map(|text| text.to_string_lossy().into_owned()),
            verbosity: cli.global.verbose,
            quiet: cli.global.quiet,
            file: path.is_file().then(|| path.clone()),
            home,
        })
    }
}

/// Every option that the environment and the settings file may give.
pub fn option_keys() -> Vec<String> {
    [keys::<RuntimeArgs>(), keys::<TrialLimitArgs>()].concat()
}

type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

fn trial_limits(args: &TrialLimitArgs) -> TrialLimits {
    let time = args.trial_seconds.map_or(TRIAL_TIME, |n| Duration::from_secs(n.get() as u64));
    let n_bytes = args.trial_mb.map(|n| (n.get() as u64).saturating_mul(1_000_000));
    TrialLimits { time, n_bytes: n_bytes.unwrap_or_else(most_of_the_memory) }
}

/// Four fifths of what the machine has: beyond that the system itself suffers.
fn most_of_the_memory() -> u64 {
    crate::memory::total_bytes().map_or(u64::MAX, |n_bytes| n_bytes / 5 * 4)
}

#[cfg(test)]
mod tests;
