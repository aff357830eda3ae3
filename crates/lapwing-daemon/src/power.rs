//! Power: how the daemon works on mains, on battery, on a low battery and when the processor is hot.
//!
//! A [`Policy`] is made of rules; what holds now follows from the system's own files, which are looked
//! at when a request comes and every few seconds while one is open, never while nobody asks.

mod efficient;
mod ledger;
mod policy;
mod watch;

pub use policy::{Manner, ParseRuleError, Policy, PowerRule, Situation};

pub(crate) use efficient::most_efficient;
pub(crate) use ledger::{Account, Ledger, spent};
pub(crate) use watch::{Power, PowerReport};
