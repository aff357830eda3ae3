//! Why an export failed.

use std::path::PathBuf;

use lapwing_files::FileError;
use lapwing_formats::FileChanged;
use lapwing_quant::QuantizeError;
use lapwing_weights::{OpenCheckpointError, ReadTensorError};

/// Why an export failed. Nothing is left behind then.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ExportError {
    /// The source could not be opened.
    #[error(transparent)]
    Open(#[from] OpenCheckpointError),
    /// A tensor could not be read.
    #[error(transparent)]
    Read(#[from] ReadTensorError),
    /// Somebody wrote to the checkpoint meanwhile.
    #[error(transparent)]
    Changed(#[from] FileChanged),
    /// A tensor could not be quantised.
    #[error("cannot quantise {name}")]
    Quantize { name: String, source: QuantizeError },
    /// The target has no way to say what the checkpoint or the plan asks.
    #[error("the {target} folder cannot hold this: expected {expected}, found {found}")]
    Unsupported {
        /// `OpenVINO` or `ONNX`.
        target: &'static str,
        expected: String,
        found: String,
    },
    /// A folder with files in it is already there.
    #[error("{} already exists and is not empty", path.display())]
    OutputExists { path: PathBuf },
    /// A file or folder could not be written.
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    /// The graph could not be encoded.
    #[error("cannot write the graph {}", path.display())]
    Graph { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    /// What is at the output is no earlier export, or holds the source: it is not replaced.
    #[error("cannot replace {}: expected an earlier export, found {found}", path.display())]
    NotAnExport { path: PathBuf, found: &'static str },
    /// A weight is NaN or infinite: every answer of such a model would be.
    #[error("{name}: expected finite weights, found {found} as element {index}")]
    NotFinite { name: String, index: usize, found: f32 },
    /// A weight does not fit 16 bits.
    #[error("{name}: expected weights up to 65504, the most of f16, found {found}")]
    Range { name: String, found: f32 },
    /// The head map does not fit the checkpoint.
    #[error("the head map does not fit: expected {expected}, found {found}")]
    HeadMap { expected: String, found: String },
    /// The head map was fitted to hidden states that this export does not have.
    #[error(
        "the head map was fitted to another body: {what}: expected {expected}, found {found} \
         in this export"
    )]
    OtherBody { what: &'static str, expected: String, found: String },
    /// The caller's progress hook broke.
    #[error("the export was stopped")]
    Stopped,
}

impl ExportError {
    /// The refusal of experts that one constant cannot hold.
    pub(crate) fn unlike_experts(target: &'static str, module: &str) -> ExportError {
        let expected = "experts of a layer with one precision".to_owned();
        ExportError::Unsupported { target, expected, found: format!("several, in {module}") }
    }
}

impl From<FileError> for ExportError {
    fn from(error: FileError) -> Self {
        Self::Write { path: error.path, source: error.source }
    }
}
