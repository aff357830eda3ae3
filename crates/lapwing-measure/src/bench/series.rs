//! One test of one configuration, repeated until enough is known.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::conditions::Snapshot;
use crate::measuring::{self, Detail, Nulls, Run, StopRule, Timed, Work};
use crate::memory::Footprint;
use crate::reading::{Reading, SystemFiles};
use crate::record::{Energy, Start, StoppedBecause, Test};
use crate::workload;
use lapwing_files::FileError;
use lapwing_report::statistics::SamplesError;

use super::plan::{Planned, n_prompt_tokens, timed};
use super::start_cache::StartCache;
use super::station::{LooksAt, Opened, Station, StationError, Stations};

/// How tests are repeated.
#[derive(Debug, Clone, Copy)]
pub struct Repeating {
    /// When it is enough.
    pub rule: StopRule,
    /// Runs before the first that counts, at least one.
    pub n_warmups: usize,
    /// Of the prompts.
    pub seed: u64,
}

/// Why a configuration was not measured to its end.
#[derive(Debug, thiserror::Error)]
pub enum SeriesError {
    /// The process did not do it.
    #[error(transparent)]
    Station(#[from] StationError),
    /// There is no room for the cache of a start.
    #[error(transparent)]
    Cache(#[from] FileError),
    /// What was measured makes no sense.
    #[error(transparent)]
    Samples(#[from] SamplesError),
}

/// A station with the model of one configuration.
pub(super) struct Occupied<'a> {
    station: Box<dyn Station + 'a>,
    pub(super) opened: Opened,
    idle: Footprint,
    loaded: Footprint,
}

impl<'a> Occupied<'a> {
    /// Start a station and open the model, with a look at the memory before and after.
    pub(super) fn open(
        stations: &'a dyn Stations,
        configuration_idx: usize,
    ) -> Result<Self, StationError> {
        let mut station = stations.start()?;
        let idle = station.footprint()?;
        let opened = station.open(configuration_idx, None)?;
        let loaded = station.footprint()?;
        Ok(Self { station, opened, idle, loaded })
    }
}

/// What a test found so far.
pub(super) struct Series<'p> {
    pub(super) planned: &'p Planned,
    pub(super) test: &'p Test,
    pub(super) order_idx: usize,
    pub(super) runs: Vec<Run>,
    /// Each start, with figures of that one.
    pub(super) starts: Vec<Start>,
    pub(super) tokens_sha256: String,
    pub(super) memory: Phases,
    /// There from the first warm-up on.
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
            let starts = self.starts.iter().filter_map(|s| s.process_start_to_first_token_ms);
            starts.chain(self.runs.iter().map(|run| run.total_ms)).collect()
        };
        let width = |n_first: usize| measuring::relative_width(samples().get(..n_first)?);
        repeating.rule.stop(self.n_repetitions(), self.spent, width)
    }

    /// The runs that do not count: the first gives the tokens and the memory.
    pub(super) fn warm(
        &mut self,
        Occupied { station, opened, idle, loaded }: &mut Occupied<'_>,
        repeating: &Repeating,
    ) -> Result<(), StationError> {
        self.opened = Some(opened.clone());
        self.memory.idle = Some(idle.clone());
        self.memory.loaded = Some(loaded.clone());
        for run_idx in 0..repeating.n_warmups {
            let started = Instant::now();
            let looks_at = if run_idx == 0 { LooksAt::Memory } else { LooksAt::Nothing };
            let ran = station.run(&self.work(run_idx, repeating.seed), looks_at)?;
            if run_idx == 0 {
                self.tokens_sha256 = workload::tokens_sha256(&ran.run.token_ids);
                self.memory.prefilled = ran.prefilled;
                self.memory.decoded = ran.decoded;
            }
            self.spent += started.elapsed();
        }
        station.watch_energy()
    }

    /// One repetition that counts.
    pub(super) fn repeat(
        &mut self,
        occupied: &mut Occupied<'_>,
        repeating: &Repeating,
    ) -> Result<(), StationError> {
        let started = Instant::now();
        let run_idx = repeating.n_warmups + self.runs.len();
        let ran = occupied.station.run(&self.work(run_idx, repeating.seed), LooksAt::Energy)?;
        self.runs.push(ran.run);
        self.spent += started.elapsed();
        Ok(())
    }

    /// What is only known when all repetitions are made.
    pub(super) fn end(&mut self, occupied: &mut Occupied<'_>) -> Result<(), StationError> {
        let n_tokens = self.n_tokens() * self.runs.len();
        self.energy = Some(occupied.station.energy(n_tokens as u64)?);
        self.memory.last = Some(occupied.station.footprint()?);
        Ok(())
    }

    /// Tokens that one run reads or produces in its timed part.
    pub(super) fn n_tokens(&self) -> usize {
        match timed(self.test) {
            Timed::Prefill => self.test.n_prompt_tokens,
            Timed::Decode => self.test.n_generated_tokens,
        }
    }

    fn work(&self, run_idx: usize, seed: u64) -> Work {
        let (timed, n_prompt_tokens) = (timed(self.test), n_prompt_tokens(self.test));
        let n_steps = match timed {
            Timed::Prefill => 0,
            Timed::Decode => self.test.n_generated_tokens,
        };
        Work { timed, n_prompt_tokens, n_steps, seed, run_idx, detail: Detail::Steps }
    }

    /// One start, cold and then warm, in an empty cache; the first `n_warmups` do not count.
    pub(super) fn start(
        &mut self,
        stations: &dyn Stations,
        configuration_idx: usize,
        run_idx: usize,
        repeating: &Repeating,
    ) -> Result<(), SeriesError> {
        let started = Instant::now();
        let cache = StartCache::make(stations.caches())?;
        let folder = cache.path();
        let work = self.work(run_idx, repeating.seed);
        let (looks, has_warm) = (run_idx == 0, self.planned.keeps_compiled);
        let mut start_once =
            |looks| self.start_once(stations, configuration_idx, &folder, &work, looks);
        let cold = start_once(looks && !has_warm)?;
        let warm = if has_warm { Some(start_once(looks)?) } else { None };
        let compile_warm_ms = warm.as_ref().map(|warm| warm.opened.compile_ms);
        let compile_cold_ms = cold.opened.compile_ms;
        let last = warm.unwrap_or(cold);
        if repeating.n_warmups <= run_idx {
            self.starts.push(Start {
                read_ms: last.opened.read_ms,
                compile_cold_ms: Some(compile_cold_ms),
                compile_warm_ms,
                cache: last.opened.cache,
                cache_blob_bytes: compile_warm_ms.map(|_| last.opened.cache_blob_bytes),
                first_inference_ms: Some(last.first_inference_ms),
                process_start_to_first_token_ms: Some(last.process_ms),
            });
        }
        self.opened = Some(last.opened);
        self.spent += started.elapsed();
        Ok(())
    }

    fn start_once(
        &mut self,
        stations: &dyn Stations,
        configuration_idx: usize,
        cache: &Path,
        work: &Work,
        looks: bool,
    ) -> Result<Started, StationError> {
        let mut station = stations.start()?;
        let look = |station: &mut dyn Station| looks.then(|| station.footprint()).transpose();
        let idle = look(&mut *station)?;
        let opened = station.open(configuration_idx, Some(cache))?;
        let loaded = look(&mut *station)?;
        let looks_at = if looks { LooksAt::Memory } else { LooksAt::Nothing };
        let ran = station.run(work, looks_at)?;
        let process_ms = station.started().elapsed().as_secs_f64() * 1e3;
        if looks {
            let prefilled = ran.prefilled;
            let last = look(&mut *station)?;
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
    /// From the start of the process to the first token.
    process_ms: f64,
}
