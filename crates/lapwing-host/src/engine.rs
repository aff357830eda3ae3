//! A model that is open, with its text side.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing_backend::{DeviceKind, Model, OpenError, OpenOptions, Precision};
use lapwing_files::{FileError, checksum, regular};
use lapwing_formats::{FileChanged, Watch};
use lapwing_logits::{Correction, Details, Level, SamplerOptions};
use lapwing_model::{ModelFolder, TOKENIZER_BYTES_MAX, TokenId};
use lapwing_runtime::{Request, Session};
use lapwing_store::natives::Runtime;
use lapwing_text::{ChatTemplate, ReplyFormat, SpecialPieces, SpecialTokens, Tokenizer};
use serde_json::{Value, json};

use crate::backends;
use crate::compile_cache;
use crate::host::Host;
use crate::ladder::{self, Attempt, Opened};
use crate::model_files::{ModelFiles, ModelFilesError, folder_name};
use crate::notice::{Caller, Notice, RefusedRung};
use crate::open_error::{OpenModelError, cannot_open, with_causes};
use crate::request::OpenRequest;
use crate::setup::Setup;
use crate::trial::Stage;

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
    /// The arithmetic that was asked for.
    pub precision: Precision,
    /// Devices that `auto` passed over, in order.
    pub refused: Vec<RefusedRung>,
    /// Text to tokens and back, when the folder has a tokenizer.
    pub tokenizer: Option<Tokenizer>,
    /// Messages to a prompt, when the folder has a template.
    pub template: Option<ChatTemplate>,
    /// How answers mark thoughts and calls.
    pub reply: ReplyFormat,
    /// Time from the call to here.
    pub load: Duration,
    /// Where that time went.
    pub stages: OpenStages,
    /// The files of the model, watched since before a library read them: see
    /// [`Engine::require_unchanged`].
    _watches: Vec<Watch>,
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

/// Text was given, and nothing can read it.
#[derive(Debug, thiserror::Error)]
#[error("{} has no tokenizer.json", folder.display())]
pub struct NoTokenizer {
    /// The model's folder.
    pub folder: PathBuf,
}

