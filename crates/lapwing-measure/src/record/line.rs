//! A record as one line of JSON.

use serde::Deserialize;

use super::timestamp::seconds_since_epoch;
use super::{Histogram, Record, SCHEMA_VERSION, upgrade};

/// The longest line that is written or read, in bytes.
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// Why a line is not a record.
#[derive(Debug, thiserror::Error)]
pub enum ParseRecordError {
    /// The line is too long to be one.
    #[error("expected at most {expected} bytes, found {found}")]
    TooLong {
        /// [`LINE_BYTES_MAX`].
        expected: usize,
        /// The length of the line.
        found: usize,
    },
    /// No JSON, or not the fields of a record.
    #[error("not a record")]
    Malformed {
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// A program of the future wrote it.
    #[error("expected schema version {expected} or an older one, found {found}")]
    NewerVersion {
        /// [`SCHEMA_VERSION`].
        expected: u32,
        /// That of the line.
        found: u32,
    },
    /// A time that is none.
    #[error("expected a time such as 2026-11-21T12:00:00Z in measured_at, found {found:?}")]
    NotATime {
        /// What the line says.
        found: String,
    },
    /// Times that a clock cannot tell.
    #[error("expected one positive sample or more in latency.samples_ms, found {found:?}")]
    NotTimes {
        /// What the line says.
        found: Vec<f64>,
    },
    /// A histogram that is none.
    #[error("expected {expected} in latency.inter_token_ms.histogram, found {found}")]
    NotAHistogram {
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

/// Why a record is not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteRecordError {
    /// A null that nothing explains, or a reason for what is not null.
    #[error("nulls without a reason: [{}]; reasons without a null: [{}]",
        missing.join(", "), needless.join(", "))]
    Nulls {
        /// As [`Record::missing_reasons`] gives them.
        missing: Vec<String>,
        /// As [`Record::needless_reasons`] gives them.
        needless: Vec<String>,
    },
    /// Nobody could read it back.
    #[error("the record could not be read back")]
    Unreadable {
        /// What the reader would say.
        source: ParseRecordError,
    },
}

impl Record {
    /// Read one line, of this schema or an older one. Unknown fields are ignored.
    ///
    /// # Errors
    ///
    /// When the line is no record, or one of a newer schema.
    pub fn parse(line: &[u8]) -> Result<Record, ParseRecordError> {
        #[derive(Deserialize)]
        struct Versioned {
            schema_version: u32,
        }
        if LINE_BYTES_MAX < line.len() {
            let (expected, found) = (LINE_BYTES_MAX, line.len());
            return Err(ParseRecordError::TooLong { expected, found });
        }
        let malformed = |source| ParseRecordError::Malformed { source };
        let versioned: Versioned = serde_json::from_slice(line).map_err(malformed)?;
        let record = match versioned.schema_version {
            SCHEMA_VERSION => serde_json::from_slice(line).map_err(malformed)?,
            newer @ SCHEMA_VERSION.. => {
                let (expected, found) = (SCHEMA_VERSION, newer);
                return Err(ParseRecordError::NewerVersion { expected, found });
            }
            older => upgrade::parse(line, older).map_err(malformed)?,
        };
        check(&record)?;
        Ok(record)
    }

    /// The record as one line of JSON, without the line feed at its end.
    ///
    /// # Errors
    ///
    /// When a null has no reason or a reason no null, a number is not finite, or
    /// [`Record::parse`] would refuse the line.
    pub fn to_line(&self) -> Result<String, WriteRecordError> {
        let (missing, needless) = (self.missing_reasons(), self.needless_reasons());
        if !missing.is_empty() || !needless.is_empty() {
            return Err(WriteRecordError::Nulls { missing, needless });
        }
        let line = serde_json::to_string(self).expect("a record has only string keys");
        Record::parse(line.as_bytes()).map_err(|source| WriteRecordError::Unreadable { source })?;
        Ok(line)
    }
}

fn check(record: &Record) -> Result<(), ParseRecordError> {
    if seconds_since_epoch(&record.measured_at).is_none() {
        return Err(ParseRecordError::NotATime { found: record.measured_at.clone() });
    }
    let Some(latency) = &record.latency else { return Ok(()) };
    if latency.samples_ms.is_empty() || latency.samples_ms.iter().any(|sample| *sample <= 0.0) {
        return Err(ParseRecordError::NotTimes { found: latency.samples_ms.clone() });
    }
    match &latency.inter_token_ms {
        Some(inter_token) => check_histogram(&inter_token.histogram, inter_token.n),
        None => Ok(()),
    }
}

fn check_histogram(histogram: &Histogram, n: u64) -> Result<(), ParseRecordError> {
    let not = |expected, found| Err(ParseRecordError::NotAHistogram { expected, found });
    let (n_edges, n_counts) = (histogram.edges_ms.len(), histogram.counts.len());
    if n_edges != n_counts + 1 {
        let found = format!("{n_edges} edges and {n_counts} counts");
        return not("one edge more than counts", found);
    }
    if !histogram.edges_ms.is_sorted() {
        return not("ascending edges", format!("{:?}", histogram.edges_ms));
    }
    let total = histogram.counts.iter().try_fold(0_u64, |total, count| total.checked_add(*count));
    if total != Some(n) {
        return not("the counts of n values", format!("{:?} and n = {n}", histogram.counts));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
