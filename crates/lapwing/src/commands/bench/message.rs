//! What `bench` and the workers that it measures in say to each other.

use lapwing_host::{CorrectionChoice, Setup};
use lapwing_measure::bench::{LooksAt, Opened, Ran};
use lapwing_measure::measuring::{Nulls, Work};
use lapwing_measure::memory::Footprint;
use lapwing_measure::reading::Reading;
use lapwing_measure::record::{Configuration, Energy};
use serde::{Deserialize, Serialize};

/// What a process is told; each is answered by one [`Answer`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Open a model; what is known of its configuration is to be completed.
    Open(Box<Opening>, Box<Configuration>),
    /// Say what the process holds.
    Memory,
    /// Look for a sensor of energy, and forget what it counted before.
    WatchEnergy,
    /// Say what the sensor counted since, while so many tokens were read or produced.
    Energy(u64),
    /// Make one run.
    Run(Work, LooksAt),
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
    /// To [`Request::Energy`]; with reasons for what is null in it.
    Energy(Reading<Energy>, Nulls),
    /// To [`Request::Run`].
    Ran(Box<Ran>),
    /// To any.
    Failed { message: String, hint: Option<String>, is_interrupted: bool },
}
