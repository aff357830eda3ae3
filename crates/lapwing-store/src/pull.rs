//! Getting models into the store.
//!
//! A pull collects the files of one model in a staging folder, verifies them, sees that a command
//! could open them, and renames the folder into the store: a model is there whole or not at all.
//! What a broken pull from the hub left is continued by the next one. One process per model at a
//! time.

mod hub;
mod local;
mod pypi;

pub(crate) mod hub_cache;
mod hub_file;
mod selection;
mod whole;

use std::path::{Path, PathBuf};

use lapwing_files::{FileError, Lock, LockError};

use crate::catalog::{Catalog, CatalogPart, ReadCatalogError};
use crate::model_kind::ModelKind;
use crate::natives::UnpackError;
use crate::nearest::nearest;
use crate::notice::{Activity, Caller, Notice, Work};
use crate::options::{StoreOptions, Variant};
use crate::pip::PipError;
use crate::source::{ParseSourceError, Source};
use crate::store::{FileRecord, Record, Store, StoreError};

pub use hub::{HubError, ParseEndpointError, ParseProxyError};
pub use local::LocalError;
pub use pypi::PyPiError;
pub use selection::SelectError;
pub use whole::NotWholeError;

/// What to pull and how.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// A name of the catalogue, a repository id, or a path.
    pub name: String,
    /// The name in the store, unless it follows from the above.
    pub store_name: Option<String>,
    /// Which of several files of a repository; what is said for every model gives way to what an
    /// entry of the catalogue needs.
    pub variant: Option<Variant>,
    /// Put a link into the store instead of a copy.
    pub link: bool,
    /// Pull again what is there.
    pub force: bool,
}

/// A model in its place.
#[derive(Debug)]
pub struct Pulled {
    /// The name in the store.
    pub name: String,
    /// What to give to a command.
    pub path: PathBuf,
    /// Size of all files, of those that links lead to as well.
    pub size_bytes: u64,
    /// The part of it that is not in the store: what links lead to.
    pub linked_bytes: u64,
    /// Whether it was there before.
    pub was_there: bool,
}

