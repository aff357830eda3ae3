//! What is finished of a long piece of work, in a file, so that it can go on after a break.
//!
//! ```text
//! {"lapwing_journal":2,"key":{"measurement":"perplexity", ...}}
//! {"unit":"window 0","result":{...},"crc32":"0f1e2d3c"}
//! {"unit":"window 1","result":{...},"crc32":"4b5a6978"}
//! ```
//!
//! One line a unit, written at once when the unit is done. A line that a crash cut off is dropped
//! when the file is opened again. The key holds every setting that decides the results: a journal
//! of another key is refused with what differs, never mixed. The CRC-32 of a line is of all bytes
//! of the file before it: a line that was edited, moved, doubled or taken out is found.
//!
//! Journals go on exactly: work that was broken off gives the same bits as work that was not. JSON
//! holds finite numbers exactly; who has others writes them as text. This module must not know what
//! the units are.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crc32fast::Hasher;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::FileError;
use crate::lock::try_lock;

/// Version of the format; another one is another key.
const FORMAT_VERSION: u32 = 2;

/// Every setting that decides the results, by name.
///
/// The options of a measurement give their part (`settings`); the caller adds what only it knows:
/// the checksums of the models, of the text or the items, and of the correction; backend, device
/// and precision.
pub type JournalKey = Map<String, Value>;

/// The finished units of one measurement, in memory and in a file.
///
/// The file is locked while it is open, where the system can.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Of all bytes of the file.
    crc: Hasher,
    finished: HashMap<String, Value>,
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum OpenJournalError {
    /// The file cannot be read or made.
    #[error(transparent)]
    Io(#[from] FileError),
    /// Another process writes it.
    #[error("the journal {} is in use by another process", path.display())]
    InUse { path: PathBuf },
    /// The file is something else; it was left as it is.
    #[error("{} is not a journal: expected {expected} on line 1", path.display())]
    NotAJournal { path: PathBuf, expected: &'static str },
    /// The journal belongs to a measurement with other settings.
    #[error("the journal {} is of another measurement: {differences}", path.display())]
    AnotherKey { path: PathBuf, differences: String },
    /// A line that was not cut off cannot be understood.
    #[error("line {line} of the journal {} is broken: expected a unit and its result", path.display())]
    BrokenLine {
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        source: serde_json::Error,
    },
    /// A line, or one before it, is not what was written.
    #[error(
        "the journal {} was changed at or before line {line}: expected the checksum {expected}, \
         found {found}",
        path.display()
    )]
    ChangedLine {
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        expected: String,
        found: String,
    },
}

/// Why a unit cannot be read from or written to a journal.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum JournalUnitError {
    /// The file cannot be written.
    #[error("cannot write {unit} to the journal {}", path.display())]
    Io { path: PathBuf, unit: String, source: io::Error },
    /// The result is of another shape than this measurement's.
    #[error("the result of {unit} in the journal {} cannot be used", path.display())]
    Shape { path: PathBuf, unit: String, source: serde_json::Error },
}

#[derive(Serialize, Deserialize)]
struct Header {
    lapwing_journal: u32,
    key: JournalKey,
}

#[derive(Serialize, Deserialize)]
struct Line {
    unit: String,
    result: Value,
}

/// A line as it is read; it is written piece by piece, the checksum last.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckedLine {
    unit: String,
    result: Value,
    crc32: String,
}

impl Journal {
    /// Open the journal at `path`, or begin one.
    ///
    /// # Errors
    ///
    /// When the file cannot be used, is no journal, has another key, or is in use.
    pub fn open(path: &Path, key: &JournalKey) -> Result<Journal, OpenJournalError> {
        let cannot_open = FileError::cannot("open the journal", path);
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let mut file = options.open(path).map_err(&cannot_open)?;
        if let Ok(false) = try_lock(&file) {
            return Err(OpenJournalError::InUse { path: path.to_owned() });
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(&cannot_open)?;
        let n_whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let header = header_line(key);
        if n_whole == 0 && !header.as_bytes().starts_with(&bytes) {
            return Err(not_a_journal(path));
        }
        let (finished, mut crc) = read_lines(path, &bytes[..n_whole], key)?;
        file.set_len(n_whole as u64).map_err(&cannot_open)?;
        file.seek(SeekFrom::End(0)).map_err(&cannot_open)?;
        if n_whole == 0 {
            file.write_all(header.as_bytes()).map_err(&cannot_open)?;
            crc.update(header.as_bytes());
        }
        tracing::debug!(n_finished = finished.len(), path = %path.display(), "journal opened");
        Ok(Journal { path: path.to_owned(), file, crc, finished })
    }

    /// The result of `unit`, when it is finished.
    ///
    /// # Errors
    ///
    /// When the result is of another shape.
    pub fn result<T: DeserializeOwned>(&self, unit: &str) -> Result<Option<T>, JournalUnitError> {
        let Some(value) = self.finished.get(unit) else { return Ok(None) };
        T::deserialize(value).map(Some).map_err(|source| self.shape_error(unit, source))
    }

    /// Write down that `unit` is finished.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn finish<T: Serialize>(&mut self, unit: &str, result: &T) -> Result<(), JournalUnitError> {
        let result = serde_json::to_value(result).map_err(|e| self.shape_error(unit, e))?;
        let line = Line { unit: unit.to_owned(), result };
        let mut text = serde_json::to_string(&line).map_err(|e| self.shape_error(unit, e))?;
        text.pop(); // the closing brace
        let mut crc = self.crc.clone();
        crc.update(text.as_bytes());
        let checksum = checksum_member(crc.clone());
        crc.update(checksum.as_bytes());
        text.push_str(&checksum);
        self.file.write_all(text.as_bytes()).map_err(|source| JournalUnitError::Io {
            path: self.path.clone(),
            unit: unit.to_owned(),
            source,
        })?;
        self.crc = crc;
        self.finished.insert(line.unit, line.result);
        Ok(())
    }

