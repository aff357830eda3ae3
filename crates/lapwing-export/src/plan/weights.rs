//! A checkpoint's tensors at their planned precision, one at a time.

use half::f16;
use lapwing_formats::mx::N_BLOCK_ELEMENTS;
use lapwing_model::{Architecture, Transformer};
use lapwing_quant::{Bits, Grid, GroupQuantized, quantize, relative_rms};
use lapwing_weights::{Checkpoint, Codes, MxCodes, Tensor};
use ndarray::{Array2, ArrayView2};

use super::{ExportOptions, FINE_HEAD, Precision};
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
    /// The checkpoint's own codes of 4 bits, whose zero may lie between two of them: only for a
    /// target that holds such zero points.
    Affine(Codes),
    /// The checkpoint's own MXFP4: only for a target that holds it.
    Mx(MxCodes),
}

/// Gives weights by their Hugging Face names, as [`Weights`] does.
pub(crate) trait TakeWeight {
    /// The precision that the plan gives a tensor; see [`ExportOptions::precision`].
    ///
    /// # Errors
    ///
    /// When there is no such tensor.
    fn precision(&self, name: &str) -> Result<Precision, ExportError>;

    /// The tensor at a precision, which is the planned one where the target can express it; the
    /// report then tells the precision used. Asking again replaces what the report says.
    ///
    /// # Errors
    ///
    /// When the tensor is missing or cannot be stored at that precision.
    fn take_as(&mut self, name: &str, precision: Precision) -> Result<PlannedWeight, ExportError>;

    /// The first rows of a tied head with 8 bits, where the plan has such, as [`FINE_HEAD`].
    ///
    /// # Errors
    ///
    /// As for [`TakeWeight::take_as`].
    fn fine_head(&mut self) -> Result<Option<PlannedWeight>, ExportError>;

    /// What is added to the logits; none without a head map.
    ///
    /// Shapes: `[n_vocab]`.
    ///
    /// # Errors
    ///
    /// When an entry is not finite.
    fn logits_constant(&self) -> Result<Option<Vec<f32>>, ExportError>;
}

/// The weights of a checkpoint after the plan, one at a time.
#[derive(Debug)]
pub(crate) struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    options: &'a ExportOptions,
    /// Whether the target takes zero points between two codes, and MXFP4.
    holds_any_grid: bool,
    reports: Vec<TensorReport>,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(
        checkpoint: &'a Checkpoint,
        options: &'a ExportOptions,
        holds_any_grid: bool,
    ) -> Weights<'a> {
        Weights { checkpoint, options, holds_any_grid, reports: Vec::new() }
    }

    /// What is exported: a mapped head is no longer the embedding.
    pub(crate) fn architecture(&self) -> Architecture<Transformer> {
        let mut architecture = self.checkpoint.architecture.clone();
        architecture.family.tied_head &= self.options.head_map.is_none();
        architecture
    }

    /// How each matrix taken so far was stored.
    pub(crate) fn into_reports(self) -> Vec<TensorReport> {
        self.reports
    }

    /// The map to fold into this tensor.
    fn map_of(&self, name: &str) -> Option<&'a HeadMap> {
        self.options.head_map.as_ref().filter(|_| name == Transformer::HEAD)
    }

    /// The checkpoint's tensor; a mapped head is made from the embedding where that is the head.
    fn tensor(&self, name: &str) -> Result<Tensor<'a>, ExportError> {
        Ok(match self.map_of(name) {
            Some(_) => self.checkpoint.head()?,
            None => self.checkpoint.tensor(name)?,
        })
    }

    /// The checkpoint's own codes where they are on the grid already, else codes of ours.
    fn on_grid(
        &self,
        tensor: &Tensor<'_>,
        map: Option<&HeadMap>,
        name: &str,
        mut grid: Grid,
    ) -> Result<Stored, ExportError> {
        let &[n_rows, n_columns] = tensor.shape.as_slice() else {
            return Ok(Stored::exact(PlannedWeight::F32(elements(tensor, map, name)?)));
        };
        grid.group_size = grid.group_size.min(n_columns);
        let own_mx = if map.is_none() && is_mx(grid) { tensor.mx_codes() } else { None };
        let mut lost_grid = own_mx.is_some();
        if let Some(own) = own_mx.filter(|_| self.holds_any_grid) {
            return Ok(Stored { kept_grid: true, ..Stored::exact(PlannedWeight::Mx(own)) });
        }
        let own = if map.is_none() { tensor.codes() } else { None };
        let own = own.filter(|own| is_on(own, grid));
        // Where its scales are within f16, eight bits hold it.
        lost_grid |= map.is_none() && own.is_none() && tensor.is_mx() && holds_mx(grid);
        lost_grid |= own.is_some() && !grid.symmetric && !self.holds_any_grid;
        if let Some(own) = own.filter(|_| !lost_grid) {
            let weight = match grid.symmetric {
                true => PlannedWeight::Quantized(as_quantized(own, grid)),
                false => PlannedWeight::Affine(own),
            };
            return Ok(Stored { kept_grid: true, ..Stored::exact(weight) });
        }
        let elements = elements(tensor, map, name)?;
        let stored = quantized(&elements, [n_rows, n_columns], name, grid)?;
        Ok(Stored { lost_grid, ..stored })
    }

    /// Note how a matrix was stored; `[asked, precision]`.
    fn report(
        &mut self,
        name: &str,
        shape: Vec<usize>,
        source_dtype: String,
        [asked, precision]: [Precision; 2],
        stored: &Stored,
    ) {
        self.reports.retain(|earlier| earlier.name != name);
        self.reports.push(TensorReport {
            name: name.to_owned(),
            shape,
            source_dtype,
            asked: asked.to_string(),
            precision: match stored.weight {
                PlannedWeight::Mx(_) => format!("mxfp4 group {N_BLOCK_ELEMENTS}"),
                _ => precision.to_string(),
            },
            kept_grid: stored.kept_grid,
            lost_grid: stored.lost_grid,
            relative_rms: stored.relative_rms,
        });
    }
}

