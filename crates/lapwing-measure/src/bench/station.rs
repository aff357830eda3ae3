//! What a plan is measured in: processes that open a configuration and run it.
//!
//! The program says how such a process comes about; [`Instruments`] is what one measures with.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::energy::EnergyMeter;
use crate::measuring::{self, MeasureError, Nulls, Observer, Run, Subject, Work};
use crate::memory::{Footprint, footprint};
use crate::reading::{Reading, Reason, SystemFiles};
use crate::record::{Cache, Configuration, Energy};
use lapwing_backend::MemoryBreakdown;
use serde::{Deserialize, Serialize};

/// How long the idle machine is watched, where there is a sensor of energy.
const IDLE: Duration = Duration::from_secs(1);

/// Starts processes to measure in.
pub trait Stations {
    /// Start one, without a model.
    ///
    /// # Errors
    ///
    /// When there is none to be had.
    fn start(&self) -> Result<Box<dyn Station + '_>, StationError>;

    /// The folder that empty caches are made in.
    fn caches(&self) -> &Path;
}

/// A process that measures; ended when dropped.
///
/// Each method fails when the process is lost, cannot do it, or everything is to stop.
pub trait Station {
    /// When the process started.
    fn started(&self) -> Instant;

    /// Open a configuration of the plan, with compiled models kept in `cache` where that is given.
    fn open(
        &mut self,
        configuration_idx: usize,
        cache: Option<&Path>,
    ) -> Result<Opened, StationError>;

    /// What the process holds.
    fn footprint(&mut self) -> Result<Footprint, StationError>;

    /// Look for a sensor of energy, and forget what it counted before.
    fn watch_energy(&mut self) -> Result<(), StationError>;

    /// What the sensor counted since, while `n_tokens` were read or produced; with reasons for what
    /// is null in it.
    fn energy(&mut self, n_tokens: u64) -> Result<(Reading<Energy>, Nulls), StationError>;

    /// Make one run.
    fn run(&mut self, work: &Work, looks_at: LooksAt) -> Result<Ran, StationError>;
}

/// Why a station did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StationError {
    /// Everything is to stop.
    #[error("interrupted")]
    Stopped,
    /// Anything else.
    #[error(transparent)]
    Failed(Box<dyn Error + Send + Sync>),
}

/// A model that was opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// That of the plan, with what only the library could tell.
    pub configuration: Configuration,
    /// What the model holds.
    pub memory: MemoryBreakdown,
    /// What people should hear.
    pub notices: Vec<String>,
    /// Whether tokens become text.
    pub has_tokenizer: bool,
    /// `None` where the library reads and compiles in one call.
    pub read_ms: Option<f64>,
    /// Compiling for the device.
    pub compile_ms: f64,
    /// What the cache of compiled models did.
    pub cache: Cache,
    /// What its entry takes, in bytes; 0 where there is none.
    pub cache_blob_bytes: u64,
}

/// A run that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ran {
    /// What it gave.
    pub run: Run,
    /// What the process held when the prompt was read; only where memory was looked at.
    pub prefilled: Option<Footprint>,
    /// What it held after the last token.
    pub decoded: Option<Footprint>,
}

/// What is looked at around the timed part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LooksAt {
    /// Nothing.
    Nothing,
    /// Takes milliseconds between the phases: for runs that do not count.
    Memory,
    /// Counts for [`Station::energy`].
    Energy,
}

/// The sensors of a process that measures: what answers for it beside opening a model.
pub struct Instruments {
    files: SystemFiles,
    meter: Reading<Watched>,
    /// Of the run that is made.
    looks_at: LooksAt,
    prefilled: Option<Footprint>,
    decoded: Option<Footprint>,
}

/// A sensor, and what it showed while nothing was done.
struct Watched {
    meter: EnergyMeter,
    idle_power_w: Reading<f64>,
}

impl Default for Instruments {
    fn default() -> Self {
        Self {
            files: SystemFiles::of_this_system(),
            meter: Err(Reason::new("nobody looked for a sensor")),
            looks_at: LooksAt::Nothing,
            prefilled: None,
            decoded: None,
        }
    }
}

impl Instruments {
    /// What this process holds.
    pub fn footprint(&self) -> Footprint {
        footprint(&self.files)
    }

    /// As [`Station::watch_energy`].
    pub fn watch_energy(&mut self) {
        self.meter = EnergyMeter::open(&self.files).map(|mut meter| {
            let idle_power_w = meter.idle_power_w(&mut || std::thread::sleep(IDLE));
            Watched { meter, idle_power_w }
        });
    }

    /// As [`Station::energy`].
    pub fn energy(&self, n_tokens: u64) -> (Reading<Energy>, Nulls) {
        let mut nulls = Nulls::new();
        let reading = self.meter.as_ref().map_err(Reason::clone).and_then(|watched| {
            watched.meter.energy(watched.idle_power_w.clone(), n_tokens, &mut nulls)
        });
        (reading, nulls)
    }

    /// As [`Station::run`]; `is_cancelled` is asked after every token.
    ///
    /// # Errors
    ///
    /// As [`measuring::run`].
    pub fn run(
        &mut self,
        subject: &Subject<'_>,
        work: &Work,
        looks_at: LooksAt,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Ran, MeasureError> {
        (self.looks_at, self.prefilled, self.decoded) = (looks_at, None, None);
        let run = measuring::run(subject, work, self, is_cancelled)?;
        Ok(Ran { run, prefilled: self.prefilled.take(), decoded: self.decoded.take() })
    }
}

impl Observer for Instruments {
    fn window_begins(&mut self) {
        if let (LooksAt::Energy, Ok(watched)) = (self.looks_at, &mut self.meter) {
            watched.meter.begin();
        }
    }

    fn window_ends(&mut self) {
        if let (LooksAt::Energy, Ok(watched)) = (self.looks_at, &mut self.meter) {
            watched.meter.end();
        }
    }

    fn prefilled(&mut self) {
        if self.looks_at == LooksAt::Memory {
            self.prefilled = Some(self.footprint());
        }
    }

    fn decoded(&mut self) {
        if self.looks_at == LooksAt::Memory {
            self.decoded = Some(self.footprint());
        }
    }
}
