//! The one who opens models and runs them, in a process of its own.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::time::Duration;

use anyhow::Context as _;
use lapwing_host::compile_cache::CacheReport;
use lapwing_host::correction::{self, Resolved};
use lapwing_host::worker::{self, Asker, ServeError};
use lapwing_host::{Caller, Engine, Notice};
use lapwing_logits::Level;
use lapwing_measure::bench::{Instruments, LooksAt, Opened, Ran};
use lapwing_measure::measuring::{MeasureError, Subject, Work};
use lapwing_measure::record::{Cache, Configuration};

use super::Advise;
use super::message::{Answer, Opening, Request};
use crate::interrupt::{self, Interrupted};
use crate::opening;
use crate::settings::Settings;

/// Answer the requests of one who measures.
///
/// # Errors
///
/// When nobody reads an answer. What a request runs into is an answer.
pub fn serve(
    input: impl Read + Send + 'static,
    output: &mut dyn Write,
    settings: &Settings,
    advise: Advise,
) -> Result<(), ServeError> {
    let instruments = Instruments::default();
    let mut worker = Worker { settings, advise, instruments, model: None };
    worker::serve(input, output, |request, asker: &mut Asker<'_, Answer>| {
        Ok(worker.answer(request, &|| interrupt::requested() || asker.is_gone()))
    })
}

/// Answers requests; holds one model at a time.
struct Worker<'a> {
    settings: &'a Settings,
    advise: Advise,
    instruments: Instruments,
    model: Option<OpenModel>,
}

struct OpenModel {
    engine: Engine,
    correction: Resolved,
}

impl Worker<'_> {
    /// Do what is asked; what goes wrong is an answer too. `is_cancelled` is asked after every
    /// token.
    fn answer(&mut self, request: Request, is_cancelled: &dyn Fn() -> bool) -> Answer {
        let outcome = match request {
            Request::Open(opening, configuration) => {
                let opened = self.open(*opening, *configuration);
                opened.map(|opened| Answer::Opened(opened.into()))
            }
            Request::Memory => Ok(Answer::Memory(self.instruments.footprint())),
            Request::WatchEnergy => {
                self.instruments.watch_energy();
                Ok(Answer::Watching {})
            }
            Request::Energy(n_tokens) => {
                let (reading, nulls) = self.instruments.energy(n_tokens);
                Ok(Answer::Energy(reading, nulls))
            }
            Request::Run(work, looks_at) => {
                self.run(&work, looks_at, is_cancelled).map(|ran| Answer::Ran(ran.into()))
            }
        };
        outcome.unwrap_or_else(|error| Answer::Failed {
            message: format!("{error:#}"),
            hint: (self.advise)(&error, Some(self.settings)),
            is_interrupted: interrupt::is_cause_of(&error) || interrupt::requested(),
        })
    }

    fn open(&mut self, opening: Opening, planned: Configuration) -> anyhow::Result<Opened> {
        // Two models at once would be two models' memory.
        self.model = None;
        let Opening { setup, correction } = opening;
        let mut host = self.settings.host.clone();
        // What `auto` comes to here is what is measured, not what was recommended before.
        host.recommendations = None;
        let notices = RefCell::new(Vec::new());
        let tell = |notice: Notice| notices.borrow_mut().push(notice);
        let is_stopped = &interrupt::requested;
        let caller = Caller { tell: &tell, is_stopped, ..Caller::NOBODY };
        let engine = Engine::open_setup(&host, setup, caller).map_err(opening::failed)?;
        interrupt::check()?;
        // Every start would say it again.
        let silent = Caller { tell: &|_| {}, ..caller };
        let correction = correction::resolve(&engine, &correction, &host, silent)?;
        // What the cache did is part of every answer.
        let is_told = |notice: &&Notice| {
            matches!(notice, Notice::PassedOver { .. } | Notice::NotExact { .. })
        };
        let notices = notices.borrow().iter().filter(is_told).map(opening::words).collect();
        let opened = opened(planned, &engine, &correction, notices);
        self.model = Some(OpenModel { engine, correction });
        Ok(opened)
    }

    fn run(
        &mut self,
        work: &Work,
        looks_at: LooksAt,
        is_cancelled: &dyn Fn() -> bool,
    ) -> anyhow::Result<Ran> {
        let OpenModel { engine, correction } = self.model.as_ref().context("no model is open")?;
        let subject = Subject {
            model: &engine.model,
            level: Level::detect(),
            correction: correction.correction.as_ref(),
            tokenizer: engine.tokenizer.as_ref(),
            n_tokens: engine.n_tokens(),
        };
        let outcome = self.instruments.run(&subject, work, looks_at, is_cancelled);
        engine.require_unchanged().context("what was measured is not to be trusted")?;
        outcome.map_err(|error| match error {
            MeasureError::Cancelled => anyhow::Error::from(Interrupted),
            error => error.into(),
        })
    }
}

/// What was planned, with what is known now.
fn opened(
    planned: Configuration,
    engine: &Engine,
    correction: &Resolved,
    notices: Vec<String>,
) -> Opened {
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let cache_use = engine.model.cache_use();
    Opened {
        configuration: completed(planned, engine, correction),
        memory: engine.model.memory(),
        notices,
        has_tokenizer: engine.tokenizer.is_some(),
        read_ms: engine.stages.read.map(ms),
        compile_ms: ms(engine.stages.compile),
        cache: match cache_use.map(|found| CacheReport::of(found).is_hit()) {
            None => Cache::None,
            Some(true) => Cache::Hit,
            Some(false) => Cache::Miss,
        },
        cache_blob_bytes: cache_use.map_or(0, |found| found.n_bytes),
    }
}

fn completed(planned: Configuration, engine: &Engine, correction: &Resolved) -> Configuration {
    let (limits, device) = (engine.model.limits(), engine.model.device_used());
    let device_name = device.name.trim();
    let profile = correction.profile.as_deref().and_then(std::path::Path::file_name);
    let profile = profile.map(|name| name.to_string_lossy().into_owned());
    // What else the model was compiled for is a setting: the longest prompt of an NPU.
    let prompt = limits.n_prompt_tokens_max;
    let prompt = prompt.map(|n| ("n_prompt_tokens_max".to_owned(), n.to_string()));
    Configuration {
        backend: engine.runtime.name().to_owned(),
        backend_version: Some(engine.backend_version.clone()),
        device_used: Some(device.id.clone()),
        device_name: (!device_name.is_empty()).then(|| device_name.to_owned()),
        driver_version: engine.driver.clone(),
        n_positions_max: Some(limits.n_positions_max),
        correction: profile.unwrap_or_else(|| "off".to_owned()),
        correction_sha256: correction.profile_sha256.clone(),
        settings: prompt.into_iter().chain(planned.settings).collect(),
        ..planned
    }
}
