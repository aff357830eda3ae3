//! Every setting, resolved once: flag, then environment, then settings file, then constant.
//!
//! Commands get plain values; nobody else reads the environment or `lapwing.toml`.

mod file;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use lapwing_backend::{DeviceRequest, NpuOptions};
use lapwing_store::{
    HubOptions, Origin, PATIENCE, PipChoice, Pointer, Pointers, Proxies, StoreOptions, Token,
    Variant,
};

use crate::cli::choice::{
    BackendChoice, Correction, NpuCompiler, NpuGenerate, ParseChoiceError, Precision,
};
use crate::cli::{Cli, RuntimeArgs};
use crate::env;
use crate::home::{FindHomeError, Home};
use crate::recommendation::Recommendations;
use crate::trial_limits::TrialLimits;

pub use file::{ReadSettingsError, SettingsFile};

/// The backend when nobody says.
pub const BACKEND: BackendChoice = BackendChoice::Auto;
/// The device when nobody says.
pub const DEVICE: DeviceRequest = DeviceRequest::Auto;
/// The precision when nobody says.
pub const PRECISION: Precision = Precision::Fast;
/// The correction when nobody says.
pub const CORRECTION: Correction = Correction::Off;

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
    /// Which device runs it.
    pub device: DeviceRequest,
    /// CPU threads; none is the library's own choice.
    pub threads: Option<NonZeroUsize>,
    /// How exactly to calculate.
    pub precision: Precision,
    /// Positions to make room for; none is the model's limit.
    pub context: Option<NonZeroUsize>,
    /// What only an NPU is told.
    pub npu: NpuOptions,
    /// Which of several files of a model folder.
    pub variant: Option<Variant>,
    /// The logit correction.
    pub correction: Correction,
    /// What `--device auto` means for models that were measured.
    pub recommendations: Recommendations,
    /// Whether a new device is tried in a process of its own; only commands set it.
    pub trials: Trials,
    /// What such a process may take.
    pub trial_limits: TrialLimits,
    /// Where compiled models are kept, if not in the cache folder; only commands set it.
    pub compile_cache: Option<PathBuf>,
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
    #[error("wrong value in {origin}")]
    Value {
        /// Where the value is.
        origin: Origin,
        /// What is wrong with it.
        source: ParseChoiceError,
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
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let home = Home::find(lookup(env::LAPWING_HOME).as_deref().map(Path::new))?;
        let named = cli.global.config.clone().or(lookup(env::LAPWING_CONFIG).map(PathBuf::from));
        let file_path = named.clone().unwrap_or_else(|| home.settings_file());
        let mut file = SettingsFile::read(&file_path, named.is_some())?;
        let layers = Layers { lookup: &lookup, path: &file_path };

        let defaults = RuntimeArgs::default();
        let flags = cli.command.runtime().unwrap_or(&defaults);
        let npu = layers.npu(flags, &file)?;
        let store = layers.store(&home, &mut file);
        let trial_limits = layers.trial_limits(file.trial_seconds(), file.trial_mb())?;
        let threads =
            layers.pick(flags.threads, env::LAPWING_THREADS, "threads", file.threads())?;
        let context =
            layers.pick(flags.context, env::LAPWING_CONTEXT, "context", file.context())?;
        Ok(Self {
            backend: layers
                .pick(flags.backend, env::LAPWING_BACKEND, "backend", file.backend)?
                .unwrap_or(BACKEND),
            device: layers
                .pick(flags.device, env::LAPWING_DEVICE, "device", file.device)?
                .unwrap_or(DEVICE),
            threads,
            precision: layers
                .pick(flags.precision, env::LAPWING_PRECISION, "precision", file.precision)?
                .unwrap_or(PRECISION),
            context,
            npu,
            variant: layers.variant(flags.variant.as_deref(), file.variant),
            correction: layers
                .pick(
                    flags.correction.clone(),
                    env::LAPWING_CORRECTION,
                    "correction",
                    file.correction,
                )?
                .unwrap_or(CORRECTION),
            recommendations: file.recommendations,
            trials: Trials::WhenNew,
            trial_limits,
            compile_cache: None,
            store,
            library_path: lookup(env::LD_LIBRARY_PATH),
            log_filter: layers.text(env::LAPWING_LOG),
            verbosity: cli.global.verbose,
            quiet: cli.global.quiet,
            file: file_path.is_file().then(|| file_path.clone()),
            home,
        })
    }
}

