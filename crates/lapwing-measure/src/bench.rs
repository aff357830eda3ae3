//! What a call of `bench` measures, in which order, and what follows from it.
//!
//! A [`Plan`] is measured in [`Rounds`] over [`Stations`], which the program offers; each record
//! goes to a [`Destination`] as soon as it is complete, an [`Unfinished`] run goes on where it was
//! broken off, and a [`Judge`] tells which device was best. Nothing here prints, reads the
//! environment or starts a process.

mod assemble;
mod destination;
mod plan;
mod recommend;
mod rounds;
mod series;
mod start_cache;
mod station;
mod unfinished;

pub use assemble::Header;
pub use destination::{Destination, host};
pub use plan::{NoRoomError, Plan, Planned, tests};
pub use recommend::{Judge, NoRecommendationError, Winner, shared_name};
pub use rounds::{BrokenOff, Notice, Rounds, Stage};
pub use series::{Repeating, SeriesError};
pub use start_cache::remove_leftovers;
pub use station::{Instruments, LooksAt, Opened, Ran, Station, StationError, Stations};
pub use unfinished::{Unfinished, UnfinishedError};

/// What a device can be best at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merit {
    /// The time to an answer: the first token and those after it.
    Latency,
    /// Generated tokens a second.
    Throughput,
    /// Joules for each generated token.
    Energy,
    /// The most that the process ever held.
    Memory,
}

impl Merit {
    /// Its name in the data.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Energy => "energy",
            Self::Memory => "memory",
        }
    }

    /// The unit of its figure.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Latency => "ms to the last token",
            Self::Throughput => "tokens/s",
            Self::Energy => "J/token",
            Self::Memory => "MB at the peak",
        }
    }
}
