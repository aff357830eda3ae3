//! What a call of `bench` measures, in which order, and what follows from it.
//!
//! A [`Plan`] is measured in [`Rounds`] over [`Stations`], which the program offers; each record
//! goes to a [`Destination`] as soon as it is complete, an [`Unfinished`] run goes on where it was
//! broken off, and a [`Judge`] tells which device was best. Nothing here prints, reads the
//! environment or starts a process.

pub(crate) mod assemble;
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
pub use recommend::{Judge, Merit, NoRecommendationError, Winner, shared_name};
pub use rounds::{BrokenOff, Notice, Rounds, Stage};
pub use series::{Repeating, SeriesError};
pub use start_cache::remove_leftovers;
pub use station::{Instruments, LooksAt, Opened, Ran, Station, StationError, Stations};
pub use unfinished::{Unfinished, UnfinishedError};

#[cfg(test)]
mod tests;
