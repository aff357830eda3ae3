//! The records of folders.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use lapwing_files::checksum;

use super::{EXTENSION, ReadFileError, RecordLineError, read};
use crate::record::Record;

/// Why folders are not read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ReadFolderError {
    /// The system refuses.
    #[error("cannot read {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// One of its files is not read.
    #[error(transparent)]
    File(#[from] ReadFileError),
}

/// Read all files `*.jsonl` below a folder, in the order of their paths.
///
/// Links to folders are not followed. A record that is there several times, in copies of a file, is
/// read once: it is one measurement.
///
/// # Errors
///
/// When the folder or one of the files cannot be read. Bad lines are results of their own.
pub fn read_folder(folder: &Path) -> Result<Vec<Result<Record, RecordLineError>>, ReadFolderError> {
    let mut results = Vec::new();
    for file in record_files(folder)? {
        results.extend(read(&file)?);
    }
    Ok(each_once(results))
}

/// Read files and folders, as [`read`] and [`read_folder`] do, in the order given; a record that is
/// there several times once.
///
/// # Errors
///
/// As [`read_folder`].
pub fn read_all(
    paths: &[PathBuf],
) -> Result<Vec<Result<Record, RecordLineError>>, ReadFolderError> {
    let mut results = Vec::new();
    for path in paths {
        let is_folder = std::fs::metadata(path).map_err(failed(path))?.is_dir();
        results.extend(if is_folder { read_folder(path)? } else { read(path)? });
    }
    Ok(each_once(results))
}

/// Leave out what is there a second time: the same measurement twice would seem to be two runs that
/// agree.
///
/// Records are the same when all that they say is, their `record_id` with it: one that was changed
/// by hand keeps its id and is another one.
pub fn keep_first_of_each(records: &mut Vec<Record>) {
    let mut seen = Seen::default();
    records.retain(|record| seen.is_new(record));
}

fn each_once(
    mut results: Vec<Result<Record, RecordLineError>>,
) -> Vec<Result<Record, RecordLineError>> {
    let mut seen = Seen::default();
    results.retain(|result| result.as_ref().map_or(true, |record| seen.is_new(record)));
    results
}

/// Hashes of the records that were there already.
#[derive(Default)]
pub(super) struct Seen {
    /// Half of each: there may be millions.
    sha256: HashSet<u128>,
}

impl Seen {
    pub(super) fn is_new(&mut self, record: &Record) -> bool {
        let line = serde_json::to_vec(record).expect("a record has only string keys");
        let digits = checksum::sha256_bytes(&line);
        let half = u128::from_str_radix(&digits[..32], 16).expect("hexadecimal digits");
        self.sha256.insert(half)
    }
}

/// The files of a folder, as [`read_folder`] reads them; a file itself.
pub(super) fn record_files_at(path: &Path) -> Result<Vec<PathBuf>, ReadFolderError> {
    match std::fs::metadata(path).map_err(failed(path))?.is_dir() {
        true => record_files(path),
        false => Ok(vec![path.to_owned()]),
    }
}

fn record_files(folder: &Path) -> Result<Vec<PathBuf>, ReadFolderError> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(failed(&folder))? {
            let entry = entry.map_err(failed(&folder))?;
            let path = entry.path();
            if entry.file_type().map_err(failed(&path))?.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == EXTENSION)
                && !path.is_dir()
            {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> ReadFolderError {
    let path = path.to_owned();
    move |source| ReadFolderError::Io { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::samples;
    use crate::record_file::append;

    fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (file, host) in files {
            let record = Record { host: (*host).to_owned(), ..samples::decode() };
            append(&folder.path().join(file), &record).unwrap();
        }
        folder
    }

    fn hosts(results: Vec<Result<Record, RecordLineError>>) -> Vec<String> {
        results.into_iter().map(|result| result.unwrap().host).collect()
    }

    #[test]
    fn files_below_a_folder_come_in_order() {
        let files =
            [("b/2.jsonl", "b2"), ("c.jsonl", "c"), ("a/x/1.jsonl", "a1"), ("b/1.jsonl", "b1")];
        let folder = folder_with(&files);
        // Beside them lie their locks, and this:
        std::fs::write(folder.path().join("schema.md"), "no records").unwrap();
        std::fs::create_dir(folder.path().join("empty.jsonl")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(folder.path(), folder.path().join("b/again")).unwrap();
        assert_eq!(hosts(read_folder(folder.path()).unwrap()), ["a1", "b1", "b2", "c"]);
    }

    #[test]
    fn files_and_folders_come_in_the_order_given() {
        let folder = folder_with(&[("a/1.jsonl", "a1"), ("c.jsonl", "c")]);
        let paths = [folder.path().join("c.jsonl"), folder.path().join("a")];
        assert_eq!(hosts(read_all(&paths).unwrap()), ["c", "a1"]);
        let missing = folder.path().join("missing");
        let error = read_all(&[folder.path().to_owned(), missing.clone()]).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read {}", missing.display()));
    }

    #[test]
    fn a_record_in_two_files_is_one_record() {
        let folder = folder_with(&[("a.jsonl", "a"), ("b/1.jsonl", "b1")]);
        let path = |name: &str| folder.path().join(name);
        std::fs::copy(path("a.jsonl"), path("copy.jsonl")).unwrap();
        assert_eq!(hosts(read_folder(folder.path()).unwrap()), ["a", "b1"]);
        let paths = [path("copy.jsonl"), path("a.jsonl"), path("b"), path("a.jsonl")];
        assert_eq!(hosts(read_all(&paths).unwrap()), ["a", "b1"]);
        // The same id, and something else in it.
        let mut records = vec![samples::decode(), samples::prefill(), samples::decode()];
        records[2].protocol.order_idx += 1;
        records.push(records[0].clone());
        keep_first_of_each(&mut records);
        let tests: Vec<_> = records.iter().map(|record| &*record.test.name).collect();
        assert_eq!(tests, ["tg128@d1024", "pp512", "tg128@d1024"]);
    }

    #[test]
    fn a_bad_line_hides_no_other_file() {
        let folder = folder_with(&[("a.jsonl", "a"), ("c.jsonl", "c")]);
        let bad = folder.path().join("b.jsonl");
        std::fs::write(&bad, "bad\n").unwrap();
        let results = read_folder(folder.path()).unwrap();
        let found: Vec<Result<String, String>> = results
            .into_iter()
            .map(|result| result.map(|record| record.host).map_err(|error| error.to_string()))
            .collect();
        let expected = format!("cannot read {} line 1", bad.display());
        assert_eq!(found, [Ok("a".into()), Err(expected), Ok("c".into())]);
    }
}
