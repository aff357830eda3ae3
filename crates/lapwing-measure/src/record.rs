//! What one measurement was of, how it was made, what it found and under which conditions.
//!
//! The field names here are the keys of the JSON; `profiles/schema.md` describes them at length.
//! A field that can be unknown is an [`Option`] and written as null, and [`Record::nulls`] says
//! why. Units stand in the name of a field or of the one around it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod conditions;
mod energy;
mod identity;
mod latency;
mod line;
mod memory;
mod nulls;
mod protocol;
#[cfg(test)]
pub(crate) mod samples;
mod start;
mod subject;
mod timestamp;

pub use conditions::{Conditions, PowerSource};
pub use energy::{Energy, EnergySource};
pub use identity::run_id;
pub use latency::{Histogram, InterToken, Interval, Latency, StepCost, Throughput};
pub use line::{JsonError, LINE_BYTES_MAX, ParseRecordError, WriteRecordError};
pub use memory::Memory;
pub use protocol::{Protocol, StoppedBecause};
pub use start::{Cache, Start};
pub use subject::{Configuration, Program, Test, TestKind};
pub(crate) use timestamp::days_since_epoch;
pub use timestamp::{seconds_since_epoch, timestamp};

/// The version of the schema that this program writes.
pub const SCHEMA_VERSION: u32 = 1;

/// One measurement of one configuration: one line of a record file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA_VERSION`] of the program that wrote it.
    pub schema_version: u32,
    /// 16 hexadecimal digits, of this record alone.
    pub record_id: String,
    /// 16 hexadecimal digits, shared by the records of one call of `bench`.
    pub run_id: String,
    /// When the measurement ended: UTC, RFC 3339 to the second, as in `2026-11-21T12:00:00Z`.
    pub measured_at: String,
    /// The name of the machine.
    pub host: String,
    /// What ran the model.
    pub program: Program,
    /// Which model, on what, with which settings.
    pub configuration: Configuration,
    /// What was done.
    pub test: Test,
    /// How often and in which order it was done.
    pub protocol: Protocol,
    /// What it takes to get going; only of a test of the kind `start`.
    pub start: Option<Start>,
    /// How long it took; null of a test of the kind `start`.
    pub latency: Option<Latency>,
    /// Where the time of a decoding step goes, in microseconds.
    pub step_us: Option<StepCost>,
    /// What the process holds in the phases of its life.
    pub memory: Memory,
    /// What the measured part cost in electricity.
    pub energy: Option<Energy>,
    /// The state of the machine.
    pub conditions: Conditions,
    /// SHA-256 of the produced token ids, each as four bytes, little end first, in lower-case
    /// hexadecimal: two runs with the same hash produced the same text.
    pub tokens_sha256: Option<String>,
    /// Why a field is null: its path with dots (`memory.device_bytes`) and the reason, a fragment
    /// of a sentence. A null inside a null needs none of its own.
    pub nulls: BTreeMap<String, String>,
}
