//! Opening a model for the commands that run one: the only place that names concrete backends.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lapwing_backend::{Backend, DeviceKind, Model, OpenOptions, Precision};
use lapwing_logits::Level;
use lapwing_model::{FolderKind, ModelFolder, OpenFolderError};
use lapwing_openvino::OpenVinoBackend;
use lapwing_ort::OrtBackend;
use lapwing_store::{
    Variant,
    natives::{Runtime, locate},
    resolve_model,
};
use lapwing_text::{ChatTemplate, Tokenizer};

use crate::compile_cache;
use crate::hint::note;
use crate::ladder::{self, Attempt, Opened, RefusedRung};
use crate::ort_plugin;
use crate::printer::Printer;
use crate::request::BackendChoice;
use crate::settings::Settings;
use crate::setup::Setup;

/// What an error says first.
const CANNOT_OPEN: &str = "cannot open the model";

/// A model that is ready to run, with its text side.
pub struct Engine {
    /// Where the model is.
    pub path: PathBuf,
    /// What its folder says.
    pub folder: ModelFolder,
    /// The library that the backend runs on.
    pub runtime: Runtime,
    /// The backend's name.
    pub backend: &'static str,
    /// The version of the backend's library.
    pub backend_version: String,
    /// The model.
    pub model: Arc<dyn Model>,
    /// The version of the device's driver, where the library tells.
    pub driver: Option<String>,
    /// Devices that `--device auto` passed over, in order.
    pub refused: Vec<RefusedRung>,
    /// Text to tokens and back, when the folder has a tokenizer.
    pub tokenizer: Option<Tokenizer>,
    /// Messages to a prompt, when the folder has a template.
    pub template: Option<ChatTemplate>,
    /// Time from the call to here.
    pub load: Duration,
    /// Where that time went.
    pub stages: OpenStages,
}

/// The stages of opening a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenStages {
    /// The folder, the tokenizer and the template; weights are not read here.
    pub text: Duration,
    /// Loading the backend's library into the process.
    pub library: Duration,
    /// Reading the model's files into a graph; `None` where the library reads and compiles in one
    /// call.
    pub read: Option<Duration>,
    /// Compiling the graph for the device, with `read` where that is `None`.
    pub compile: Duration,
}

/// Whether scored rows bring the input of the output head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HiddenStates {
    /// They bring logits only.
    Hide,
    /// They do; a model where it cannot be found is refused.
    Show,
}

/// What was asked for is not in this version, or does not fit.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// `--backend native`.
    #[error("the native backend is not part of this version: expected auto, ort or openvino")]
    NoNativeBackend,
    /// The tokenizer of another model.
    #[error(
        "{} does not fit the model: it knows {n_tokenizer} tokens, the model {n_model}",
        tokenizer.display()
    )]
    Vocabulary {
        /// The tokenizer's file.
        tokenizer: PathBuf,
        /// Tokens the tokenizer makes.
        n_tokenizer: usize,
        /// Tokens the model takes.
        n_model: usize,
    },
    /// Text was given, and nothing can read it.
    #[error("{} has no tokenizer.json", folder.display())]
    NoTokenizer {
        /// The model's folder.
        folder: PathBuf,
    },
}

impl Engine {
    /// Open the model `name`, a path or a name in the store, as the settings say.
    ///
    /// # Errors
    ///
    /// When the model, the backend's library or the device is not there or not usable.
    pub fn open(name: &str, settings: &Settings) -> anyhow::Result<Engine> {
        Self::open_with(name, settings, HiddenStates::Hide)
    }

    /// As [`Engine::open`], where scored rows may have to bring the input of the output head.
    ///
    /// # Errors
    ///
    /// As [`Engine::open`], or when that input cannot be found in the graph.
    pub fn open_with(
        name: &str,
        settings: &Settings,
        hidden_states: HiddenStates,
    ) -> anyhow::Result<Engine> {
        let started = Instant::now();
        let path = resolve_model(name, &settings.store).context(CANNOT_OPEN)?;
        let folder = open_folder(&path, settings.variant.as_ref()).context(CANNOT_OPEN)?;
        let runtime = runtime_for(settings.backend, folder.kind)?;
        let options = open_options(settings, runtime, hidden_states);
        let setup = Setup { path, variant: folder.variant.clone(), runtime, options };
        Self::of_folder(setup, folder, settings, started)
    }

    /// Open what was found elsewhere; the settings say everything that `setup` does not.
    ///
    /// # Errors
    ///
    /// As [`Engine::open`].
    pub fn open_setup(setup: Setup, settings: &Settings) -> anyhow::Result<Engine> {
        let started = Instant::now();
        let folder = setup.open_folder().context(CANNOT_OPEN)?;
        Self::of_folder(setup, folder, settings, started)
    }