/// Four fifths of what the machine has: beyond that the system itself suffers.
fn most_of_the_memory() -> u64 {
    crate::memory::total_bytes().map_or(u64::MAX, |n_bytes| n_bytes / 5 * 4)
}

type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Environment and settings file, in this order, for one value after the other.
struct Layers<'a> {
    lookup: Lookup<'a>,
    path: &'a Path,
}

impl Layers<'_> {
    fn pick<T: Choice>(
        &self,
        flag: Option<T>,
        variable: &'static str,
        key: &'static str,
        in_file: Option<String>,
    ) -> Result<Option<T>, ResolveSettingsError> {
        if flag.is_some() {
            return Ok(flag);
        }
        let (origin, text) = match (self.text(variable), in_file) {
            (Some(text), _) => (Origin::Environment(variable), text),
            (None, Some(text)) => (Origin::File { path: self.path.to_path_buf(), key }, text),
            (None, None) => return Ok(None),
        };
        match T::parse(&text) {
            Ok(value) => Ok(Some(value)),
            Err(source) => Err(ResolveSettingsError::Value { origin, source }),
        }
    }

    fn npu(
        &self,
        flags: &RuntimeArgs,
        file: &SettingsFile,
    ) -> Result<NpuOptions, ResolveSettingsError> {
        let RuntimeArgs { npu_prompt, npu_chunk, npu_generate, npu_compiler, .. } = *flags;
        let prompt =
            self.pick(npu_prompt, env::LAPWING_NPU_PROMPT, "npu_prompt", file.npu_prompt())?;
        let chunk = self.pick(npu_chunk, env::LAPWING_NPU_CHUNK, "npu_chunk", file.npu_chunk())?;
        let in_file = file.npu_generate.clone();
        let generate =
            self.pick(npu_generate, env::LAPWING_NPU_GENERATE, "npu_generate", in_file)?;
        let in_file = file.npu_compiler.clone();
        let compiler =
            self.pick(npu_compiler, env::LAPWING_NPU_COMPILER, "npu_compiler", in_file)?;
        Ok(NpuOptions {
            n_prompt_tokens_max: prompt.map(usize::from),
            n_prefill_chunk_tokens: chunk.map(usize::from),
            generate: generate.map(Into::into),
            compiler: compiler.map(Into::into),
        })
    }

    fn trial_limits(
        &self,
        seconds_in_file: Option<String>,
        mb_in_file: Option<String>,
    ) -> Result<TrialLimits, ResolveSettingsError> {
        let seconds: Option<NonZeroUsize> =
            self.pick(None, env::LAPWING_TRIAL_SECONDS, "trial_seconds", seconds_in_file)?;
        let mb: Option<NonZeroUsize> =
            self.pick(None, env::LAPWING_TRIAL_MB, "trial_mb", mb_in_file)?;
        let time = seconds.map_or(TRIAL_TIME, |n| Duration::from_secs(n.get() as u64));
        let n_bytes = mb.map(|n| (n.get() as u64).saturating_mul(1_000_000));
        Ok(TrialLimits { time, n_bytes: n_bytes.unwrap_or_else(most_of_the_memory) })
    }

    fn store(&self, home: &Home, file: &mut SettingsFile) -> StoreOptions {
        let onnxruntime =
            self.pointer(&[env::ORT_DYLIB_PATH], "onnxruntime", file.onnxruntime.take());
        let variables = [env::OPENVINO_INSTALL_DIR, env::INTEL_OPENVINO_DIR];
        let openvino = self.pointer(&variables, "openvino", file.openvino.take());
        let pip = (self.lookup)(env::LAPWING_PYTHON).map(PipChoice::Python);
        let pip_in_file = file.pip.take().map(|words| PipChoice::Command(words.into_vec()));
        StoreOptions {
            models: home.models(),
            catalog_file: home.catalog_file(),
            natives: home.natives(),
            pointers: Pointers { onnxruntime, openvino },
            pip: pip.or(pip_in_file),
            hub: self.hub(file.hub.take()),
        }
    }

    fn hub(&self, in_file: Option<String>) -> HubOptions {
        let first = |names: &[&str]| names.iter().find_map(|name| self.text(name));
        let path = |name: &str| (self.lookup)(name).map(PathBuf::from);
        let hf_home = path(env::HF_HOME)
            .or_else(|| path(env::XDG_CACHE_HOME).map(|cache| cache.join("huggingface")))
            .or_else(|| path(env::HOME).map(|home| home.join(".cache/huggingface")));
        let token_files = path(env::HF_TOKEN_PATH).into_iter();
        let token_files = token_files.chain(hf_home.map(|folder| folder.join("token")));
        let origin = Origin::Environment(env::HF_TOKEN);
        let token = self.text(env::HF_TOKEN).map(|text| Token { text, origin });
        let is_without = self.text(env::HF_HUB_DISABLE_IMPLICIT_TOKEN).is_some();
        HubOptions {
            endpoint: self.text(env::HF_ENDPOINT).or(in_file),
            token: token.filter(|_| !is_without),
            token_files: token_files.filter(|_| !is_without).collect(),
            proxies: Proxies {
                http: first(&env::HTTP_PROXIES),
                https: first(&env::HTTPS_PROXIES),
                no_proxy: first(&env::NO_PROXIES),
            },
            patience: PATIENCE,
        }
    }

    fn text(&self, variable: &str) -> Option<String> {
        (self.lookup)(variable).map(|value| value.to_string_lossy().into_owned())
    }

    fn variant(&self, flag: Option<&str>, in_file: Option<String>) -> Option<Variant> {
        let default = || self.text(env::LAPWING_VARIANT).or(in_file);
        flag.map(Variant::asked)
            .or_else(|| default().map(|name| Variant { name, is_default: true }))
    }

    fn pointer(
        &self,
        variables: &[&'static str],
        key: &'static str,
        in_file: Option<PathBuf>,
    ) -> Option<Pointer> {
        let from_environment = variables.iter().find_map(|variable| {
            let path = PathBuf::from((self.lookup)(variable)?);
            Some(Pointer { path, origin: Origin::Environment(variable) })
        });
        from_environment.or_else(|| {
            let origin = Origin::File { path: self.path.to_path_buf(), key };
            in_file.map(|path| Pointer { path, origin })
        })
    }
}

/// A value that the environment and the settings file spell as text.
trait Choice: Sized {
    fn parse(text: &str) -> Result<Self, ParseChoiceError>;
}

macro_rules! choice_from_str {
    ($($name:ty),+) => {$(
        impl Choice for $name {
            fn parse(text: &str) -> Result<Self, ParseChoiceError> {
                Self::from_str(text)
            }
        }
    )+};
}

choice_from_str!(BackendChoice, Precision, Correction, NpuGenerate, NpuCompiler);

impl Choice for DeviceRequest {
    fn parse(text: &str) -> Result<Self, ParseChoiceError> {
        text.parse().map_err(|_| ParseChoiceError {
            expected: "auto, cpu, gpu, npu, npu:cpu, or one of several such as gpu.1",
            found: text.to_owned(),
        })
    }
}

impl Choice for NonZeroUsize {
    fn parse(text: &str) -> Result<Self, ParseChoiceError> {
        text.trim().parse().map_err(|_| ParseChoiceError {
            expected: "a whole number above 0",
            found: text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
