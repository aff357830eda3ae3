//! Opening models for commands: what the host has to say is printed, and Ctrl-C stops it.

use std::path::Path;

use lapwing_host::correction::{self, Resolved};
use lapwing_host::describe::{self, Description};
use lapwing_host::guard::doing;
use lapwing_host::{Caller, EmbeddingEngine, Engine, Notice, OpenModelError, OpenRequest};
use lapwing_logits::profile::ProfiledModel;
use lapwing_store::Variant;

use crate::interrupt::{self, Interrupted};
use crate::printer::Printer;
use crate::settings::Settings;

/// Open the model `name`, a path or a name in the store, as the settings say.
///
/// # Errors
///
/// When the model, the backend's library or the device is not there or not usable, or after Ctrl-C.
pub fn open(name: &str, settings: &Settings) -> anyhow::Result<Engine> {
    request(&settings.request(name), settings)
}

/// As [`open`], where more is asked for than the settings say.
pub fn request(request: &OpenRequest, settings: &Settings) -> anyhow::Result<Engine> {
    let tell = printing(settings);
    let caller = Caller { tell: &tell, is_stopped: &interrupt::requested, begins: &doing::begins };
    let engine = Engine::open(&settings.host, request, caller).map_err(failed)?;
    interrupt::check()?;
    doing::runs();
    Ok(engine)
}

/// Open the embedding model `name`, a path or a name in the store, as the settings say.
///
/// # Errors
///
/// As [`open`], and when the model makes no embeddings.
pub fn embedding(name: &str, settings: &Settings) -> anyhow::Result<EmbeddingEngine> {
    let tell = printing(settings);
    let caller = Caller { tell: &tell, is_stopped: &interrupt::requested, begins: &doing::begins };
    let engine = EmbeddingEngine::open(&settings.host, &settings.request(name), caller);
    interrupt::check()?;
    engine.map_err(failed)
}

/// The correction that the settings ask for.
pub fn correction(engine: &Engine, settings: &Settings) -> anyhow::Result<Resolved> {
    let tell = printing(settings);
    let is_stopped = &interrupt::requested;
    let caller = Caller { tell: &tell, is_stopped, ..Caller::NOBODY };
    let resolved = correction::resolve(engine, &settings.correction, &settings.host, caller);
    interrupt::check()?;
    Ok(resolved?)
}

/// What a profile of this engine says about its model. Reads all of the model's files.
///
/// # Errors
///
/// When one cannot be read, or after Ctrl-C.
pub fn profiled_model(engine: &Engine) -> anyhow::Result<ProfiledModel> {
    let model = correction::profiled_model(engine, &interrupt::requested);
    interrupt::check()?;
    Ok(model?)
}

/// What a folder or a file is.
pub fn describe(path: &Path, variant: Option<&Variant>) -> anyhow::Result<Description> {
    doing::reads(path);
    describe::describe(path, variant)
        .map_err(|error| anyhow::Error::from_boxed(error.into_source()))
}

/// As advice and exit codes look for it: what a transparent variant wraps is none of its causes.
pub fn failed(error: OpenModelError) -> anyhow::Error {
    match error {
        error if error.is_stop() => Interrupted.into(),
        OpenModelError::Harm(error) => (*error).into(),
        OpenModelError::NoBackend(error) => error.into(),
        OpenModelError::Load(error) => error.into(),
        OpenModelError::Worker(error) => error.into(),
        OpenModelError::Changed(error) => {
            anyhow::Error::new(error).context("cannot open the model")
        }
        error => error.into(),
    }
}

/// A notice in the words of the command line.
pub fn words(notice: &Notice) -> String {
    match notice {
        Notice::Recommended { .. } => format!("{notice}; --device chooses another"),
        Notice::RecommendationSkipped { .. } => {
            format!("{notice}; `lapwing bench --all-devices --recommend …` measures again")
        }
        Notice::RecommendationsUnreadable { .. } => {
            format!("{notice}; mend the file or remove it")
        }
        Notice::NotExact { .. } => {
            format!("{notice}: --precision exact is exact on the CPU only")
        }
        _ => notice.to_string(),
    }
}

fn printing(settings: &Settings) -> impl Fn(Notice) {
    let printer = Printer::new(settings.quiet);
    move |notice| match notice.is_warning() {
        true => printer.warning(words(&notice)),
        false => printer.note(words(&notice)),
    }
}

#[cfg(test)]
mod tests {
    use lapwing_host::trial::{Failure, HarmfulDevice, How, Stage};
    use lapwing_host::worker::{Loss, WorkerError};
    use lapwing_host::{LoadBackendError, NoNativeBackend};
    use lapwing_store::natives::{LocateError, Native, Runtime};

    use super::*;
    use crate::exit::{EXIT_FAILED, EXIT_INTERRUPTED};
    use crate::hint;

    #[test]
    fn advice_and_exit_codes_are_found_whatever_wraps_them() {
        let check = |error: OpenModelError, code: u8, advice: &str| {
            let error = failed(error);
            assert_eq!(hint::exit_code(&error), code, "{error:#}");
            let hint = hint::for_error(&error, None).unwrap_or_default();
            assert!(hint.contains(advice), "{error:#}: {hint}");
        };
        let stopped = OpenModelError::Worker(WorkerError::Stopped);
        check(stopped, EXIT_INTERRUPTED, "");
        check(NoNativeBackend.into(), EXIT_FAILED, "--backend");
        let missing = LocateError::Missing {
            runtime: Native::Runtime(Runtime::OpenVino),
            folder: "/natives".into(),
        };
        check(LoadBackendError::Locate(missing).into(), EXIT_FAILED, "lapwing pull openvino");
        let how = How::Lost(Loss::TimedOut { limit_s: 7 });
        let failure = Failure { stage: Stage::Compile, how, last_lines: Vec::new() };
        let harm = HarmfulDevice { device: "npu".into(), at: None, failure, printed: None };
        check(OpenModelError::Harm(harm.into()), EXIT_FAILED, "LAPWING_TRIAL_SECONDS above 7");
    }
}