impl TakeWeight for Weights<'_> {
    fn precision(&self, name: &str) -> Result<Precision, ExportError> {
        let tensor = self.tensor(name)?;
        Ok(self.options.precision(name, tensor.shape.len()))
    }

    fn take_as(&mut self, name: &str, precision: Precision) -> Result<PlannedWeight, ExportError> {
        let (tensor, map) = (self.tensor(name)?, self.map_of(name));
        let on_grid = |bits, group_size, symmetric| {
            self.on_grid(&tensor, map, name, Grid { bits, group_size, symmetric })
        };
        let stored = match precision {
            Precision::F32 => Stored::exact(PlannedWeight::F32(elements(&tensor, map, name)?)),
            Precision::F16 => to_f16(&elements(&tensor, map, name)?, name)?,
            Precision::Int8 { group_size, symmetric } => {
                on_grid(Bits::Eight, group_size.unwrap_or(usize::MAX), symmetric)?
            }
            Precision::Int4 { group_size, symmetric } => {
                on_grid(Bits::Four, group_size, symmetric)?
            }
        };
        if tensor.shape.len() > 1 {
            let asked = self.options.precision(name, tensor.shape.len());
            let dtype_name = tensor.dtype_name();
            self.report(name, tensor.shape, dtype_name, [asked, precision], &stored);
        }
        Ok(stored.weight)
    }

    fn fine_head(&mut self) -> Result<Option<PlannedWeight>, ExportError> {
        if !self.architecture().family.tied_head || self.options.n_fine_head_rows == 0 {
            return Ok(None);
        }
        let tensor = self.tensor(Transformer::EMBEDDING)?;
        let mut elements = elements(&tensor, None, Transformer::EMBEDDING)?;
        let n_columns = tensor.shape.last().copied().unwrap_or_default();
        elements.truncate(self.options.n_fine_head_rows.saturating_mul(n_columns));
        let shape = [elements.len() / n_columns.max(1), n_columns];
        let precision = self.options.fine_head();
        let Precision::Int8 { symmetric, .. } = precision else {
            unreachable!("the rows have 8 bits, found {precision}");
        };
        let grid = Grid { bits: Bits::Eight, group_size: n_columns, symmetric };
        let stored = quantized(&elements, shape, FINE_HEAD, grid)?;
        self.report(FINE_HEAD, shape.to_vec(), tensor.dtype_name(), [precision; 2], &stored);
        Ok(Some(stored.weight))
    }

    fn logits_constant(&self) -> Result<Option<Vec<f32>>, ExportError> {
        let Some(map) = &self.options.head_map else { return Ok(None) };
        Ok(Some(map.constant(&self.checkpoint.head()?)?))
    }
}

