//! A record as one line of JSON.

use lapwing_report::printable;
use serde::Deserialize;

use super::timestamp::seconds_since_epoch;
use super::{Histogram, Record, SCHEMA_VERSION};

/// The longest line that is written or read, in bytes.
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// Why a line is not a record.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ParseRecordError {
    /// The line is too long to be one.
    #[error("expected at most {expected} bytes, found {found}")]
    TooLong {
        /// [`LINE_BYTES_MAX`].
        expected: usize,
        found: usize,
    },
    /// No JSON, or not the fields of a record.
    #[error("not a record")]
    Malformed { source: JsonError },
    /// A program of another time wrote it.
    #[error("expected schema version {expected}, found {found}")]
    Version {
        /// [`SCHEMA_VERSION`].
        expected: u32,
        found: u32,
    },
    /// A time that is none.
    #[error("expected a time such as 2026-11-21T12:00:00Z in measured_at, found \"{found}\"")]
    NotATime { found: String },
    /// No time was measured.
    #[error("expected one sample or more in latency.samples_ms, found none")]
    NoTimes,
    /// A time that a clock cannot tell.
    #[error("expected a positive sample in latency.samples_ms[{sample_idx}], found {found}")]
    NotATimeSpan { sample_idx: usize, found: f64 },
    /// A histogram that is none.
    #[error("expected {expected} in latency.inter_token_ms.histogram, found {found}")]
    NotAHistogram { expected: &'static str, found: String },
}

/// What is wrong with a line of JSON, and where; it quotes what the line says, as far as that can
/// be shown.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct JsonError {
    message: String,
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> JsonError {
        JsonError { message: shown(&error.to_string()) }
    }
}

/// The most characters of a line that a message repeats from each of its ends.
const N_SHOWN_MAX: usize = 120;

/// `text` without what would steer a terminal, and without the middle of what is long: the place
/// in the line comes last.
fn shown(text: &str) -> String {
    let n_characters = text.chars().count();
    if n_characters <= 2 * N_SHOWN_MAX {
        return printable(text);
    }
    let head: String = text.chars().take(N_SHOWN_MAX).collect();
    let tail: String = text.chars().skip(n_characters - N_SHOWN_MAX).collect();
    printable(&format!("{head}…{tail}"))
}

/// Why a record is not written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
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
    Unreadable { source: ParseRecordError },
}

impl Record {
    /// Read one line. Unknown fields are ignored.
    ///
    /// # Errors
    ///
    /// When the line is no record, or one of another schema.
    pub fn parse(line: &[u8]) -> Result<Record, ParseRecordError> {
        #[derive(Deserialize)]
        struct Versioned {
            schema_version: u32,
        }
        if LINE_BYTES_MAX < line.len() {
            let (expected, found) = (LINE_BYTES_MAX, line.len());
            return Err(ParseRecordError::TooLong { expected, found });
        }
        let malformed =
            |error: serde_json::Error| ParseRecordError::Malformed { source: error.into() };
        let versioned: Versioned = serde_json::from_slice(line).map_err(malformed)?;
        let record = match versioned.schema_version {
            SCHEMA_VERSION => serde_json::from_slice(line).map_err(malformed)?,
            found => return Err(ParseRecordError::Version { expected: SCHEMA_VERSION, found }),
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
        return Err(ParseRecordError::NotATime { found: shown(&record.measured_at) });
    }
    let Some(latency) = &record.latency else { return Ok(()) };
    if latency.samples_ms.is_empty() {
        return Err(ParseRecordError::NoTimes);
    }
    if let Some(sample_idx) = latency.samples_ms.iter().position(|sample| *sample <= 0.0) {
        let found = latency.samples_ms[sample_idx];
        return Err(ParseRecordError::NotATimeSpan { sample_idx, found });
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
    let falling = histogram.edges_ms.windows(2).position(|pair| pair[1] < pair[0]);
    if let Some(edge_idx) = falling {
        let (edge, next) = (histogram.edges_ms[edge_idx], histogram.edges_ms[edge_idx + 1]);
        let found = format!("edges_ms[{}] = {next} after {edge}", edge_idx + 1);
        return not("ascending edges", found);
    }
    let total = histogram.counts.iter().try_fold(0_u64, |total, count| total.checked_add(*count));
    if total != Some(n) {
        let total = total.map_or_else(|| "more than can be counted".into(), |n| n.to_string());
        return not("the counts of n values", format!("a sum of {total} and n = {n}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
