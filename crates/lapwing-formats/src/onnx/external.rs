//! Weights that lie in other files of the model's folder.

use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};

use lapwing_files::regular::{self, LfsPointer};

use super::proto::TensorProto;
use super::tensors::Stop;
use super::{ElementType, OnnxModel, OpenOnnxError, Place};

/// Where a weight's elements are, as the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalRange {
    /// File, relative to the model's folder.
    pub location: String,
    /// First byte.
    pub offset: u64,
    /// Number of bytes; none when the file does not say.
    pub length: Option<u64>,
}

/// Why a weight in another file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct ExternalError {
    /// What is wrong with it, or with the file.
    pub problem: String,
    /// What the system said, when the file cannot be looked at.
    pub source: Option<std::io::Error>,
}

fn unusable(problem: impl Into<String>) -> ExternalError {
    ExternalError { problem: problem.into(), source: None }
}

/// Check every tensor of the model.
///
/// # Errors
///
/// On the first one that cannot be used.
pub(super) fn check(model: &OnnxModel) -> Result<(), OpenOnnxError> {
    let mut checker = Checker { model, lengths: HashMap::new() };
    let checked = model.each_tensor(&mut |tensor| checker.tensor(tensor));
    checked.map_err(|stop| match stop {
        Stop::Failed(error) => error,
        Stop::Unreadable { node } => OpenOnnxError::External {
            path: model.path.clone(),
            name: format!("of node {node}"),
            source: unusable("it lies in a subgraph that cannot be read"),
        },
    })
}

impl OnnxModel {
    /// The files that tensors of the model lie in, relative to [`OnnxModel::folder`]: those of
    /// weights, also in subgraphs, of constants and of functions.
    ///
    /// # Errors
    ///
    /// When a tensor does not say where it lies; never of a model that was opened and not changed.
    pub fn tensor_files(&self) -> Result<BTreeSet<String>, ExternalError> {
        let mut files = BTreeSet::new();
        let look = &mut |tensor: &TensorProto| {
            if let Place::External(range) = tensor.place()? {
                files.insert(range.location);
            }
            Ok(())
        };
        self.each_tensor(look).map_err(|stop| match stop {
            Stop::Failed(error) => error,
            Stop::Unreadable { node } => unusable(format!("node {node} cannot be read")),
        })?;
        Ok(files)
    }
}

impl TensorProto {
    /// Where the elements are, as the file says.
    ///
    /// # Errors
    ///
    /// When they are in another file, and its location is missing or leads out of the folder, or a
    /// number is malformed.
    pub fn place(&self) -> Result<Place, ExternalError> {
        match self.is_external() {
            true => range(self).map(Place::External),
            false => Ok(Place::Inline),
        }
    }
}

/// What a weight says about its place.
///
/// # Errors
///
/// When the location is missing or leads out of the folder, or a number is malformed.
fn range(tensor: &TensorProto) -> Result<ExternalRange, ExternalError> {
    let value_of = |key: &str| {
        let entry = tensor.external_data.iter().find(|entry| entry.key() == key);
        entry.map(|entry| entry.value())
    };
    let number = |key: &'static str| match value_of(key) {
        None => Ok(None),
        Some(text) => text
            .parse::<u64>()
            .map(Some)
            .map_err(|_| unusable(format!("its {key} is no number: found {text:?}"))),
    };
    let location = value_of("location").ok_or_else(|| unusable("its location is missing"))?;
    if !is_inside(location) {
        return Err(unusable(format!(
            "its location {location:?} is not inside the model's folder"
        )));
    }
    Ok(ExternalRange {
        location: location.to_owned(),
        offset: number("offset")?.unwrap_or(0),
        length: number("length")?,
    })
}

/// Whether a location names something below the folder it is relative to.
fn is_inside(location: &str) -> bool {
    let mut components = Path::new(location).components().peekable();
    components.peek().is_some()
        && !location.contains(['\\', '\0'])
        && components.all(|component| matches!(component, Component::Normal(_) | Component::CurDir))
}

/// A pointer of git lfs is shorter, as its specification says.
const LFS_POINTER_BYTES_MAX: u64 = 1024;

struct Checker<'a> {
    model: &'a OnnxModel,
    /// Length of each file that was looked at; most models have one for all weights.
    lengths: HashMap<PathBuf, u64>,
}

impl Checker<'_> {
    fn tensor(&mut self, tensor: &TensorProto) -> Result<(), OpenOnnxError> {
        let element = ElementType::from_number(tensor.data_type());
        let n_bytes = element.n_bytes(&tensor.dims);
        if tensor.is_external() {
            return self.external(tensor, n_bytes).map_err(|source| OpenOnnxError::External {
                path: self.model.path.clone(),
                name: tensor.name().to_owned(),
                source,
            });
        }
        match (&tensor.raw_data, n_bytes) {
            (Some(raw), Some(expected)) if raw.len() as u64 != expected => {
                Err(OpenOnnxError::InlineLength {
                    path: self.model.path.clone(),
                    name: tensor.name().to_owned(),
                    expected,
                    found: raw.len() as u64,
                })
            }
            _ => Ok(()),
        }
    }

    fn external(
        &mut self,
        tensor: &TensorProto,
        n_bytes: Option<u64>,
    ) -> Result<(), ExternalError> {
        let range = range(tensor)?;
        if let (Some(expected), Some(found)) = (n_bytes, range.length)
            && expected != found
        {
            return Err(unusable(format!(
                "its length is wrong: expected {expected} bytes, found {found}"
            )));
        }
        let path = self.model.folder().join(&range.location);
        let found = self.length_of(&path)?;
        let n_bytes = range.length.or(n_bytes).unwrap_or(0);
        let expected = range.offset.saturating_add(n_bytes);
        if expected > found {
            return Err(unusable(format!(
                "{} is too short: expected at least {expected} bytes, found {found}",
                path.display()
            )));
        }
        Ok(())
    }

    fn length_of(&mut self, path: &Path) -> Result<u64, ExternalError> {
        if let Some(&length) = self.lengths.get(path) {
            return Ok(length);
        }
        let failed = |what: &'static str| {
            move |source| ExternalError {
                problem: format!("cannot {what} {}", path.display()),
                source: Some(source),
            }
        };
        let metadata = regular::metadata(path).map_err(failed("find"))?;
        if !metadata.is_file() {
            return Err(unusable(format!("{} is not a regular file", path.display())));
        }
        if metadata.len() < LFS_POINTER_BYTES_MAX {
            LfsPointer::refuse_at(path).map_err(failed("read"))?;
        }
        self.lengths.insert(path.to_owned(), metadata.len());
        Ok(metadata.len())
    }
}
