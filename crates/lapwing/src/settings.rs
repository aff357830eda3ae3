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
use lapwing_files::Allowance;
use lapwing_host::trial::TrialLimits;
use lapwing_host::worker::WorkerCommand;
use lapwing_host::{BackendChoice, CorrectionChoice, Host, OpenRequest, Trials};
use lapwing_measure::reading::SystemFiles;
use lapwing_store::Variant;

use crate::cli::{Cli, RuntimeArgs, ServingArgs, TrialLimitArgs, TrustArgs, WorkerKind};
use crate::env;
use crate::home::{FindHomeError, Home};
use crate::this_program::worker;
use lapwing_host::allowance::n_threads;

use layers::{Layers, keys};
use store::Sources;

pub use file::{ReadSettingsError, SettingsFile, UnknownKey};

/// The backend when nobody says.
pub const BACKEND: BackendChoice = BackendChoice::Auto;
/// The correction when nobody says.
pub const CORRECTION: CorrectionChoice = CorrectionChoice::Off;

/// All settings of one run of the program.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folders.
    pub home: Home,
    /// The settings file that was read, if there is one.
    pub file: Option<PathBuf>,
    /// What stands in it.
    pub file_text: String,
    /// A key in it that does not exist; none where a command does more than look.
    pub unknown_key: Option<UnknownKey>,
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
    /// Whether this process does its work itself, without another one that guards it.
    pub trust: bool,
    /// What models are opened with.
    pub host: Host,
    /// What the daemon does.
    pub serving: ServingArgs,
    /// Where the system tells of itself.
    pub system: SystemFiles,
    /// The variables that a service needs to do the same.
    pub kept: Vec<(&'static str, OsString)>,
    /// Who started the daemon, if that is to be told how it is.
    pub manager: Option<ManagerVariables>,
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
    Value { origin: String, problem: String },
}

impl Settings {
    /// The settings for this command line in this process's environment.
    pub fn resolve(cli: &Cli) -> Result<Self, ResolveSettingsError> {
        Self::resolve_with(cli, &|name| std::env::var_os(name))
    }

    /// A model, opened as they say.
    pub fn request(&self, model: &str) -> OpenRequest {
        OpenRequest {
            model: model.to_owned(),
            variant: self.variant.clone(),
            backend: self.backend,
            options: self.options.clone(),
        }
    }

    /// How this program starts itself as a worker.
    pub fn worker(&self, kind: WorkerKind) -> WorkerCommand {
        worker(kind, self.file.as_deref(), self.verbosity)
    }

    /// The same with these settings, which are written at `file`.
    #[cfg(target_os = "linux")]
    pub fn worker_with(&self, kind: WorkerKind, file: &Path) -> WorkerCommand {
        worker(kind, Some(file), self.verbosity)
    }

