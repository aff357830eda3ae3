//! Whether files are a whole model, before it becomes one of the store: as far as they say
//! themselves how long they are, and as far as the commands that open models ask for them.
//!
//! Half a model would fail only when somebody runs it.

use std::collections::HashSet;
use std::error::Error;
use std::path::{Path, PathBuf};

use lapwing_files::FileError;
use lapwing_files::regular::LfsPointer;
use lapwing_formats::gguf::Gguf;
use lapwing_formats::ir::IrModel;
use lapwing_formats::onnx::OnnxModel;
use lapwing_formats::safetensors::{SafeTensors, SafeTensorsFile};
use lapwing_model::{ModelFolder, OpenFolderError};

use crate::model_kind::ModelKind;

/// What a checkpoint in safetensors says of itself.
const CONFIG: &str = "config.json";

/// Why files are no whole model.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum NotWholeError {
    /// Half a file, by what its own header says, or without one that it names.
    #[error("the model is not whole")]
    File {
        /// The file with the header.
        path: PathBuf,
        /// Which file is short, what was expected and what was found.
        source: Box<dyn Error + Send + Sync>,
    },
    /// No folder that a command could open.
    #[error("the model could not be opened once it was in the store")]
    Folder(#[source] OpenFolderError),
    /// Weights of which nobody knows what they belong to.
    #[error("{} is missing, which says what the weights belong to", path.display())]
    NoConfig { path: PathBuf },
    /// One file of several.
    #[error("{} is one file of a model: expected the folder with all of them", path.display())]
    OneFile { path: PathBuf },
}

/// Check the model that consists of the files `names` in `folder`.
///
/// # Errors
///
/// When one of its files is missing or cut off.
pub(super) fn check<'a>(
    folder: &Path,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), NotWholeError> {
    let mut checked = HashSet::new();
    for name in names.clone() {
        check_file(&folder.join(name), &mut checked)?;
    }
    match ModelKind::of_files(names.clone()) {
        ModelKind::OpenVino | ModelKind::Onnx => {
            ModelFolder::open(folder, None).map(drop).map_err(NotWholeError::Folder)
        }
        ModelKind::Safetensors if !names.clone().any(|name| name == CONFIG) => {
            Err(NotWholeError::NoConfig { path: folder.join(CONFIG) })
        }
        ModelKind::Gguf | ModelKind::Safetensors | ModelKind::Unknown => Ok(()),
    }
}

/// Read the headers of the model file at `path`, and of the files that hold its weights; any other
/// file is taken as it is. The parts of a GGUF model, each of which stands for all, are `checked`
/// once.
fn check_file(path: &Path, checked: &mut HashSet<PathBuf>) -> Result<(), NotWholeError> {
    if checked.contains(path) {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let outcome: Result<(), Box<dyn Error + Send + Sync>> = match name.rsplit_once('.') {
        Some((_, "gguf")) => Gguf::open(path).map_err(Into::into).map(|model| {
            checked.extend(model.paths().map(Path::to_owned));
        }),
        Some((_, "safetensors")) => SafeTensorsFile::open(path).map(drop).map_err(Into::into),
        Some((_, "onnx")) => OnnxModel::open(path).map(drop).map_err(Into::into),
        Some((stem, "xml")) if stem.starts_with("openvino_") => {
            IrModel::open(path).map(drop).map_err(Into::into)
        }
        Some((stem, "json")) if stem.ends_with(".safetensors.index") => {
            SafeTensors::open_index(path).map(drop).map_err(Into::into)
        }
        Some((_, "json" | "jinja")) => LfsPointer::refuse_at(path)
            .map_err(|error| FileError::cannot("read", path)(error).into()),
        _ => Ok(()),
    };
    outcome.map_err(|source| NotWholeError::File { path: path.to_owned(), source })
}
