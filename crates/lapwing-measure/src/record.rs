//! What one measurement was of, how it was made, what it found and under which conditions.
//!
//! The field names here are the keys of the JSON; `profiles/schema.md` describes them at length.
//! A field that can be unknown is an [`Option`] and written as null, and [`Record::nulls`] says
//! why. Units stand in the name of a field or of the one around it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod findings;
mod identity;
mod line;
mod nulls;
#[cfg(test)]
pub(crate) mod samples;
mod subject;
mod timestamp;

pub use findings::{
    Cache, Conditions, Energy, EnergySource, Histogram, InterToken, Interval, Latency, Memory,
    PowerSource, Start, StepCost, Throughput,
};
pub use identity::run_id;
pub use line::{JsonError, LINE_BYTES_MAX, ParseRecordError, WriteRecordError};
pub use subject::{Configuration, Program, Protocol, StoppedBecause, Test, TestKind};
pub(crate) use timestamp::days_since_epoch;
pub use timestamp::{seconds_since_epoch, timestamp};

/// The version of the schema that this program writes.
pub const SCHEMA_VERSION: u32 = 1;

/// One measurement of one configuration: one line of a record file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "`profiles/schema.md` says what the fields are")]
pub struct Record {
    pub schema_version: u32,
    pub record_id: String,
    pub run_id: String,
    pub measured_at: String,
    pub host: String,
    pub program: Program,
    pub configuration: Configuration,
    pub test: Test,
    pub protocol: Protocol,
    pub start: Option<Start>,
    pub latency: Option<Latency>,
    pub step_us: Option<StepCost>,
    pub memory: Memory,
    pub energy: Option<Energy>,
    pub conditions: Conditions,
    pub tokens_sha256: Option<String>,
    pub nulls: BTreeMap<String, String>,
}
