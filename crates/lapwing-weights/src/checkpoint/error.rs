//! What can be wrong with a checkpoint.

use std::path::PathBuf;

use lapwing_formats::gguf::OpenGgufError;
use lapwing_formats::safetensors::OpenSafeTensorsError;

/// Why a checkpoint could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenCheckpointError {
    /// Neither a GGUF file nor a folder with a configuration and safetensors.
    #[error(
        "{} is no checkpoint: expected a GGUF file, or a folder with config.json and safetensors, \
         found {found}",
        path.display()
    )]
    Unrecognised {
        /// What was given.
        path: PathBuf,
        /// What is there; of a file its first bytes.
        found: String,
    },
    /// A model folder that runs as it is, without the weights of a checkpoint.
    #[error(
        "{} is an export already ({kind}): expected a GGUF file, or a folder with config.json and \
         safetensors",
        path.display()
    )]
    AlreadyExported {
        /// The folder.
        path: PathBuf,
        /// Its kind, as records name it.
        kind: &'static str,
    },
    /// The GGUF file is damaged or unreadable.
    #[error(transparent)]
    Gguf(#[from] OpenGgufError),
    /// A safetensors file is damaged or unreadable.
    #[error(transparent)]
    SafeTensors(#[from] OpenSafeTensorsError),
    /// A small file of the folder could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A small file of the folder is no JSON of the right form.
    #[error("cannot read {}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The checkpoint is sound but not one that can be exported.
    #[error("cannot export {}: {what}: expected {expected}, found {found}", path.display())]
    Unsupported {
        /// The checkpoint.
        path: PathBuf,
        /// The key or property.
        what: String,
        /// What can be exported.
        expected: String,
        /// What the checkpoint says.
        found: String,
    },
    /// A tensor that the configuration calls for is not there.
    #[error("{} has no tensor {name}", path.display())]
    MissingTensor {
        /// The checkpoint.
        path: PathBuf,
        /// Its name in the file.
        name: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{}: shape of {name}: expected {expected:?}, found {found:?}", path.display())]
    Shape {
        /// The checkpoint.
        path: PathBuf,
        /// Its name in the file.
        name: String,
        /// The shape by the configuration, outermost first.
        expected: Vec<usize>,
        /// The shape in the file, outermost first.
        found: Vec<usize>,
    },
    /// A tensor that the graph would leave out.
    #[error("{} has a tensor that no llama-family graph uses: {name}", path.display())]
    UnexpectedTensor {
        /// The checkpoint.
        path: PathBuf,
        /// Its name in the file.
        name: String,
    },
}
