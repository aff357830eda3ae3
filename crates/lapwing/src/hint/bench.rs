//! Advice about measuring.

use std::error::Error;

use lapwing_files::LockError;
use lapwing_measure::bench::{NoRecommendationError, SeriesError, StationError, UnfinishedError};
use lapwing_measure::record_file::AppendError;

use crate::commands::bench::{BenchError, RunnerError};
use lapwing_host::recommendation::{ReadRecommendationsError, WriteRecommendationError};

/// What the user can do about an error of these, if that is known.
pub(super) fn for_cause(cause: &(dyn Error + 'static)) -> Option<String> {
    first_of!(cause => bench, runner, series, unfinished, no_recommendation)
}

fn bench(error: &BenchError) -> Option<String> {
    match error {
        BenchError::Failed { hint, .. } => hint.clone(),
        BenchError::SomeFailed { .. } => Some(
            "the warnings above say why; the same command measures those again that have no record"
                .into(),
        ),
    }
}

fn runner(error: &RunnerError) -> Option<String> {
    match error {
        RunnerError::Failed { hint, .. } => hint.clone(),
        RunnerError::Lost { loss, .. } => {
            super::loss(loss).or_else(|| Some("-v shows what it did".into()))
        }
        _ => None,
    }
}

fn series(error: &SeriesError) -> Option<String> {
    let SeriesError::Station(StationError::Failed(source)) = error else { return None };
    source.downcast_ref().and_then(runner)
}

fn unfinished(error: &UnfinishedError) -> Option<String> {
    match error {
        UnfinishedError::Unknown { .. } => {
            Some("leave out --resume: the same command goes on by itself".into())
        }
        UnfinishedError::Other { .. } => {
            Some("give the options of that run, or leave out --resume".into())
        }
        UnfinishedError::Write { .. } | UnfinishedError::Lock { .. } => None,
    }
}

/// What is noted of a run stands beside its records.
fn note_of_run(error: &UnfinishedError) -> Option<String> {
    match error {
        UnfinishedError::Write { .. }
        | UnfinishedError::Lock { source: LockError::Io { .. }, .. } => Some(
            "check that there is room on the disk, and the permissions, or choose another file \
             with --out"
                .into(),
        ),
        _ => None,
    }
}

/// A file of records may be elsewhere than our own folders, which the system's error cannot know.
pub(super) fn of_record_file(cause: &(dyn Error + 'static)) -> Option<String> {
    first_of!(cause => append, note_of_run, write_recommendation, read_recommendations)
        .or_else(|| super::profiles::of_files(cause))
}

/// What is complete stays complete, whatever the disk does.
fn append(error: &AppendError) -> Option<String> {
    match error {
        AppendError::DiskFull { .. } => Some(
            "make room on the disk, or choose another file with --out; the records before are kept"
                .into(),
        ),
        AppendError::Record { .. } => None,
        AppendError::Busy { .. } => Some(
            "look for another `lapwing bench` that hangs, or choose another file with --out".into(),
        ),
        AppendError::NotAFile { .. } | AppendError::FileFull { .. } => {
            Some("choose another file with --out".into())
        }
        _ => Some("check the path and its permissions, or choose another file with --out".into()),
    }
}

fn no_recommendation(_: &NoRecommendationError) -> Option<String> {
    Some(
        "the records are kept and nothing is recommended anew; --recommend latency, throughput \
         and memory need no sensor, but a decode (-n)"
            .into(),
    )
}

fn write_recommendation(error: &WriteRecommendationError) -> Option<String> {
    match error {
        WriteRecommendationError::Read(error) => read_recommendations(error),
        WriteRecommendationError::Lock { .. } => None,
        WriteRecommendationError::Write(_) => Some(
            "check that there is room on the disk, and the permissions, or move the data folder \
             with LAPWING_HOME; the records are kept"
                .into(),
        ),
    }
}

fn read_recommendations(error: &ReadRecommendationsError) -> Option<String> {
    match error {
        ReadRecommendationsError::Parse { .. } => {
            Some("mend the file or remove it; records are kept".into())
        }
        ReadRecommendationsError::File(_) => Some("check its permissions; records are kept".into()),
    }
}