    /// How many units are finished.
    #[must_use]
    pub fn n_finished(&self) -> usize {
        self.finished.len()
    }

    fn shape_error(&self, unit: &str, source: serde_json::Error) -> JournalUnitError {
        JournalUnitError::Shape { path: self.path.clone(), unit: unit.to_owned(), source }
    }
}

/// The result of `unit` from the journal, else from `compute`, then also in the journal; and
/// whether it was there.
///
/// # Errors
///
/// When `compute` fails, or the journal cannot be read or written.
pub fn resume<T, E>(
    journal: &mut Option<&mut Journal>,
    unit: &str,
    compute: impl FnOnce() -> Result<T, E>,
) -> Result<(T, bool), E>
where
    T: Serialize + DeserializeOwned,
    E: From<JournalUnitError>,
{
    let Some(journal) = journal else { return Ok((compute()?, false)) };
    if let Some(result) = journal.result(unit)? {
        return Ok((result, true));
    }
    let result = compute()?;
    journal.finish(unit, &result)?;
    Ok((result, false))
}

fn header_line(key: &JournalKey) -> String {
    let header = Header { lapwing_journal: FORMAT_VERSION, key: key.clone() };
    let mut line = serde_json::to_string(&header).expect("a map of JSON values is JSON");
    line.push('\n');
    line
}

/// The end of a line: the checksum of what stands before it.
fn checksum_member(before: Hasher) -> String {
    format!(",\"crc32\":\"{:08x}\"}}\n", before.finalize())
}

/// The finished units in whole lines, and the checksum of these lines.
fn read_lines(
    path: &Path,
    bytes: &[u8],
    key: &JournalKey,
) -> Result<(HashMap<String, Value>, Hasher), OpenJournalError> {
    let mut crc = Hasher::new();
    let mut finished = HashMap::new();
    let mut lines = bytes.split_inclusive(|&byte| byte == b'\n');
    let Some(first) = lines.next() else { return Ok((finished, crc)) };
    let header: Header = serde_json::from_slice(first).map_err(|_| not_a_journal(path))?;
    // Numbers may change by a last bit when they are read: so the expected ones are read, too.
    let Header { key, .. } =
        serde_json::from_str(&header_line(key)).expect("a line that was just written");
    let mut differences = differences(&header.key, &key);
    if header.lapwing_journal != FORMAT_VERSION {
        let found = header.lapwing_journal;
        differences.insert(0, format!("format {found}, expected {FORMAT_VERSION}"));
    }
    if !differences.is_empty() {
        let differences = differences.join("; ");
        return Err(OpenJournalError::AnotherKey { path: path.to_owned(), differences });
    }
    crc.update(first);
    for (line_idx, bytes) in lines.enumerate() {
        let line = line_idx + 2;
        let CheckedLine { unit, result, crc32 } =
            serde_json::from_slice(bytes).map_err(|source| OpenJournalError::BrokenLine {
                path: path.to_owned(),
                line,
                source,
            })?;
        let n_before = bytes.len().saturating_sub(checksum_member(Hasher::new()).len());
        crc.update(&bytes[..n_before]);
        let expected = checksum_member(crc.clone());
        if bytes[n_before..] != *expected.as_bytes() {
            let expected = format!("{:08x}", crc.finalize());
            let path = path.to_owned();
            return Err(OpenJournalError::ChangedLine { path, line, expected, found: crc32 });
        }
        crc.update(expected.as_bytes());
        finished.insert(unit, result);
    }
    Ok((finished, crc))
}

fn differences(found: &JournalKey, expected: &JournalKey) -> Vec<String> {
    let added = found.keys().filter(|name| !expected.contains_key(*name));
    let names = expected.keys().chain(added);
    let show = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
    names
        .filter(|name| found.get(*name) != expected.get(*name))
        .map(|name| {
            let (found, expected) = (show(found.get(name)), show(expected.get(name)));
            format!("{name} is {found}, expected {expected}")
        })
        .collect()
}

fn not_a_journal(path: &Path) -> OpenJournalError {
    let expected = "{\"lapwing_journal\":…";
    OpenJournalError::NotAJournal { path: path.to_owned(), expected }
}

#[cfg(test)]
mod tests;
