//! What `bench` and the workers that it measures in say to each other.

use lapwing_measure::bench::{LooksAt, Opened, Ran};
use lapwing_measure::measuring::{Nulls, Work};
use lapwing_measure::memory::Footprint;
use lapwing_measure::reading::Reading;
use lapwing_measure::record::{Configuration, Energy};
use serde::{Deserialize, Serialize};

use lapwing_host::CorrectionChoice;
use lapwing_host::Setup;

/// What a process is told; each is answered by one [`Answer`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Open a model.
    Open {
        /// How.
        opening: Box<Opening>,
        /// What is known of it, to be completed.
        configuration: Box<Configuration>,
    },
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
