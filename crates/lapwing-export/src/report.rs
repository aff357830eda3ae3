//! What an export did, tensor by tensor.

use std::path::PathBuf;

/// What an export wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportReport {
    /// The finished folder.
    pub folder: PathBuf,
    /// One entry a weight matrix, in the order of writing.
    pub tensors: Vec<TensorReport>,
}

/// How one weight matrix was stored and what that cost.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorReport {
    /// Hugging Face name.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// How the checkpoint stored it, e.g. `Q4_1`.
    pub source_dtype: String,
    /// How the folder stores it, e.g. `int4 group 32 symmetric`.
    pub precision: String,
    /// Whether the checkpoint's own codes were kept.
    pub kept_grid: bool,
    /// Root mean square of the error over that of the weights.
    pub relative_rms: f64,
}
