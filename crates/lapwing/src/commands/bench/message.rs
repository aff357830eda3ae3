//! What `bench` and the workers that it measures in say to each other.

use lapwing_host::CorrectionChoice;
use lapwing_host::Setup;
use lapwing_host::compile_cache::CacheReport;
use lapwing_measure::measuring::{Nulls, Run, Work};
use lapwing_measure::memory::Footprint;
use lapwing_measure::reading::Reading;
use lapwing_measure::record::Energy;
use serde::{Deserialize, Serialize};

/// What a process is told; each is answered by one [`Answer`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Open a model.
    Open(Box<Opening>),
    /// Say what the process holds.
    Memory,
    /// Look for a sensor of energy, and forget what it counted before.
    WatchEnergy,
    /// Say what the sensor counted since.
    Energy {
        /// Tokens that were read or produced since.
        n_tokens: u64,
    },
    /// Make one run.
    Run {
        /// What it does.
        work: Work,
        /// What is looked at.
        looks_at: LooksAt,
    },
}

/// What is looked at around the timed part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LooksAt {
    Nothing,
    /// Takes milliseconds between the phases: for runs that do not count.
    Memory,
    /// Counts for [`Request::Energy`].
    Energy,
}

/// What a process opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Opening {
    pub(super) setup: Setup,
    pub(super) correction: CorrectionChoice,
}

/// What a process answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// To [`Request::Open`].
    Opened(Box<Opened>),
    /// To [`Request::Memory`].
    Memory(Footprint),
    /// To [`Request::WatchEnergy`].
    Watching {},
    /// To [`Request::Energy`].
    Energy {
        /// What it counted.
        reading: Reading<Energy>,
        /// Reasons for what is null in it.
        nulls: Nulls,
    },
    /// To [`Request::Run`].
    Ran(Box<Ran>),
    /// To any.
    Failed {
        /// Why.
        message: String,
        /// What to do about it.
        hint: Option<String>,
        /// Ctrl-C broke it off.
        is_interrupted: bool,
    },
}

/// A model that was opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Opened {
    pub(super) backend: String,
    pub(super) backend_version: String,
    pub(super) device_used: String,
    pub(super) device_name: String,
    /// What people should hear.
    pub(super) notices: Vec<String>,
    /// The version of the device's driver, where the library tells.
    pub(super) driver_version: Option<String>,
    pub(super) n_positions_max: usize,
    /// The longest first prompt, where the device was compiled for one.
    pub(super) n_prompt_tokens_max: Option<usize>,
    pub(super) weights_mapped_bytes: u64,
    pub(super) state_bytes_per_decoder: Option<u64>,
    pub(super) state_bytes_per_position: Option<u64>,
    pub(super) device_bytes: Option<u64>,
    pub(super) has_tokenizer: bool,
    /// `off`, or the file name of the profile.
    pub(super) correction: String,
    pub(super) correction_sha256: Option<String>,
    /// `None` where the library reads and compiles in one call.
    pub(super) read_ms: Option<f64>,
    pub(super) compile_ms: f64,
    /// `None` where the backend keeps nothing.
    pub(super) compile_cache: Option<CacheReport>,
}

/// A run that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Ran {
    pub(super) run: Run,
    pub(super) prefilled: Option<Footprint>,
    pub(super) decoded: Option<Footprint>,
}
