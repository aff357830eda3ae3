//! Codes of the checkpoint whose zero lies between two of them.

use super::Weights;
use crate::checkpoint::AffineQuantized;
use crate::error::ExportError;
use crate::plan::Precision;
use crate::report::TensorReport;

impl Weights<'_> {
    /// The checkpoint's own codes for a target that takes any zero point, where `precision` asks
    /// for just their width and groups.
    ///
    /// # Errors
    ///
    /// When the tensor is missing.
    pub(crate) fn take_affine(
        &mut self,
        name: &str,
        precision: Precision,
    ) -> Result<Option<AffineQuantized>, ExportError> {
        let Precision::Int4 { group_size, symmetric: false } = precision else { return Ok(None) };
        if self.map_of(name).is_some() {
            return Ok(None);
        }
        let tensor = self.checkpoint.tensor(name)?;
        let grid = tensor.own_affine_grid().filter(|grid| grid.group_size == group_size);
        if grid.is_some() {
            let report = TensorReport {
                name: name.to_owned(),
                source_dtype: tensor.dtype_name(),
                asked: self.options.precision(name, tensor.shape.len()).to_string(),
                precision: precision.to_string(),
                shape: tensor.shape,
                kept_grid: true,
                lost_grid: false,
                relative_rms: 0.0,
            };
            self.reports.retain(|earlier| earlier.name != report.name);
            self.reports.push(report);
        }
        Ok(grid)
    }
}
