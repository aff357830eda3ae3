//! What a model costs on a device: measured, recorded, reported, compared.
//!
//! A *record* is one measurement of one configuration, with the conditions it was made under; what
//! could not be read is null with a reason, never a guess. This crate must not know which backends
//! there are, environment variables or how a terminal looks.
//!
//! To measure one more thing: a field in [`record`], the probe that reads it, a line in
//! `profiles/schema.md` and `profiles/record.schema.json`.

pub mod bench;
pub mod comparison;
pub mod conditions;
pub mod energy;
pub mod identity;
pub mod in_use;
pub mod measuring;
pub mod memory;
pub mod reading;
pub mod record;
pub mod record_file;
pub mod report;
pub mod workload;
