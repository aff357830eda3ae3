//! Advice about records of measurements.

use std::error::Error;

use lapwing_measure::comparison::{CompareError, WorseError};
use lapwing_measure::record::ParseRecordError;
use lapwing_measure::record_file::{
    ReadFileError, ReadFolderError, RecordLineError, SelectRecordsError,
};

use crate::commands::report::{NothingUsedError, WriteReportError};

/// What the user can do about an error of these, if that is known.
pub(super) fn for_cause(cause: &(dyn Error + 'static)) -> Option<String> {
    first_of!(cause => select, record_line, compare, worse, nothing_used)
}

/// Files that may be elsewhere than our own folders, which the system's error cannot know.
pub(super) fn of_files(cause: &(dyn Error + 'static)) -> Option<String> {
    first_of!(cause => read, write_report)
}

fn worse(error: &WorseError) -> Option<String> {
    match error {
        WorseError::Regression { .. } => None,
        WorseError::Missing { .. } => Some(
            "measure B as A was measured, choose one run of A with A#RUN_ID, or leave out \
             --fail-over"
                .into(),
        ),
    }
}

fn nothing_used(error: &NothingUsedError) -> Option<String> {
    match error {
        NothingUsedError::Version { .. } => {
            Some("end the daemon and start it anew, or use the program that started it".into())
        }
        NothingUsedError::NoAnswers => {
            Some("let it answer, with `lapwing run` or any client; it forgets when it ends".into())
        }
        NothingUsedError::LeftOut { .. } => None,
    }
}

fn write_report(error: &WriteReportError) -> Option<String> {
    Some(format!(
        "check the path, its permissions and the room on the disk, or choose another file with {}",
        error.option
    ))
}

fn read(error: &SelectRecordsError) -> Option<String> {
    let SelectRecordsError::Read(error) = error else { return None };
    match error {
        ReadFolderError::Io { .. } | ReadFolderError::File(ReadFileError::Io { .. }) => {
            Some("check the permissions, or name another file or folder".into())
        }
        ReadFolderError::File(ReadFileError::NotAFile { .. }) => {
            Some("write its lines into a file, and name that or its folder".into())
        }
        ReadFolderError::File(ReadFileError::TooLarge { .. }) => {
            Some("divide the file: every line stands for itself".into())
        }
        ReadFolderError::File(ReadFileError::NotRecords { .. }) => {
            Some("name other files, or move this one out of the folder".into())
        }
    }
}

fn record_line(error: &RecordLineError) -> Option<String> {
    match error.source {
        ParseRecordError::Version { expected, found } if expected < found => {
            Some("a newer Lapwing wrote it: use that, or remove the line".into())
        }
        _ => Some("remove the line; `lapwing report` leaves such lines out".into()),
    }
}

fn select(error: &SelectRecordsError) -> Option<String> {
    match error {
        SelectRecordsError::NotFound { .. } => Some(
            "name a file, a folder, a host, or rev: and a git revision; `lapwing bench` makes \
             records"
                .into(),
        ),
        SelectRecordsError::Nothing { .. } => {
            Some("`lapwing bench` makes records; or name a file, a folder or a host".into())
        }
        SelectRecordsError::NoRun { .. } => {
            Some("the table of conditions on the page of `lapwing report` lists the runs".into())
        }
        SelectRecordsError::NoRevision { .. } | SelectRecordsError::Read(_) => None,
    }
}

fn compare(error: &CompareError) -> Option<String> {
    match error {
        CompareError::NotComparable { .. } => {
            Some("--force compares them all the same, and says what differs".into())
        }
        CompareError::NothingInCommon { .. } => {
            Some("choose one run of each side with FILE#RUN_ID, or narrow the files".into())
        }
        CompareError::NoTestInCommon { .. } => {
            Some("measure both sides with the same -p, -n and -d of `lapwing bench`".into())
        }
        CompareError::OnlyUse { .. } => Some(
            "`lapwing report` shows them; `lapwing bench` measures what can be compared".into(),
        ),
        CompareError::Empty { .. } => None,
    }
}
