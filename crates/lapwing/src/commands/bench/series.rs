//! One test of one configuration, repeated until enough is known.

use std::path::Path;
use std::time::{Duration, Instant};

use lapwing_host::compile_cache::CacheReport;
use lapwing_measure::conditions::Snapshot;
use lapwing_measure::measuring::{self, Detail, Nulls, Run, StopRule, Timed, Work};
use lapwing_measure::memory::Footprint;
use lapwing_measure::reading::{Reading, SystemFiles};
use lapwing_measure::record::{Cache, Energy, StoppedBecause, Test, TestKind};
use lapwing_measure::workload;
use lapwing_store::natives::Runtime;

use super::message::{LooksAt, Opened, Opening};
use super::plan::{Planned, n_prompt_tokens};
use super::runner::{Runner, RunnerError};
use super::start_cache::StartCache;
use crate::settings::Settings;

/// How tests are repeated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Repeating {
    pub(super) rule: StopRule,
    pub(super) n_warmups: usize,
    pub(super) seed: u64,
}

/// A worker with the model of one configuration.
pub(super) struct Station {
    pub(super) runner: Runner,
    pub(super) opened: Opened,
    pub(super) idle: Footprint,
    pub(super) loaded: Footprint,
}

impl Station {
    /// Start a worker and open the model, with a look at the memory before and after.
    pub(super) fn open(settings: &Settings, opening: &Opening) -> Result<Self, RunnerError> {
        let mut runner = Runner::start(settings)?;
        let idle = runner.memory()?;
        let opened = runner.open(opening)?;
        let loaded = runner.memory()?;
        Ok(Self { runner, opened, idle, loaded })
    }
}

/// What a test found so far.
pub(super) struct Series<'p> {
    pub(super) planned: &'p Planned,
    pub(super) test: &'p Test,
    pub(super) order_idx: usize,
    pub(super) runs: Vec<Run>,
    pub(super) starts: Vec<StartSample>,
    pub(super) tokens_sha256: String,
    pub(super) memory: Phases,
    pub(super) opened: Option<Opened>,
    pub(super) energy: Option<(Reading<Energy>, Nulls)>,
    /// The machine when the repetitions begin.
    pub(super) before: Snapshot,
    /// Of this series alone.
    spent: Duration,
}

/// What the process held in the phases of its life.
#[derive(Default)]
pub(super) struct Phases {
    pub(super) idle: Option<Footprint>,
    pub(super) loaded: Option<Footprint>,
    pub(super) prefilled: Option<Footprint>,
    pub(super) decoded: Option<Footprint>,
    /// After everything: its peak is that of the process.
    pub(super) last: Option<Footprint>,
}

/// One start.
#[derive(Debug, Clone, Copy)]
pub(super) struct StartSample {
    /// `None` where the library reads and compiles in one call.
    pub(super) read_ms: Option<f64>,
    pub(super) compile_cold_ms: f64,
    /// `None` when the library keeps nothing of a compilation.
    pub(super) compile_warm_ms: Option<f64>,
    pub(super) cache: Cache,
    pub(super) cache_blob_bytes: u64,
    pub(super) first_inference_ms: f64,
    /// From the start of the process to the first token.
    pub(super) process_ms: f64,
}

impl<'p> Series<'p> {
    pub(super) fn new(planned: &'p Planned, test: &'p Test, order_idx: usize) -> Self {
        Self {
            planned,
            test,
            order_idx,
            runs: Vec::new(),
            starts: Vec::new(),
            tokens_sha256: String::new(),
            memory: Phases::default(),
            opened: None,
            energy: None,
            before: Snapshot::take(&SystemFiles::of_this_system()),
            spent: Duration::ZERO,
        }
    }

    /// The repetitions that count begin now.
    pub(super) fn begin(&mut self) {
        self.before = Snapshot::take(&SystemFiles::of_this_system());
    }

    /// How many repetitions count so far.
    pub(super) fn n_repetitions(&self) -> usize {
        self.runs.len().max(self.starts.len())
    }

    /// Why no further repetition is needed, if none is.
    pub(super) fn stop(&self, repeating: &Repeating) -> Option<StoppedBecause> {
        let samples = || -> Vec<f64> {
            let starts = self.starts.iter().map(|start| start.process_ms);
            starts.chain(self.runs.iter().map(|run| run.total_ms)).collect()
        };
        let width = |n_first: usize| measuring::relative_width(samples().get(..n_first)?);
        repeating.rule.stop(self.n_repetitions(), self.spent, width)
    }

    /// The runs that do not count: the first gives the tokens and the memory.
    pub(super) fn warm(
        &mut self,
        station: &mut Station,
        repeating: &Repeating,
    ) -> Result<(), RunnerError> {
        self.opened = Some(station.opened.clone());
        self.memory.idle = Some(station.idle.clone());
        self.memory.loaded = Some(station.loaded.clone());
        for run_idx in 0..repeating.n_warmups {
            let started = Instant::now();
            let looks_at = if run_idx == 0 { LooksAt::Memory } else { LooksAt::Nothing };
            let work = self.work(run_idx, repeating.seed);
            let ran = station.runner.run(work, looks_at)?;
            if run_idx == 0 {
                self.tokens_sha256 = workload::tokens_sha256(&ran.run.token_ids);
                self.memory.prefilled = ran.prefilled;
                self.memory.decoded = ran.decoded;
            }
            self.spent += started.elapsed();
        }
        station.runner.watch_energy()
    }

