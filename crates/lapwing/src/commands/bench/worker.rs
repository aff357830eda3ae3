//! The one who opens models and runs them, in a process of its own.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::time::Duration;

use anyhow::Context as _;
use lapwing_host::Engine;
use lapwing_host::compile_cache::CacheReport;
use lapwing_host::correction::{self, Resolved};
use lapwing_host::worker::{self, Asker, ServeError};
use lapwing_host::{Caller, Notice};
use lapwing_logits::Level;
use lapwing_measure::energy::EnergyMeter;
use lapwing_measure::measuring::{self, Nulls, Observer, Subject, Work};
use lapwing_measure::memory::{Footprint, footprint};
use lapwing_measure::reading::{Reading, Reason, SystemFiles};
use lapwing_store::natives::Runtime;

use super::Advise;
use super::message::{Answer, LooksAt, Opened, Opening, Ran, Request};
use crate::interrupt::{self, Interrupted};
use crate::opening;
use crate::settings::Settings;

/// How long the idle machine is watched, where there is a sensor of energy.
const IDLE: Duration = Duration::from_secs(1);

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
    let mut worker = Worker::new(settings, advise);
    worker::serve(input, output, |request, asker: &mut Asker<'_, Answer>| {
        Ok(worker.answer(request, &|| interrupt::requested() || asker.is_gone()))
    })
}

/// Answers requests; holds one model at a time.
struct Worker<'a> {
    settings: &'a Settings,
    advise: Advise,
    files: SystemFiles,
    model: Option<OpenModel>,
    meter: Reading<Watched>,
}

struct OpenModel {
    engine: Engine,
    correction: Resolved,
}

/// A sensor, and what it showed while nothing was done.
struct Watched {
    meter: EnergyMeter,
    idle_power_w: Reading<f64>,
}

impl<'a> Worker<'a> {
    /// A worker without a model.
    fn new(settings: &'a Settings, advise: Advise) -> Self {
        Self {
            settings,
            advise,
            files: SystemFiles::of_this_system(),
            model: None,
            meter: Err(Reason::new("nobody looked for a sensor")),
        }
    }

    /// Do what is asked; what goes wrong is an answer too. `is_cancelled` is asked after every
    /// token.
    fn answer(&mut self, request: Request, is_cancelled: &dyn Fn() -> bool) -> Answer {
        let outcome = match request {
            Request::Open(opening) => {
                self.open(*opening).map(|opened| Answer::Opened(opened.into()))
            }
            Request::Memory => Ok(Answer::Memory(footprint(&self.files))),
            Request::WatchEnergy => {
                self.watch_energy();
                Ok(Answer::Watching {})
            }
            Request::Energy { n_tokens } => Ok(self.energy(n_tokens)),
            Request::Run { work, looks_at } => {
                self.run(&work, looks_at, is_cancelled).map(|ran| Answer::Ran(ran.into()))
            }
        };
        outcome.unwrap_or_else(|error| Answer::Failed {
            message: format!("{error:#}"),
            hint: (self.advise)(&error, Some(self.settings)),
            is_interrupted: interrupt::is_cause_of(&error) || interrupt::requested(),
        })
    }

    fn open(&mut self, opening: Opening) -> anyhow::Result<Opened> {
        // Two models at once would be two models' memory.
        self.model = None;
        let Opening { setup, correction } = opening;
        let mut host = self.settings.host.clone();
        // What `auto` comes to here is what is measured, not what was recommended before.
        host.recommendations = None;
        let notices = RefCell::new(Vec::new());
        let tell = |notice: Notice| notices.borrow_mut().push(notice);
        let caller = Caller { tell: &tell, is_stopped: &interrupt::requested };
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
        let opened = opened(&engine, &correction, notices);
        self.model = Some(OpenModel { engine, correction });
        Ok(opened)
    }

    fn watch_energy(&mut self) {
        self.meter = EnergyMeter::open(&self.files).map(|mut meter| {
            let idle_power_w = meter.idle_power_w(&mut || std::thread::sleep(IDLE));
            Watched { meter, idle_power_w }
        });
    }

    fn energy(&self, n_tokens: u64) -> Answer {
        let mut nulls = Nulls::new();
        let reading = self.meter.as_ref().map_err(Reason::clone).and_then(|watched| {
            watched.meter.energy(watched.idle_power_w.clone(), n_tokens, &mut nulls)
        });
        Answer::Energy { reading, nulls }
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
        let meter = self.meter.as_mut().ok().map(|watched| &mut watched.meter);
        let files = &self.files;
        let mut looks = Looks { looks_at, files, meter, prefilled: None, decoded: None };
        let outcome = measuring::run(&subject, work, &mut looks, is_cancelled);
        let run = outcome.map_err(|error| match error {
            measuring::MeasureError::Cancelled => anyhow::Error::from(Interrupted),
            error => error.into(),
        })?;
        Ok(Ran { run, prefilled: looks.prefilled, decoded: looks.decoded })
    }
}

fn opened(engine: &Engine, correction: &Resolved, notices: Vec<String>) -> Opened {
    let memory = engine.model.memory();
    let limits = engine.model.limits();
    let device = engine.model.device_used();
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let profile = correction.profile.as_deref().and_then(std::path::Path::file_name);
    let profile = profile.map(|name| name.to_string_lossy().into_owned());
    Opened {
        backend: Runtime::name(engine.runtime).to_owned(),
        backend_version: engine.backend_version.clone(),
        device_used: device.id.clone(),
        device_name: device.name.trim().to_owned(),
        notices,
        driver_version: engine.driver.clone(),
        n_positions_max: limits.n_positions_max,
        n_prompt_tokens_max: limits.n_prompt_tokens_max,
        weights_mapped_bytes: memory.weights_mapped_bytes,
        state_bytes_per_decoder: memory.state_bytes_per_decoder,
        state_bytes_per_position: memory.state_bytes_per_position,
        device_bytes: memory.device_bytes,
        has_tokenizer: engine.tokenizer.is_some(),
        correction: profile.unwrap_or_else(|| "off".to_owned()),
        correction_sha256: correction.profile_sha256.clone(),
        read_ms: engine.stages.read.map(ms),
        compile_ms: ms(engine.stages.compile),
        compile_cache: engine.model.cache_use().map(CacheReport::of),
    }
}

/// Looks at memory or energy around the timed part of a run.
struct Looks<'a> {
    looks_at: LooksAt,
    files: &'a SystemFiles,
    meter: Option<&'a mut EnergyMeter>,
    prefilled: Option<Footprint>,
    decoded: Option<Footprint>,
}

impl Observer for Looks<'_> {
    fn window_begins(&mut self) {
        if let (LooksAt::Energy, Some(meter)) = (self.looks_at, &mut self.meter) {
            meter.begin();
        }
    }

    fn window_ends(&mut self) {
        if let (LooksAt::Energy, Some(meter)) = (self.looks_at, &mut self.meter) {
            meter.end();
        }
    }

    fn prefilled(&mut self) {
        if self.looks_at == LooksAt::Memory {
            self.prefilled = Some(footprint(self.files));
        }
    }

    fn decoded(&mut self) {
        if self.looks_at == LooksAt::Memory {
            self.decoded = Some(footprint(self.files));
        }
    }
}
