//! Advice about records of measurements.

use std::error::Error;

use lapwing_measure::comparison::CompareError;

use crate::profiles::SelectRecordsError;

/// What the user can do about an error of these, if that is known.
pub(super) fn for_cause(cause: &(dyn Error + 'static)) -> Option<String> {
    None.or_else(|| cause.downcast_ref().and_then(select))
        .or_else(|| cause.downcast_ref().and_then(compare))
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
        CompareError::Empty { .. } => None,
    }
}
