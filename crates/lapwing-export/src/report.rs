//! What an export did, tensor by tensor.

use std::path::PathBuf;

use serde::Serialize;

/// What an export wrote.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExportReport {
    /// The finished folder.
    pub folder: PathBuf,
    /// One entry a weight matrix, in the order of writing.
    pub tensors: Vec<TensorReport>,
}

impl ExportReport {
    /// Matrices stored at another precision than was asked for: the target has no such groups.
    pub fn n_other_precision(&self) -> usize {
        let is_other =
            |tensor: &&TensorReport| !tensor.kept_grid && tensor.asked != tensor.precision;
        self.tensors.iter().filter(is_other).count()
    }

    /// Matrices whose own codes were quantised a second time; see [`TensorReport::lost_grid`].
    pub fn n_lost_grids(&self) -> usize {
        self.tensors.iter().filter(|tensor| tensor.lost_grid).count()
    }
}

/// How one weight matrix was stored and what that cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorReport {
    /// Hugging Face name.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// How the checkpoint stored it, e.g. `Q4_1`.
    pub source_dtype: String,
    /// The precision that was asked for, e.g. `int4 group 32 symmetric`.
    pub asked: String,
    /// How the folder stores it; other than asked where the target cannot hold that, or where the
    /// checkpoint's MXFP4 was kept.
    pub precision: String,
    /// Whether the checkpoint's own codes were kept.
    pub kept_grid: bool,
    /// Whether the checkpoint's own codes have the width and groups asked for, and the target
    /// cannot hold their zero points, or MXFP4, also as eight bits where a scale is beyond f16: they
    /// were quantised again, to the nearest grid it can hold.
    pub lost_grid: bool,
    /// Root mean square of the error over that of the weights.
    pub relative_rms: f64,
}
