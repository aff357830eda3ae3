//! The records of one file.

use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use lapwing_files::regular;

use super::FILE_BYTES_MAX;
use crate::record::{LINE_BYTES_MAX, ParseRecordError, Record};

/// With more bad lines than this, a file is not one of records.
pub const BAD_LINES_MAX: usize = 1000;

/// A line that is not a record.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {} line {line_number}", path.display())]
pub struct RecordLineError {
    /// The file.
    pub path: PathBuf,
    /// From 1.
    pub line_number: usize,
    /// What is wrong with the line.
    pub source: ParseRecordError,
}

/// What is done with each line; it breaks where no more is wanted.
pub type Take<'a> = dyn FnMut(Result<Record, RecordLineError>) -> ControlFlow<()> + 'a;

/// Why a file is not read at all.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ReadFileError {
    /// The system refuses.
    #[error("cannot read {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// A folder, a pipe or a device.
    #[error("cannot read records from {}: it is not a file, but {found}", path.display())]
    NotAFile { path: PathBuf, found: &'static str },
    /// The file is too large to be one of records.
    #[error("expected at most {expected} bytes in {}, found {found}", path.display())]
    TooLarge {
        path: PathBuf,
        /// [`FILE_BYTES_MAX`].
        expected: u64,
        found: u64,
    },
    /// Line after line is something else.
    #[error("{} is not a file of records: more than {expected} lines are none", path.display())]
    NotRecords {
        path: PathBuf,
        /// [`BAD_LINES_MAX`].
        expected: usize,
        source: Box<RecordLineError>,
    },
}

/// Read every line; empty ones hold nothing and are no error.
///
/// # Errors
///
/// When the file cannot be read, is larger than [`FILE_BYTES_MAX`], or has more than
/// [`BAD_LINES_MAX`] bad lines. Fewer bad lines are results of their own.
pub fn read(path: &Path) -> Result<Vec<Result<Record, RecordLineError>>, ReadFileError> {
    let mut results = Vec::new();
    // It never breaks.
    let _ = visit_file(path, &mut |result| {
        results.push(result);
        ControlFlow::Continue(())
    })?;
    Ok(results)
}

/// As [`read`], with no more than one line in memory: each goes to `take`, until that breaks.
///
/// # Errors
///
/// As [`read`]; what was taken by then was read.
pub(super) fn visit_file(
    path: &Path,
    take: &mut Take<'_>,
) -> Result<ControlFlow<()>, ReadFileError> {
    let failed = |source| ReadFileError::Io { path: path.to_owned(), source };
    // Asked before opening: to open a pipe is to wait for its other end.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        let found = regular::kind(&metadata);
        return Err(ReadFileError::NotAFile { path: path.to_owned(), found });
    }
    let (expected, found) = (FILE_BYTES_MAX, metadata.len());
    if expected < found {
        return Err(ReadFileError::TooLarge { path: path.to_owned(), expected, found });
    }
    let file = regular::open(path).map_err(failed)?;
    // Another process may append meanwhile, but only by putting another file in its place.
    let mut lines = BufReader::new(file.take(found));
    let mut n_bad_lines = 0;
    let mut line = Vec::new();
    for line_number in 1.. {
        let Some(n_bytes) = next_line(&mut lines, &mut line).map_err(failed)? else { break };
        if line.trim_ascii().is_empty() && n_bytes == line.len() {
            continue;
        }
        let result = parse(&line, n_bytes).map_err(|source| {
            let path = path.to_owned();
            RecordLineError { path, line_number, source }
        });
        n_bad_lines += usize::from(result.is_err());
        match result {
            Err(last) if BAD_LINES_MAX < n_bad_lines => return Err(not_records(path, last)),
            result => {
                if take(result).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The next line with its end, but no more of it than shows that it is too long; its whole length,
/// or `None` at the end of the file.
fn next_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<usize>> {
    line.clear();
    let mut beginning = lines.take(LINE_BYTES_MAX as u64 + 1);
    let n_bytes = beginning.read_until(b'\n', line)?;
    if n_bytes == 0 {
        return Ok(None);
    }
    let is_cut = LINE_BYTES_MAX < n_bytes && !line.ends_with(b"\n");
    let n_more_bytes = if is_cut { lines.skip_until(b'\n')? } else { 0 };
    Ok(Some(n_bytes + n_more_bytes))
}

fn parse(line: &[u8], n_bytes: usize) -> Result<Record, ParseRecordError> {
    if line.len() < n_bytes {
        let (expected, found) = (LINE_BYTES_MAX, n_bytes);
        return Err(ParseRecordError::TooLong { expected, found });
    }
    // Its end does not count for its length.
    Record::parse(line.strip_suffix(b"\n").unwrap_or(line))
}

fn not_records(path: &Path, last: RecordLineError) -> ReadFileError {
    let path = path.to_owned();
    ReadFileError::NotRecords { path, expected: BAD_LINES_MAX, source: Box::new(last) }
}

#[cfg(test)]
mod tests;
