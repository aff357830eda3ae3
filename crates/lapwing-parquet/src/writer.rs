//! From records to the rows of a file.

use std::io::Write;
use std::sync::Arc;

use lapwing_measure::record::{Record, SCHEMA_VERSION, seconds_since_epoch};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use serde_json::Value;

use crate::column::{COLUMNS, Column, Kind, schema};
use crate::leaf::{Cell, Leaf};
use crate::{PROGRAM_VERSION_KEY, SCHEMA_VERSION_KEY};

/// A row group is written when its rows take this much memory, in bytes.
const GROUP_BYTES_MAX: usize = 32 << 20;

/// Why a record is not in a file.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum WriteRecordError {
    /// Nothing that is measured is so large.
    #[error(
        "cannot write record {record_id}: expected at most {expected} in {path}, found {found}"
    )]
    TooLarge {
        record_id: String,
        path: &'static str,
        /// [`i64::MAX`].
        expected: i64,
        found: u64,
    },
    /// The destination takes nothing more.
    #[error("cannot write rows")]
    Rows(#[from] ParquetError),
}

/// Writes records as rows. It holds at most one row group and one record in memory.
pub struct RecordWriter<W: Write + Send> {
    file: SerializedFileWriter<W>,
    /// Of each column, in the order of [`COLUMNS`].
    leaves: Vec<Vec<Leaf>>,
    n_rows: usize,
}

impl<W: Write + Send> RecordWriter<W> {
    /// Begin a file. `program_version` is told in its metadata.
    ///
    /// # Errors
    ///
    /// When nothing can be written.
    pub fn new(to: W, program_version: &str) -> Result<RecordWriter<W>, WriteRecordError> {
        let metadata = vec![
            KeyValue::new(SCHEMA_VERSION_KEY.to_owned(), SCHEMA_VERSION.to_string()),
            KeyValue::new(PROGRAM_VERSION_KEY.to_owned(), program_version.to_owned()),
        ];
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_key_value_metadata(Some(metadata))
            .build();
        let file = SerializedFileWriter::new(to, Arc::new(schema()?), Arc::new(properties))?;
        let leaves = COLUMNS.iter().map(Leaf::of).collect();
        Ok(RecordWriter { file, leaves, n_rows: 0 })
    }

    /// Write one row.
    ///
    /// # Errors
    ///
    /// When a number is too large, or nothing more can be written. The file is of no use then.
    ///
    /// # Panics
    ///
    /// When `measured_at` is no time, which no record has that was read.
    pub fn write(&mut self, record: &Record) -> Result<(), WriteRecordError> {
        let value = serde_json::to_value(record).expect("a record has only string keys");
        for (column, leaves) in COLUMNS.iter().zip(&mut self.leaves) {
            push(column, at(&value, column.path), leaves).map_err(|found| {
                let record_id = record.record_id.clone();
                let (path, expected) = (column.path, i64::MAX);
                WriteRecordError::TooLarge { record_id, path, expected, found }
            })?;
        }
        self.n_rows += 1;
        if GROUP_BYTES_MAX <= self.n_bytes_waiting() { self.write_group() } else { Ok(()) }
    }

    /// Write what waits and the end of the file; returns the number of rows.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<usize, WriteRecordError> {
        if 0 < self.n_bytes_waiting() {
            self.write_group()?;
        }
        self.file.close()?;
        Ok(self.n_rows)
    }

    fn n_bytes_waiting(&self) -> usize {
        self.leaves.iter().flatten().map(Leaf::n_bytes).sum()
    }

    fn write_group(&mut self) -> Result<(), WriteRecordError> {
        let mut group = self.file.next_row_group()?;
        for leaf in self.leaves.iter_mut().flatten() {
            let column = group.next_column()?.expect("the schema has a column for every leaf");
            leaf.write(column)?;
        }
        group.close()?;
        Ok(())
    }
}

/// The value at a path with dots; `None` where it, or what it would be in, is null or absent.
fn at<'a>(record: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(record, |value, key| value.get(key)).filter(|value| !value.is_null())
}

/// Put the value of one row into the leaves of its column; fails with a number that is too large.
fn push(column: &Column, value: Option<&Value>, leaves: &mut [Leaf]) -> Result<(), u64> {
    let Some(value) = value else {
        leaves.iter_mut().for_each(Leaf::push_null);
        return Ok(());
    };
    match (column.kind, leaves) {
        (Kind::Map, [keys, values]) => {
            let entries = || value.as_object().into_iter().flatten();
            keys.push_all(entries().map(|(key, _)| Cell::Text(key)));
            values.push_all(entries().map(|(_, value)| text(value)));
        }
        (Kind::Texts, [leaf]) => leaf.push_all(elements(value).map(text)),
        (Kind::Numbers, [leaf]) => leaf.push_all(elements(value).map(number)),
        (Kind::Integers, [leaf]) => {
            let cells: Result<Vec<Cell<'_>>, u64> = elements(value).map(integer).collect();
            leaf.push_all(cells?.into_iter());
        }
        (Kind::Text, [leaf]) => leaf.push(text(value)),
        (Kind::Number, [leaf]) => leaf.push(number(value)),
        (Kind::Integer, [leaf]) => leaf.push(integer(value)?),
        (Kind::Unsigned, [leaf]) => {
            // Parquet keeps unsigned numbers as the signed ones of the same bits.
            leaf.push(Cell::Integer(value.as_u64().expect(TYPES).cast_signed()));
        }
        (Kind::Flag, [leaf]) => leaf.push(Cell::Flag(value.as_bool().expect(TYPES))),
        (Kind::Time, [leaf]) => {
            let seconds = value.as_str().and_then(seconds_since_epoch);
            // A record whose time is none is not read, and a year has four digits.
            leaf.push(Cell::Integer(seconds.expect(TYPES) * 1_000_000));
        }
        (kind, leaves) => unreachable!("{kind:?} has {} leaves", leaves.len()),
    }
    Ok(())
}

/// Why a value is what its column expects: a test holds both to the schema of records.
const TYPES: &str = "the column has the type of the field";

fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> Cell<'_> {
    Cell::Text(value.as_str().expect(TYPES))
}

fn number(value: &Value) -> Cell<'_> {
    // JSON has no word for what is not finite.
    Cell::Number(value.as_f64().unwrap_or(f64::NAN))
}

fn integer(value: &Value) -> Result<Cell<'_>, u64> {
    let found = value.as_u64().expect(TYPES);
    i64::try_from(found).map(Cell::Integer).map_err(|_| found)
}

#[cfg(test)]
mod tests;