/// A weight and what storing it so costs; see [`TensorReport`].
struct Stored {
    weight: PlannedWeight,
    relative_rms: f64,
    kept_grid: bool,
    lost_grid: bool,
}

impl Stored {
    fn exact(weight: PlannedWeight) -> Stored {
        Stored { weight, relative_rms: 0.0, kept_grid: false, lost_grid: false }
    }
}

/// Codes of ours.
fn quantized(
    elements: &[f32],
    [n_rows, n_columns]: [usize; 2],
    name: &str,
    grid: Grid,
) -> Result<Stored, ExportError> {
    let matrix = ArrayView2::from_shape((n_rows, n_columns), elements);
    let quantized = quantize(matrix.expect("a tensor has as many elements as its shape"), grid)
        .map_err(|source| ExportError::Quantize { name: name.to_owned(), source })?;
    let relative_rms = relative_rms(elements.iter(), quantized.dequantize().iter());
    Ok(Stored { relative_rms, ..Stored::exact(PlannedWeight::Quantized(quantized)) })
}

/// The elements, mapped where there is a map. No precision takes one that is NaN or infinite.
fn elements(
    tensor: &Tensor<'_>,
    map: Option<&HeadMap>,
    name: &str,
) -> Result<Vec<f32>, ExportError> {
    let elements = match map {
        Some(map) => map.fold(tensor)?,
        None => tensor.to_f32(),
    };
    match elements.iter().position(|element| !element.is_finite()) {
        Some(index) => {
            Err(ExportError::NotFinite { name: name.to_owned(), index, found: elements[index] })
        }
        None => Ok(elements),
    }
}

/// Whether these codes have just this width, these groups and zero points of this kind.
fn is_on(codes: &Codes, grid: Grid) -> bool {
    let is_symmetric = codes.zero_points.is_none();
    codes.n_bits == 8 / grid.bits.n_per_byte()
        && codes.group_size == grid.group_size
        && is_symmetric == grid.symmetric
}

/// Whether MXFP4 has just this width and these groups; where its zero is does not matter.
fn is_mx(grid: Grid) -> bool {
    (grid.bits, grid.group_size) == (Bits::Four, N_BLOCK_ELEMENTS)
}

/// Whether every element of MXFP4 has a code of these.
fn holds_mx(grid: Grid) -> bool {
    let groups = (grid.bits, grid.group_size, grid.symmetric);
    groups == (Bits::Eight, N_BLOCK_ELEMENTS, true)
}

/// Symmetric codes as a quantiser of ours would have made them.
fn as_quantized(own: Codes, grid: Grid) -> GroupQuantized {
    let Codes { n_rows, n_columns, codes, scales, .. } = own;
    const WHOLE: &str = "each row has as many codes and groups as the others";
    let n_groups = n_columns.div_ceil(grid.group_size);
    let n_row_bytes = n_columns.div_ceil(grid.bits.n_per_byte());
    let zero_points = Array2::from_elem((n_rows, n_groups), grid.bits.middle());
    let codes = Array2::from_shape_vec((n_rows, n_row_bytes), codes).expect(WHOLE);
    let scales = Array2::from_shape_vec((n_rows, n_groups), scales).expect(WHOLE);
    GroupQuantized { n_columns, grid, codes, scales, zero_points }
}

fn to_f16(elements: &[f32], name: &str) -> Result<Stored, ExportError> {
    let halves: Vec<f16> = elements.iter().map(|&element| f16::from_f32(element)).collect();
    let overflow = elements.iter().zip(&halves).find(|(_, half)| !half.is_finite());
    if let Some((&found, _)) = overflow {
        return Err(ExportError::Range { name: name.to_owned(), found });
    }
    let approximation: Vec<f32> = halves.iter().map(|half| half.to_f32()).collect();
    let relative_rms = relative_rms(elements.iter(), approximation.iter());
    Ok(Stored { relative_rms, ..Stored::exact(PlannedWeight::F16(halves)) })
}
