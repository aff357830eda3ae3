//! Records as one Parquet file, a row each: for looking at many machines together.
//!
//! `docs/fleets.md` has queries over such files, and `profiles/parquet.md` tells the columns. This
//! crate must not know where records come from or how a file gets its name. What can be written is
//! the whole record: a field that is new in `profiles/record.schema.json` needs a line in
//! [`column`]'s table and in `profiles/parquet.md`, and tests fail until it has both.

mod column;
mod leaf;
mod writer;

pub use writer::{RecordWriter, WriteRecordError};

/// The name of the version of the records' schema in the metadata of a file.
pub const SCHEMA_VERSION_KEY: &str = "lapwing.schema_version";

/// The name of the version of the program that wrote a file in its metadata.
pub const PROGRAM_VERSION_KEY: &str = "lapwing.program_version";
