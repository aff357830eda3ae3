//! A checkpoint's tensors at their planned precision, one at a time.

mod affine;

use half::f16;
use lapwing_quant::{Bits, Grid, GroupQuantized, quantize, relative_rms};

use lapwing_model::{Architecture, Llama};

use super::{ExportOptions, Precision};
use crate::checkpoint::{Checkpoint, Tensor};
use crate::error::ExportError;
use crate::head_map::HeadMap;
use crate::report::TensorReport;

/// One weight as the target shall store it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PlannedWeight {
    /// Row-major 32-bit floats.
    F32(Vec<f32>),
    /// Row-major 16-bit floats.
    F16(Vec<f16>),
    /// Codes, scales and zero points.
    Quantized(GroupQuantized),
}

/// The weights of a checkpoint after the plan, one at a time.
#[derive(Debug)]
pub(crate) struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    options: &'a ExportOptions,
    reports: Vec<TensorReport>,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint, options: &'a ExportOptions) -> Weights<'a> {
        Weights { checkpoint, options, reports: Vec::new() }
    }

    /// What is exported: a mapped head is no longer the embedding.
    pub(crate) fn architecture(&self) -> Architecture<Llama> {
        let mut architecture = self.checkpoint.architecture.clone();
        architecture.family.tied_head &= self.options.head_map.is_none();
        architecture
    }

    /// What is added to the logits; none without a head map.
    ///
    /// Shapes: `[n_vocab]`.
    ///
    /// # Errors
    ///
    /// When an entry is not finite.
    pub(crate) fn logits_constant(&self) -> Result<Option<Vec<f32>>, ExportError> {
        let Some(map) = &self.options.head_map else { return Ok(None) };
        Ok(Some(map.constant(&self.checkpoint.head()?)?))
    }

    /// The map to fold into this tensor.
    fn map_of(&self, name: &str) -> Option<&'a HeadMap> {
        self.options.head_map.as_ref().filter(|_| name == Llama::HEAD)
    }

    /// The checkpoint's tensor; a mapped head is made from the embedding where that is the head.
    fn tensor(&self, name: &str) -> Result<Tensor<'a>, ExportError> {
        Ok(match self.map_of(name) {
            Some(_) => self.checkpoint.head()?,
            None => self.checkpoint.tensor(name)?,
        })
    }

    /// The precision that the plan gives a tensor; see [`ExportOptions::precision`].
    ///
    /// # Errors
    ///
    /// When the checkpoint has no such tensor.
    pub(crate) fn precision(&self, name: &str) -> Result<Precision, ExportError> {
        let tensor = self.tensor(name)?;
        Ok(self.options.precision(name, tensor.shape.len()))
    }

    /// The tensor at its planned precision.
    ///
    /// # Errors
    ///
    /// When the tensor is missing or cannot be stored at that precision.
    pub(crate) fn take(&mut self, name: &str) -> Result<PlannedWeight, ExportError> {
        self.take_as(name, self.precision(name)?)
    }

    /// The tensor at another precision, where the target cannot express the planned one; the
    /// report then tells the precision used. Asking again replaces what the report says.
    ///
    /// # Errors
    ///
    /// As for [`Weights::take`].
    pub(crate) fn take_as(
        &mut self,
        name: &str,
        precision: Precision,
    ) -> Result<PlannedWeight, ExportError> {
        let (tensor, map) = (self.tensor(name)?, self.map_of(name));
        let elements = || map.map_or_else(|| Ok(tensor.to_f32()), |map| map.fold(&tensor));
        let grid = |bits, group_size, symmetric| {
            let own = if map.is_none() { tensor.own_grid() } else { None };
            on_grid(own, &tensor.shape, elements, name, Grid { bits, group_size, symmetric })
        };
        let (weight, relative_rms, kept_grid) = match precision {
            Precision::F32 => (PlannedWeight::F32(elements()?), 0.0, false),
            Precision::F16 => {
                let (halves, error) = to_f16(&elements()?, name)?;
                (PlannedWeight::F16(halves), error, false)
            }
            Precision::Int8 { group_size, symmetric } => {
                grid(Bits::Eight, group_size.unwrap_or(usize::MAX), symmetric)?
            }
            Precision::Int4 { group_size, symmetric } => grid(Bits::Four, group_size, symmetric)?,
        };
        if tensor.shape.len() > 1 {
            let report = TensorReport {
                name: name.to_owned(),
                source_dtype: tensor.dtype_name(),
                asked: self.options.precision(name, tensor.shape.len()).to_string(),
                precision: precision.to_string(),
                lost_grid: !kept_grid && map.is_none() && has_affine_grid(&tensor, precision),
                shape: tensor.shape,
                kept_grid,
                relative_rms,
            };
            self.reports.retain(|earlier| earlier.name != report.name);
            self.reports.push(report);
        }
        Ok(weight)
    }

    /// How each matrix taken so far was stored.
    pub(crate) fn into_reports(self) -> Vec<TensorReport> {
        self.reports
    }
}

/// Whether the checkpoint has codes of just this width and these groups, with any zero points.
fn has_affine_grid(tensor: &Tensor<'_>, precision: Precision) -> bool {
    let Precision::Int4 { group_size, symmetric: false } = precision else { return false };
    tensor.own_affine_grid().is_some_and(|grid| grid.group_size == group_size)
}

/// The weight, its relative error, and whether the checkpoint's own codes were kept.
type OnGrid = (PlannedWeight, f64, bool);

/// The checkpoint's own codes where they are on the grid already, else codes of ours.
fn on_grid(
    own: Option<GroupQuantized>,
    shape: &[usize],
    elements: impl Fn() -> Result<Vec<f32>, ExportError>,
    name: &str,
    mut grid: Grid,
) -> Result<OnGrid, ExportError> {
    let &[n_rows, n_columns] = shape else {
        return Ok((PlannedWeight::F32(elements()?), 0.0, false));
    };
    grid.group_size = grid.group_size.min(n_columns);
    if let Some(own) = own.filter(|own| own.grid == grid) {
        return Ok((PlannedWeight::Quantized(own), 0.0, true));
    }
    let elements = elements()?;
    let quantized = quantize(&elements, n_rows, n_columns, grid)
        .map_err(|source| ExportError::Quantize { name: name.to_owned(), source })?;
    let mut approximation = vec![0.0; elements.len()];
    quantized.dequantize(&mut approximation);
    let error = relative_rms(&elements, &approximation);
    Ok((PlannedWeight::Quantized(quantized), error, false))
}

fn to_f16(elements: &[f32], name: &str) -> Result<(Vec<f16>, f64), ExportError> {
    let halves: Vec<f16> = elements.iter().map(|&element| f16::from_f32(element)).collect();
    let overflow = elements.iter().zip(&halves).find(|(_, half)| !half.is_finite());
    if let Some((&found, _)) = overflow {
        return Err(ExportError::Range { name: name.to_owned(), found });
    }
    let approximation: Vec<f32> = halves.iter().map(|half| half.to_f32()).collect();
    let error = relative_rms(elements, &approximation);
    Ok((halves, error))
}
