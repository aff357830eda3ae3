//! What can be wrong with a checkpoint.

use std::error::Error;
use std::path::{Path, PathBuf};

use lapwing_formats::gguf::OpenGgufError;
use lapwing_formats::safetensors::OpenSafeTensorsError;

/// Why a checkpoint could not be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum OpenCheckpointError {
    /// Neither a GGUF file nor a folder with a configuration and safetensors.
    #[error(
        "{} is no checkpoint: expected a GGUF file, or a folder with config.json and \
         model.safetensors or model.safetensors.index.json, found {found}",
        path.display()
    )]
    Unrecognised {
        path: PathBuf,
        /// What is there; of a file its first bytes.
        found: String,
    },
    /// Weights that only a program of another kind reads.
    #[error("{}: weights: expected safetensors or GGUF, found {found}", path.display())]
    OtherFormat {
        path: PathBuf,
        /// The name of the file.
        found: String,
    },
    /// A model folder that runs as it is, without the weights of a checkpoint.
    #[error(
        "{} is an export already ({kind}): expected a GGUF file, or a folder with config.json and \
         safetensors",
        path.display()
    )]
    AlreadyExported { path: PathBuf, kind: &'static str },
    /// The GGUF file is damaged or unreadable.
    #[error(transparent)]
    Gguf(#[from] OpenGgufError),
    /// A safetensors file is damaged or unreadable.
    #[error(transparent)]
    SafeTensors(#[from] OpenSafeTensorsError),
    /// A small file of the folder could not be read, or is not of the right form.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: Box<dyn Error + Send + Sync> },
    /// The checkpoint is sound but not one that can be exported.
    #[error("{}: {what}: expected {expected}, found {found}", path.display())]
    Unsupported { path: PathBuf, what: String, expected: String, found: String },
    /// Its tensors are not those that the configuration calls for.
    #[error("{}{problem}", path.display())]
    Tensors { path: PathBuf, problem: String },
}

impl OpenCheckpointError {
    /// For `map_err`, of a small file.
    pub(super) fn read<E>(path: &Path) -> impl FnOnce(E) -> OpenCheckpointError
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        move |source| OpenCheckpointError::Read { path: path.to_owned(), source: source.into() }
    }

    /// Shapes: outermost first.
    pub(super) fn shape(
        path: &Path,
        name: &str,
        expected: &[usize],
        found: &[usize],
    ) -> OpenCheckpointError {
        let problem = format!(": shape of {name}: expected {expected:?}, found {found:?}");
        OpenCheckpointError::Tensors { path: path.to_owned(), problem }
    }
}

/// That the checkpoint at `path` is sound, but cannot be exported for what was found.
pub(super) fn unsupported(
    path: &Path,
    what: impl Into<String>,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> OpenCheckpointError {
    let (path, what, expected, found) = (path.into(), what.into(), expected.into(), found.into());
    OpenCheckpointError::Unsupported { path, what, expected, found }
}
