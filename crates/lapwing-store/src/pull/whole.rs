//! Whether a file on this machine is whole, as far as it says itself how long it is.
//!
//! What comes from the hub or in a wheel has a hash; a path has none, and half a file would become
//! a model that fails only when somebody runs it.

use std::error::Error;
use std::path::{Path, PathBuf};

use lapwing_formats::gguf::Gguf;
use lapwing_formats::ir::IrModel;
use lapwing_formats::onnx::OnnxModel;
use lapwing_formats::safetensors::{SafeTensors, SafeTensorsFile};

/// Half a file, by what its own header says.
#[derive(Debug, thiserror::Error)]
#[error("the model is not whole")]
pub struct NotWholeError {
    /// The file with the header.
    pub path: PathBuf,
    /// Which file is short, what was expected and what was found.
    pub source: Box<dyn Error + Send + Sync>,
}

/// Read the headers of the model file at `path`, and of the files that hold its weights; any other
/// file is taken as it is.
///
/// # Errors
///
/// When the lengths in a header do not fit the file, or it cannot be read at all.
pub(super) fn check(path: &Path) -> Result<(), NotWholeError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let outcome: Result<(), Box<dyn Error + Send + Sync>> = match name.rsplit_once('.') {
        Some((_, "gguf")) => Gguf::open(path).map(drop).map_err(Into::into),
        Some((_, "safetensors")) => SafeTensorsFile::open(path).map(drop).map_err(Into::into),
        Some((_, "onnx")) => OnnxModel::open(path).map(drop).map_err(Into::into),
        Some((stem, "xml")) if stem.starts_with("openvino_") => {
            IrModel::open(path).map(drop).map_err(Into::into)
        }
        Some((stem, "json")) if stem.ends_with(".safetensors.index") => {
            SafeTensors::open_index(path).map(drop).map_err(Into::into)
        }
        _ => Ok(()),
    };
    outcome.map_err(|source| NotWholeError { path: path.to_owned(), source })
}
