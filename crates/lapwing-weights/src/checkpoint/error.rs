//! What can be wrong with a checkpoint.

use std::path::PathBuf;

use lapwing_formats::gguf::OpenGgufError;
use lapwing_formats::safetensors::OpenSafeTensorsError;

/// Why a checkpoint could not be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum OpenCheckpointError {
    /// Neither a GGUF file nor a folder with a configuration and safetensors.
    #[error(
        "{} is no checkpoint: expected a GGUF file, or a folder with config.json and safetensors, \
         found {found}",
        path.display()
    )]
    Unrecognised {
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
    AlreadyExported { path: PathBuf, kind: &'static str },
    /// The GGUF file is damaged or unreadable.
    #[error(transparent)]
    Gguf(#[from] OpenGgufError),
    /// A safetensors file is damaged or unreadable.
    #[error(transparent)]
    SafeTensors(#[from] OpenSafeTensorsError),
    /// A small file of the folder could not be read.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// A small file of the folder is no JSON of the right form.
    #[error("cannot read {}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    /// The checkpoint is sound but not one that can be exported.
    #[error("cannot export {}: {what}: expected {expected}, found {found}", path.display())]
    Unsupported { path: PathBuf, what: String, expected: String, found: String },
    /// A tensor that the configuration calls for is not there.
    #[error("{} has no tensor {name}", path.display())]
    MissingTensor { path: PathBuf, name: String },
    /// A tensor has another shape than the configuration says.
    #[error("{}: shape of {name}: expected {expected:?}, found {found:?}", path.display())]
    Shape {
        path: PathBuf,
        name: String,
        /// The shape by the configuration, outermost first.
        expected: Vec<usize>,
        /// The shape in the file, outermost first.
        found: Vec<usize>,
    },
    /// A tensor that the graph would leave out.
    #[error("{} has a tensor that no llama-family graph uses: {name}", path.display())]
    UnexpectedTensor { path: PathBuf, name: String },
}