    /// One repetition that counts.
    pub(super) fn repeat(
        &mut self,
        station: &mut Station,
        repeating: &Repeating,
    ) -> Result<(), RunnerError> {
        let started = Instant::now();
        let run_idx = repeating.n_warmups + self.runs.len();
        let work = self.work(run_idx, repeating.seed);
        let ran = station.runner.run(work, LooksAt::Energy)?;
        self.runs.push(ran.run);
        self.spent += started.elapsed();
        Ok(())
    }

    /// What is only known when all repetitions are made.
    pub(super) fn end(&mut self, station: &mut Station) -> Result<(), RunnerError> {
        let n_tokens = self.n_tokens() * self.runs.len();
        self.energy = Some(station.runner.energy(n_tokens as u64)?);
        self.memory.last = Some(station.runner.memory()?);
        Ok(())
    }

    /// Tokens that one run reads or produces in its timed part.
    pub(super) fn n_tokens(&self) -> usize {
        match self.test.kind {
            TestKind::Start | TestKind::Prefill => self.test.n_prompt_tokens,
            TestKind::Decode => self.test.n_generated_tokens,
        }
    }

    fn work(&self, run_idx: usize, seed: u64) -> Work {
        let timed = match self.test.kind {
            TestKind::Start | TestKind::Prefill => Timed::Prefill,
            TestKind::Decode => Timed::Decode,
        };
        let n_prompt_tokens = n_prompt_tokens(self.test);
        let n_steps = match timed {
            Timed::Prefill => 0,
            Timed::Decode => self.test.n_generated_tokens,
        };
        Work { timed, n_prompt_tokens, n_steps, seed, run_idx, detail: Detail::Steps }
    }

    /// One start, cold and then warm, in an empty cache; the first `n_warmups` do not count.
    pub(super) fn start(
        &mut self,
        settings: &Settings,
        run_idx: usize,
        repeating: &Repeating,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        let looks = run_idx == 0;
        let cache = StartCache::make(settings.home.cache())?;
        let folder = cache.path();
        let cached = self.planned.runtime == Runtime::OpenVino.name();
        let cold = self.start_once(settings, &folder, run_idx, looks && !cached, repeating)?;
        let warm = match cached {
            true => Some(self.start_once(settings, &folder, run_idx, looks, repeating)?),
            false => None,
        };
        let last = warm.as_ref().unwrap_or(&cold);
        let found = last.opened.compile_cache.as_ref();
        let sample = StartSample {
            read_ms: last.opened.read_ms,
            compile_cold_ms: cold.opened.compile_ms,
            compile_warm_ms: warm.as_ref().map(|warm| warm.opened.compile_ms),
            cache: match found.map(CacheReport::is_hit) {
                None => Cache::None,
                Some(true) => Cache::Hit,
                Some(false) => Cache::Miss,
            },
            cache_blob_bytes: found.map_or(0, |found| found.size_bytes),
            first_inference_ms: last.first_inference_ms,
            process_ms: last.process_ms,
        };
        self.opened = Some(last.opened.clone());
        if repeating.n_warmups <= run_idx {
            self.starts.push(sample);
        }
        self.spent += started.elapsed();
        Ok(())
    }

    fn start_once(
        &mut self,
        settings: &Settings,
        cache: &Path,
        run_idx: usize,
        looks: bool,
        repeating: &Repeating,
    ) -> Result<Started, RunnerError> {
        let mut runner = Runner::start(settings)?;
        let mut opening = self.planned.opening.clone();
        opening.setup.options.cache_folder = Some(cache.to_owned());
        let look = |runner: &mut Runner| looks.then(|| runner.memory()).transpose();
        let idle = look(&mut runner)?;
        let opened = runner.open(&opening)?;
        let loaded = look(&mut runner)?;
        let looks_at = if looks { LooksAt::Memory } else { LooksAt::Nothing };
        let work = self.work(run_idx, repeating.seed);
        let ran = runner.run(work, looks_at)?;
        let process_ms = runner.started().elapsed().as_secs_f64() * 1e3;
        if looks {
            let prefilled = ran.prefilled;
            let last = look(&mut runner)?;
            self.memory = Phases { idle, loaded, prefilled, decoded: None, last };
            self.tokens_sha256 = workload::tokens_sha256(&ran.run.token_ids);
        }
        Ok(Started { opened, first_inference_ms: ran.run.ttft_ms, process_ms })
    }
}

/// One process that was started.
struct Started {
    opened: Opened,
    first_inference_ms: f64,
    process_ms: f64,
}
