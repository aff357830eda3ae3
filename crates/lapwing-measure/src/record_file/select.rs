//! Which records of measurements the user means.

use std::path::{Path, PathBuf};

use super::{ReadFolderError, RecordLineError, keep_first_of_each, read_all, read_folder};
use crate::record::Record;

/// Records, and what else is in their files.
#[derive(Debug)]
pub struct Selected {
    /// The records.
    pub records: Vec<Record>,
    /// Lines that are none.
    pub bad_lines: Vec<RecordLineError>,
    /// Whether a machine was named, and no file.
    pub is_host: bool,
}

/// Why there are no records.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum SelectRecordsError {
    /// Neither a path nor a host.
    #[error("no records `{wanted}`: neither a path nor a host below {}", profiles.display())]
    NotFound { wanted: String, profiles: PathBuf },
    /// Nothing was ever measured here.
    #[error("no records in {}", path.display())]
    Nothing { path: PathBuf },
    /// There are records, of other runs.
    #[error("no run {run} in {found} records")]
    NoRun { run: String, found: usize },
    /// There are records, of other revisions.
    #[error("no records of revision {revision} below {}", profiles.display())]
    NoRevision { revision: String, profiles: PathBuf },
    /// They cannot be read.
    #[error(transparent)]
    Read(#[from] ReadFolderError),
}

/// The records that `wanted` stands for: a path, a host below `profiles`, `rev:` and the beginning
/// of a git revision; each with `#` and the beginning of a run's id behind it.
///
/// # Errors
///
/// When there are none, or they cannot be read. A line that is no record is no error here, and where
/// all are so there are no records and no error.
pub fn select(wanted: &str, profiles: &Path) -> Result<Selected, SelectRecordsError> {
    // A file may have such a name.
    let is_path = Path::new(wanted).exists();
    match wanted.rsplit_once('#').filter(|_| !is_path) {
        Some((wanted, run)) => {
            let mut selected = select_one(wanted, profiles)?;
            // Where no line is a record, the lines say why.
            if !selected.records.is_empty() {
                keep_run(&mut selected.records, run)?;
            }
            Ok(selected)
        }
        None => select_one(wanted, profiles),
    }
}

/// The records that all of `wanted` stand for, each once: what was named twice was measured once.
///
/// # Errors
///
/// As [`select`].
pub fn select_all(wanted: &[String], profiles: &Path) -> Result<Selected, SelectRecordsError> {
    let mut all = Selected { records: Vec::new(), bad_lines: Vec::new(), is_host: false };
    for wanted in wanted {
        let selected = select(wanted, profiles)?;
        all.records.extend(selected.records);
        all.bad_lines.extend(selected.bad_lines);
    }
    keep_first_of_each(&mut all.records);
    Ok(all)
}

/// Only the records whose run begins like this; `latest` is that of the newest record.
///
/// # Errors
///
/// When there are none.
pub fn keep_run(records: &mut Vec<Record>, run: &str) -> Result<(), SelectRecordsError> {
    let found = records.len();
    let newest = records.iter().max_by(|a, b| a.measured_at.cmp(&b.measured_at));
    let wanted = match (run, newest) {
        ("latest", Some(newest)) => newest.run_id.clone(),
        (run, _) => run.to_owned(),
    };
    records.retain(|record| !wanted.is_empty() && record.run_id.starts_with(&wanted));
    match records.is_empty() {
        true => Err(SelectRecordsError::NoRun { run: run.to_owned(), found }),
        false => Ok(()),
    }
}

fn select_one(wanted: &str, profiles: &Path) -> Result<Selected, SelectRecordsError> {
    if let Some(revision) = wanted.strip_prefix("rev:") {
        return select_revision(revision, profiles);
    }
    let (path, is_host) = located(wanted, profiles)?;
    let mut selected = sorted_out(read_all(std::slice::from_ref(&path))?);
    selected.is_host = is_host;
    match selected.records.is_empty() && selected.bad_lines.is_empty() {
        true => Err(SelectRecordsError::Nothing { path }),
        false => Ok(selected),
    }
}

/// Where the records of a path or a host are, and whether it was a host.
pub(super) fn located(
    wanted: &str,
    profiles: &Path,
) -> Result<(PathBuf, bool), SelectRecordsError> {
    let path = Path::new(wanted);
    let below = profiles.join(wanted);
    let is_name = path.components().count() == 1 && !wanted.starts_with('.');
    match path.exists() {
        true => Ok((path.to_owned(), false)),
        false if is_name && below.is_dir() => Ok((below, true)),
        false => {
            let (wanted, profiles) = (wanted.to_owned(), profiles.to_owned());
            Err(SelectRecordsError::NotFound { wanted, profiles })
        }
    }
}

fn select_revision(revision: &str, profiles: &Path) -> Result<Selected, SelectRecordsError> {
    let all = if profiles.is_dir() { read_folder(profiles)? } else { Vec::new() };
    let mut selected = sorted_out(all);
    let is_wanted = |record: &Record| {
        let found = record.program.git_revision.as_deref();
        found.is_some_and(|found| !revision.is_empty() && found.starts_with(revision))
    };
    selected.records.retain(is_wanted);
    if selected.records.is_empty() {
        let (revision, profiles) = (revision.to_owned(), profiles.to_owned());
        return Err(SelectRecordsError::NoRevision { revision, profiles });
    }
    Ok(selected)
}

fn sorted_out(lines: Vec<Result<Record, RecordLineError>>) -> Selected {
    let mut selected = Selected { records: Vec::new(), bad_lines: Vec::new(), is_host: false };
    for line in lines {
        match line {
            Ok(record) => selected.records.push(record),
            Err(error) => selected.bad_lines.push(error),
        }
    }
    selected
}