    fn of_folder(
        setup: Setup,
        folder: ModelFolder,
        settings: &Settings,
        started: Instant,
    ) -> anyhow::Result<Engine> {
        let Setup { path, runtime, options, .. } = setup;
        let template = ChatTemplate::open(&path).context(CANNOT_OPEN)?;
        let tokenizer = match &folder.text.tokenizer {
            Some(file) => Some(Tokenizer::open(file).context(CANNOT_OPEN)?),
            None => None,
        };
        let text = started.elapsed();
        let backend = load(runtime, settings)?;
        if let Some(cache) = &options.cache_folder {
            compile_cache::sweep(cache);
        }
        let library = started.elapsed() - text;
        let attempt = Attempt {
            runtime,
            backend: backend.as_ref(),
            path: &path,
            folder: &folder,
            options,
            settings,
        };
        let Opened { model, refused, open } = ladder::open(&attempt)?;
        let kind = model.device_used().kind;
        if attempt.options.precision == Precision::Exact && kind != DeviceKind::Cpu {
            Printer::new(settings.quiet).warning(note::exact_elsewhere(kind));
        }
        if let (Some(cache), Some(cache_use)) = (&attempt.options.cache_folder, model.cache_use()) {
            compile_cache::settle(cache, cache_use, &Printer::new(settings.quiet));
        }
        let read = model.read_time();
        let compile = open.saturating_sub(read.unwrap_or_default());
        if let (Some(tokenizer), Some(file)) = (&tokenizer, &folder.text.tokenizer) {
            check_vocabulary(tokenizer, file, model.n_vocab())?;
        }
        let engine = Engine {
            path,
            backend: backend.name(),
            backend_version: backend.version(),
            driver: backend.driver(model.device_used()),
            model: model.into(),
            refused,
            tokenizer,
            template,
            folder,
            runtime,
            load: started.elapsed(),
            stages: OpenStages { text, library, read, compile },
        };
        engine.log();
        Ok(engine)
    }

    fn log(&self) {
        tracing::info!(
            model = %self.path.display(),
            backend = self.backend,
            version = self.backend_version,
            device = self.model.device_used().id,
            load_ms = u64::try_from(self.load.as_millis()).unwrap_or(u64::MAX),
            "opened"
        );
        tracing::debug!(level = Level::detect().name(), "host kernels");
    }

    /// The tokenizer, for a command that was given text.
    ///
    /// # Errors
    ///
    /// When the folder has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer, EngineError> {
        self.tokenizer
            .as_ref()
            .ok_or_else(|| EngineError::NoTokenizer { folder: self.folder.root.clone() })
    }

    /// How many tokens mean something: rows of logits may be padded beyond them.
    pub fn n_tokens(&self) -> usize {
        self.tokenizer.as_ref().map_or(self.model.n_vocab(), Tokenizer::n_vocab)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Engine")
            .field("path", &self.path)
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

/// Read a model folder. A variant that nobody asked for this very model is left out where there is
/// nothing to choose from.
///
/// # Errors
///
/// As [`ModelFolder::open`].
pub fn open_folder(path: &Path, variant: Option<&Variant>) -> Result<ModelFolder, OpenFolderError> {
    match (ModelFolder::open(path, variant.map(|v| v.name.as_str())), variant) {
        (Err(OpenFolderError::OneGraph { .. }), Some(Variant { is_default: true, .. })) => {
            ModelFolder::open(path, None)
        }
        (opened, _) => opened,
    }
}

/// Load the library of `runtime` into this process.
///
/// # Errors
///
/// When it is not installed, cannot be loaded or is too old.
pub fn load(runtime: Runtime, settings: &Settings) -> anyhow::Result<Box<dyn Backend>> {
    let located = locate(runtime, &settings.store).context("cannot load the backend")?;
    tracing::debug!(library = %located.path.display(), source = ?located.source, "loading");
    Ok(match runtime {
        Runtime::OnnxRuntime => {
            let backend = OrtBackend::load(&located.path).context("cannot load the backend")?;
            Box::new(ort_plugin::with_plugin(backend, settings))
        }
        Runtime::OpenVino => {
            Box::new(OpenVinoBackend::load(&located.path).context("cannot load the backend")?)
        }
    })
}

/// The runtime that was asked for, or the one made for this kind of folder. A runtime that does
/// not fit the folder is taken all the same: its refusal names both.
///
/// # Errors
///
/// When the backend is not part of this version.
pub fn runtime_for(choice: BackendChoice, kind: FolderKind) -> Result<Runtime, EngineError> {
    match choice {
        BackendChoice::Native => Err(EngineError::NoNativeBackend),
        BackendChoice::Ort => Ok(Runtime::OnnxRuntime),
        BackendChoice::OpenVino => Ok(Runtime::OpenVino),
        BackendChoice::Auto => Ok(match kind {
            FolderKind::OpenVinoIr => Runtime::OpenVino,
            FolderKind::OnnxGenai | FolderKind::TransformersJs => Runtime::OnnxRuntime,
        }),
    }
}

/// What the settings ask of a backend. Only OpenVINO's compiled models are kept.
pub fn open_options(
    settings: &Settings,
    runtime: Runtime,
    hidden_states: HiddenStates,
) -> OpenOptions {
    let mut options = settings.options.clone();
    options.hidden_states = hidden_states == HiddenStates::Show;
    if runtime == Runtime::OnnxRuntime {
        options.cache_folder = None;
    }
    options
}

fn check_vocabulary(tokenizer: &Tokenizer, file: &Path, n_model: usize) -> Result<(), EngineError> {
    let n_tokenizer = tokenizer.n_vocab();
    if n_tokenizer <= n_model {
        return Ok(());
    }
    Err(EngineError::Vocabulary { tokenizer: file.to_owned(), n_tokenizer, n_model })
}