impl Engine {
    /// What its rows depend on when it was opened with `options`, told without reading its weights.
    ///
    /// # Errors
    ///
    /// When a file is not there, the graph is malformed, or the tokenizer cannot be read.
    pub fn key(&self, options: &OpenOptions) -> Result<Value, ModelFilesError> {
        let tokenizer = self.folder.text.tokenizer.as_deref();
        let read = |file| {
            let bytes = regular::read(file, TOKENIZER_BYTES_MAX);
            bytes.map_err(FileError::cannot("read the tokenizer", file))
        };
        let tokenizer = tokenizer.map(read).transpose()?;
        Ok(json!({
            "path": std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone()),
            "files": ModelFiles::of(&self.folder)?.stamp(),
            "tokenizer": tokenizer.map(|bytes| checksum::sha256_bytes(&bytes)),
            "backend": [self.backend, &self.backend_version],
            "device": self.model.device_used().id,
            "precision": options.precision,
            "properties": options.properties,
            "threads": options.n_threads,
            "n_positions_max": self.model.limits().n_positions_max,
        }))
    }

    /// Find a model and open it.
    ///
    /// # Errors
    ///
    /// When the model, the backend's library or the device is not there or not usable, or the
    /// caller wants no more.
    pub fn open(
        host: &Host,
        request: &OpenRequest,
        caller: Caller<'_>,
    ) -> Result<Engine, OpenModelError> {
        let started = Instant::now();
        let (setup, folder) = request.settle(host)?;
        Self::of_folder(host, setup, folder, caller, started)
    }

    /// Open what was found elsewhere.
    ///
    /// # Errors
    ///
    /// As [`Engine::open`].
    pub fn open_setup(
        host: &Host,
        setup: Setup,
        caller: Caller<'_>,
    ) -> Result<Engine, OpenModelError> {
        let started = Instant::now();
        let folder = setup.open_folder().map_err(cannot_open)?;
        Self::of_folder(host, setup, folder, caller, started)
    }

    fn of_folder(
        host: &Host,
        setup: Setup,
        folder: ModelFolder,
        caller: Caller<'_>,
        started: Instant,
    ) -> Result<Engine, OpenModelError> {
        let Setup { path, runtime, options, .. } = setup;
        let mut folder = folder;
        (caller.begins)(Stage::Files, &path.display().to_string());
        let template = ChatTemplate::open(&path).map_err(cannot_open)?;
        let tokenizer = match &folder.text.tokenizer {
            Some(file) => Some(Tokenizer::open(file).map_err(cannot_open)?),
            None => None,
        };
        if let Some(tokenizer) = &tokenizer {
            let named = SpecialTokens::open(&path).map_err(cannot_open)?;
            end_at_named_token(&mut folder, tokenizer, &named);
        }
        let reply = match &tokenizer {
            Some(tokenizer) => ReplyFormat::detect(template.as_ref(), tokenizer),
            None => ReplyFormat::plain(),
        };
        let files = ModelFiles::of(&folder);
        let n_file_bytes = files.as_ref().map_or(0, ModelFiles::n_bytes);
        Notice::of_memory(n_file_bytes, &host.allowance)
            .into_iter()
            .for_each(|notice| caller.tell(notice));
        let (watches, unwatched) = watched(files.and_then(|files| files.watch()));
        let text = started.elapsed();
        (caller.begins)(Stage::Library, runtime.name());
        let backend = backends::load(runtime, host)?;
        if let Some(cache) = &options.cache_folder {
            compile_cache::sweep(cache);
        }
        let library = started.elapsed() - text;
        // What is known before a trial, which may take minutes, is told before it.
        let limit = folder.architecture.n_positions_max;
        if let Some(n_asked) = options.n_positions_max.filter(|&asked| limit < asked) {
            caller.tell(Notice::ShorterContext { n_asked, n_positions_max: limit });
        }
        let attempt =
            Attempt { runtime, backend: backend.as_ref(), path: &path, folder: &folder, options };
        // What is wrong with files a library says more clearly; where it takes them all the same, it
        // is told that nobody watches them.
        let opened = ladder::open(host, &attempt, caller);
        if opened.as_ref().is_err_and(|error| !error.is_stop()) {
            lapwing_formats::require_unchanged(&folder.graph)?;
        }
        let Opened { model, refused, open } = opened?;
        unwatched.into_iter().for_each(|notice| caller.tell(notice));
        let kind = model.device_used().kind;
        if attempt.options.precision == Precision::Exact && kind != DeviceKind::Cpu {
            caller.tell(Notice::NotExact { kind });
        }
        if let (Some(cache), Some(cache_use)) = (&attempt.options.cache_folder, model.cache_use()) {
            compile_cache::settle(cache, cache_use);
            Notice::of_cache(cache_use).into_iter().for_each(|notice| caller.tell(notice));
        }
        if let (Some(tokenizer), Some(file)) = (&tokenizer, &folder.text.tokenizer) {
            check_vocabulary(tokenizer, file, model.n_vocab())?;
        }
        let read = model.read_time();
        let compile = open.saturating_sub(read.unwrap_or_default());
        let precision = attempt.options.precision;
        let engine = Engine {
            path,
            backend: backend.name(),
            backend_version: backend.version(),
            driver: backend.driver(model.device_used()),
            model: model.into(),
            precision,
            refused,
            tokenizer,
            template,
            reply,
            folder,
            runtime,
            load: started.elapsed(),
            stages: OpenStages { text, library, read, compile },
            _watches: watches,
        };
        engine.log();
        Ok(engine)
    }

    /// Demand that nobody wrote to the model's files or cut them off since it was opened: libraries
    /// read weights out of them during every answer. To ask costs microseconds.
    ///
    /// # Errors
    ///
    /// With the file that was changed; what was computed is not to be trusted then.
    pub fn require_unchanged(&self) -> Result<(), FileChanged> {
        lapwing_formats::require_unchanged(&self.folder.graph)
    }

    /// A new sequence, whose rows are corrected.
    ///
    /// # Errors
    ///
    /// When the library gives none.
    pub fn session(&self, correction: Option<Arc<Correction>>) -> Result<Session, OpenError> {
        let mut session = Session::new(self.model.clone(), Level::detect())?;
        session.set_correction(correction);
        Ok(session)
    }

    /// Asks for an answer that ends where the model's authors say, and after `n_tokens_max` tokens at
    /// the latest.
    pub fn request<'a>(
        &'a self,
        prompt: &'a [TokenId],
        sampler: &'a SamplerOptions,
        n_tokens_max: usize,
    ) -> Request<'a> {
        Request {
            prompt,
            tokenizer: self.tokenizer.as_ref(),
            special: SpecialPieces::Skip,
            reply: Some(&self.reply),
            sampler,
            details: Details::NONE,
            n_tokens_max,
            stop_ids: &self.folder.tokens.eos,
            ignore_stop_ids: false,
            stop_texts: &[],
            n_first_step_top: 0,
        }
    }

    /// The name of the model's folder, which is its name in the store too.
    pub fn name(&self) -> String {
        folder_name(&self.path, &self.folder)
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

    /// The tokenizer, for whoever was given text.
    ///
    /// # Errors
    ///
    /// When the folder has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer, NoTokenizer> {
        let none = || NoTokenizer { folder: self.folder.root.clone() };
        self.tokenizer.as_ref().ok_or_else(none)
    }

    /// How many tokens mean something: rows of logits may be padded beyond them, and a tokenizer may
    /// know some that the model does not have.
    pub fn n_tokens(&self) -> usize {
        let n_model = self.model.n_vocab();
        self.tokenizer.as_ref().map_or(n_model, |tokenizer| tokenizer.n_vocab().min(n_model))
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

/// The files that are watched, and what there is to say where they cannot be.
pub(crate) fn watched(
    watches: Result<Vec<Watch>, ModelFilesError>,
) -> (Vec<Watch>, Option<Notice>) {
    match watches {
        Ok(watches) => (watches, None),
        Err(error) => (Vec::new(), Some(Notice::Unwatched { why: with_causes(&error) })),
    }
}

/// By which part of the model's vocabulary a tokenizer may know more: an image token that a text
/// model never gets, tokens for filling in. One that knows still more is another model's.
const N_TOKENS_BEYOND: usize = 8;

pub(crate) fn check_vocabulary(
    tokenizer: &Tokenizer,
    file: &Path,
    n_model: usize,
) -> Result<(), OpenModelError> {
    let n_tokenizer = tokenizer.n_vocab();
    if n_tokenizer <= n_model + n_model / N_TOKENS_BEYOND {
        return Ok(());
    }
    Err(OpenModelError::Vocabulary { tokenizer: file.to_owned(), n_tokenizer, n_model })
}

/// Let an answer also end at the token that the tokenizer's files call the end: in many fine-tunes
/// they alone know the end of a turn.
fn end_at_named_token(folder: &mut ModelFolder, tokenizer: &Tokenizer, named: &SpecialTokens) {
    let end = named.get("eos_token").and_then(|spelling| tokenizer.token_id(spelling));
    if let Some(end) = end.filter(|end| !folder.tokens.eos.contains(end)) {
        tracing::debug!(end, "answers end at the tokenizer's own end too");
        folder.tokens.eos.push(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_watched_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (watches, notice) = watched(Ok(vec![Watch::open(file.path()).unwrap()]));
        assert_eq!((watches.len(), notice), (1, None));
        let absent = file.path().with_extension("absent");
        let (watches, notice) =
            watched(Watch::open(&absent).map(|_| Vec::new()).map_err(Into::into));
        let notice = notice.expect("it is told");
        assert!(watches.is_empty() && notice.is_warning());
        let told = notice.to_string();
        let expected = "a change of the model's files will not be noticed: cannot open ";
        assert!(told.starts_with(expected) && told.contains("absent"), "{told}");
    }
}