/// Why a model was not pulled.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum PullError {
    /// Not a name, not a repository id, not a path.
    #[error("unknown model \"{name}\": not in the catalogue, no org/repo, no such path")]
    Unknown {
        name: String,
        /// A name that is spelt almost like it.
        nearest: Option<String>,
    },
    /// The name belongs to another model.
    #[error("the name {name} is taken: expected {expected}, found {found}")]
    Taken { name: String, expected: String, found: String },
    /// A path that does not fit a link or a copy.
    #[error("only a path can be linked, and \"{name}\" is none")]
    LinkOfRemote { name: String },
    /// The catalogue cannot be read.
    #[error(transparent)]
    Catalog(#[from] ReadCatalogError),
    /// A source of the catalogue makes no sense.
    #[error(transparent)]
    Source(#[from] ParseSourceError),
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Locking failed.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// From the hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// From a wheel.
    #[error(transparent)]
    PyPi(#[from] PyPiError),
    /// From a path.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// What came is no whole model.
    #[error(transparent)]
    NotWhole(#[from] NotWholeError),
    /// The staging folder cannot be made or cleaned.
    #[error(transparent)]
    Staging(#[from] FileError),
}

impl PullError {
    /// Whether the caller stopped it.
    pub fn is_stop(&self) -> bool {
        match self {
            Self::Hub(error) => matches!(error, HubError::Interrupted),
            Self::PyPi(PyPiError::Pip(error)) => matches!(error, PipError::Interrupted),
            Self::PyPi(PyPiError::Unpack(error)) => matches!(error, UnpackError::Interrupted),
            Self::Local(error) => matches!(error, LocalError::Interrupted),
            Self::Lock(error) => matches!(error, LockError::Interrupted { .. }),
            _ => false,
        }
    }
}

/// A model that is wanted: what the user typed, completed from the catalogue.
struct Wanted {
    name: String,
    source: Source,
    licence: Option<String>,
    kind: Option<ModelKind>,
    files: Vec<String>,
    variant: Option<Variant>,
    size_bytes: Option<u64>,
    sha256: Option<String>,
    archive_sha256: Option<String>,
    archive_bytes: Option<u64>,
    parts: Vec<CatalogPart>,
}

/// What a source delivered into the staging folder.
struct Delivery {
    /// The source with the exact revision.
    source: String,
    /// The folder to install; the staging folder or one inside it.
    folder: PathBuf,
    /// Which of several, if there are several.
    variant: Option<String>,
    files: Vec<FileRecord>,
}

impl Delivery {
    /// The same, when a command could open it.
    fn checked(self) -> Result<Self, NotWholeError> {
        whole::check(&self.folder, self.files.iter().map(|file| file.path.as_str()))?;
        Ok(self)
    }
}

/// Pull one model.
///
/// # Errors
///
/// See [`PullError`]. The store is then as it was, but for what a next pull can continue.
pub fn pull(
    request: &PullRequest,
    options: &StoreOptions,
    caller: Caller<'_>,
) -> Result<Pulled, PullError> {
    let wanted = look_up(request, options)?;
    if request.link && !matches!(wanted.source, Source::File(_)) {
        return Err(PullError::LinkOfRemote { name: request.name.clone() });
    }
    let store = Store::new(options.models.clone());
    let on_wait = &mut |holder: &str| {
        let work = Work::new(Activity::Pulling, &wanted.name);
        caller.tell(Notice::Waiting { holder: holder.to_owned(), work });
    };
    let _lock = Lock::acquire(&store.lock_file(&wanted.name)?, on_wait, caller.is_stopped)?;
    if !request.force && is_there(&store, &wanted)? {
        return pulled(&store, &wanted.name, true);
    }
    let staging = store.staging(&wanted.name)?;
    let delivery = match &wanted.source {
        Source::Hub { repo, revision } => {
            make_folder(&staging)?;
            hub::fetch(repo, revision.as_deref(), &wanted, &staging, &options.hub, caller)?
                .checked()?
        }
        Source::PyPi { requirement, member } => throw_away_on_error(&staging, || {
            let delivery = pypi::fetch(requirement, member, &wanted, &staging, options, caller)?;
            Ok(delivery.checked().map_err(PyPiError::from)?)
        })?,
        Source::File(path) => throw_away_on_error(&staging, || {
            Ok(local::fetch(path, request.link, &wanted, &staging, caller)?)
        })?,
    };
    let record = Record {
        name: wanted.name,
        source: delivery.source,
        requested: Some(wanted.source.canonical()),
        variant: delivery.variant,
        kind: ModelKind::of_files(delivery.files.iter().map(|file| file.path.as_str())),
        licence: wanted.licence,
        files: delivery.files,
    };
    store.install(&delivery.folder, &record)?;
    if staging.exists() {
        remove_folder(&staging)?;
    }
    pulled(&store, &record.name, false)
}

/// Whether the very model that is wanted is in the store, and whole.
fn is_there(store: &Store, wanted: &Wanted) -> Result<bool, PullError> {
    let requested = wanted.source.canonical();
    let expected = match &wanted.variant {
        Some(variant) if !variant.is_default => format!("{requested} ({})", variant.name),
        _ => requested.clone(),
    };
    let taken = |found| PullError::Taken { name: wanted.name.clone(), expected, found };
    let Some(record) = store.record(&wanted.name) else {
        return match store.get(&wanted.name)? {
            Some(_) => Err(taken("a folder that was not pulled".to_owned())),
            None => Ok(false),
        };
    };
    let is_same_source = record.source == requested
        || match &record.requested {
            Some(other) => *other == requested,
            // Records once had no more than the exact revision.
            None => record.source.starts_with(&format!("{requested}@")),
        };
    let is_same_variant = match (&wanted.variant, &record.variant) {
        (Some(variant), found) if !variant.is_default => {
            found.as_ref().is_some_and(|found| found.eq_ignore_ascii_case(&variant.name))
        }
        // Nobody insists on another one.
        _ => true,
    };
    if !(is_same_source && is_same_variant) {
        let source = record.requested.unwrap_or(record.source);
        return Err(taken(match record.variant {
            Some(variant) => format!("{source} ({variant})"),
            None => source,
        }));
    }
    Ok(store.is_whole(&record))
}

fn pulled(store: &Store, name: &str, was_there: bool) -> Result<Pulled, PullError> {
    let model = store.get(name)?.ok_or_else(|| StoreError::NotFound {
        name: name.to_owned(),
        folder: store.root().to_path_buf(),
    })?;
    Ok(Pulled {
        name: model.name,
        path: model.path,
        size_bytes: model.size_bytes,
        linked_bytes: model.linked_bytes,
        was_there,
    })
}

fn look_up(request: &PullRequest, options: &StoreOptions) -> Result<Wanted, PullError> {
    let catalog = Catalog::load(&options.catalog_file)?;
    let asked = || request.variant.clone().filter(|variant| !variant.is_default);
    if let Some(entry) = catalog.get(&request.name) {
        return Ok(Wanted {
            name: request.store_name.clone().unwrap_or_else(|| entry.name.clone()),
            source: Source::parse(&entry.source)?,
            licence: Some(entry.licence.clone()),
            kind: Some(entry.kind),
            files: entry.files.clone(),
            // A default for every model must not override what one entry needs.
            variant: asked()
                .or_else(|| entry.variant.as_deref().map(Variant::asked))
                .or_else(|| request.variant.clone()),
            size_bytes: entry.size_bytes,
            sha256: entry.sha256.clone(),
            archive_sha256: entry.archive_sha256.clone(),
            archive_bytes: entry.archive_bytes,
            parts: entry.parts.clone(),
        });
    }
    let source = match Source::of_argument(&request.name)? {
        Some(source @ (Source::Hub { .. } | Source::File(_))) => source,
        // A wheel has no hash outside the catalogue.
        Some(Source::PyPi { .. }) | None => {
            let nearest = nearest(&request.name, catalog.names()).map(str::to_owned);
            return Err(PullError::Unknown { name: request.name.clone(), nearest });
        }
    };
    Ok(Wanted {
        name: request.store_name.clone().unwrap_or_else(|| source.store_name()),
        source,
        licence: None,
        kind: None,
        files: Vec::new(),
        variant: request.variant.clone(),
        size_bytes: None,
        sha256: None,
        archive_sha256: None,
        archive_bytes: None,
        parts: Vec::new(),
    })
}

/// Sources that cannot be continued start from nothing and leave nothing.
fn throw_away_on_error<T>(
    staging: &Path,
    work: impl FnOnce() -> Result<T, PullError>,
) -> Result<T, PullError> {
    if staging.exists() {
        remove_folder(staging)?;
    }
    make_folder(staging)?;
    let result = work();
    if result.is_err() {
        remove_folder(staging)?;
    }
    result
}

fn make_folder(path: &Path) -> Result<(), PullError> {
    Ok(std::fs::create_dir_all(path).map_err(FileError::cannot("write", path))?)
}

fn remove_folder(path: &Path) -> Result<(), PullError> {
    Ok(std::fs::remove_dir_all(path).map_err(FileError::cannot("write", path))?)
}