    fn resolve_with(cli: &Cli, lookup: Lookup<'_>) -> Result<Self, ResolveSettingsError> {
        // An empty variable counts as unset, as shells make it easy to write.
        let lookup = &|name: &str| lookup(name).filter(|value| !value.is_empty());
        let home = Home::find(lookup(env::LAPWING_HOME).as_deref().map(Path::new))?;
        let named = cli.global.config.clone().or(lookup(env::LAPWING_CONFIG).map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| home.settings_file());
        let SettingsFile { options, serving, own, text: file_text, unknown } =
            SettingsFile::read(&path, named.is_some(), &option_keys(), &keys::<ServingArgs>())?;
        if let Some(unknown) = unknown.clone().filter(|_| !cli.command.only_looks()) {
            return Err(ReadSettingsError::UnknownKey(unknown).into());
        }
        let layers = Layers { lookup, path: &path, table: &options, section: None };
        let of_daemon = Layers { table: &serving, section: Some(file::SERVING), ..layers };

        let allowance = Allowance::of_this_process();
        let file = path.is_file().then(|| path.clone());
        let host = Host {
            recommendations: Some(home.recommendations_file()),
            store: Sources { lookup, path: &path }.options(&home, own),
            cache: home.cache().to_owned(),
            profiles: home.profiles(),
            trials: Trials {
                worker: Some(worker(WorkerKind::Trial, file.as_deref(), cli.global.verbose)),
                limits: trial_limits(&layers.group()?, &allowance),
                // Another process looks after this one.
                cpu_too: false,
            },
            library_path: lookup(env::LD_LIBRARY_PATH),
            allowance,
        };

        let flags = cli.command.runtime().cloned().unwrap_or_default();
        let is_default = flags.variant.is_none();
        let runtime = flags.or(layers.group()?);
        let cache_folder = Some(host.compiled_models());
        let mut options = OpenOptions { cache_folder, ..runtime.open_options() };
        options.n_threads = options.n_threads.or_else(|| n_threads(&allowance));
        Ok(Self {
            backend: runtime.backend.unwrap_or(BACKEND),
            options,
            variant: runtime.variant.map(|name| Variant { name, is_default }),
            correction: runtime.correction.unwrap_or(CORRECTION),
            trust: cli.global.trust.trust.or(layers.group::<TrustArgs>()?.trust).unwrap_or(false),
            host,
            manager: manager_variables(lookup),
            system: cli.command.system_files(),
            kept: kept(lookup, &home),
            serving: cli.command.serving().cloned().unwrap_or_default().or(of_daemon.group()?),
            log_filter: lookup(env::LAPWING_LOG).map(|text| text.to_string_lossy().into_owned()),
            verbosity: cli.global.verbose,
            quiet: cli.global.quiet,
            file,
            file_text,
            unknown_key: unknown,
            home,
        })
    }
}

fn kept(lookup: Lookup<'_>, home: &Home) -> Vec<(&'static str, OsString)> {
    let names = env::ALL.iter().map(|(name, _)| *name).filter(|name| env::is_kept(name));
    let of = |name: &'static str| match name {
        // It may be relative to a folder that the service does not know.
        env::LAPWING_HOME => lookup(name).map(|_| home.data().into()),
        _ => lookup(name),
    };
    names.filter_map(|name| Some((name, of(name)?))).collect()
}

/// What a service manager says to the process that it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagerVariables {
    /// Where it hears.
    pub socket: OsString,
    /// The longest silence that it bears, if it minds.
    pub watchdog: Option<Duration>,
}

fn manager_variables(lookup: Lookup<'_>) -> Option<ManagerVariables> {
    let socket = lookup(env::NOTIFY_SOCKET)?;
    let number = |name: &str| lookup(name)?.to_str()?.parse::<u64>().ok();
    let is_other =
        number(env::WATCHDOG_PID).is_some_and(|pid| pid != u64::from(std::process::id()));
    let watchdog = number(env::WATCHDOG_USEC).filter(|&n| n != 0 && !is_other);
    Some(ManagerVariables { socket, watchdog: watchdog.map(Duration::from_micros) })
}

/// Every option that the environment and the settings file may give, but for those of the daemon.
fn option_keys() -> Vec<String> {
    [keys::<RuntimeArgs>(), keys::<TrialLimitArgs>(), keys::<TrustArgs>()].concat()
}

/// The variable of every option that the environment may give.
#[cfg(test)]
pub fn option_variables() -> Vec<String> {
    let options = option_keys().into_iter().map(|key| layers::variable(None, &key));
    let serving = keys::<ServingArgs>().into_iter();
    options.chain(serving.map(|key| layers::variable(Some(file::SERVING), &key))).collect()
}

type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

fn trial_limits(args: &TrialLimitArgs, allowance: &Allowance) -> TrialLimits {
    let usual = TrialLimits::usual(allowance);
    let time = args.trial_seconds.map(|n| Duration::from_secs(n.get() as u64));
    let n_bytes = args.trial_mb.map(|n| (n.get() as u64).saturating_mul(1_000_000));
    TrialLimits { time: time.unwrap_or(usual.time), n_bytes: n_bytes.unwrap_or(usual.n_bytes) }
}

#[cfg(test)]
mod tests;
