//! Where the weights come from, one at a time, at a precision that an IR can hold.

use std::ops::ControlFlow;

use crate::checkpoint::AffineQuantized;
use crate::error::ExportError;
use crate::progress::{OnProgress, Progress};
use crate::plan::{PlannedWeight, Precision, WHOLE_ROW, Weights};

/// Gives weights by their Hugging Face names, as [`Weights`] does.
pub(super) trait TakeWeight {
    /// The precision that the plan gives a tensor.
    ///
    /// # Errors
    ///
    /// When it is missing.
    fn precision(&self, name: &str) -> Result<Precision, ExportError>;

    /// The tensor at a precision.
    ///
    /// # Errors
    ///
    /// When it is missing or cannot be quantised.
    fn take_as(&mut self, name: &str, precision: Precision) -> Result<PlannedWeight, ExportError>;

    /// The checkpoint's own codes with any zero points, where they have just this precision.
    ///
    /// # Errors
    ///
    /// When the tensor is missing.
    fn take_affine(
        &mut self,
        name: &str,
        precision: Precision,
    ) -> Result<Option<AffineQuantized>, ExportError>;

    /// What is added to the logits, if anything.
    ///
    /// # Errors
    ///
    /// When an entry is not finite.
    fn logits_constant(&self) -> Result<Option<Vec<f32>>, ExportError>;
}

impl TakeWeight for Weights<'_> {
    fn precision(&self, name: &str) -> Result<Precision, ExportError> {
        Weights::precision(self, name)
    }

    fn take_as(&mut self, name: &str, precision: Precision) -> Result<PlannedWeight, ExportError> {
        Weights::take_as(self, name, precision)
    }

    fn take_affine(
        &mut self,
        name: &str,
        precision: Precision,
    ) -> Result<Option<AffineQuantized>, ExportError> {
        Weights::take_affine(self, name, precision)
    }

    fn logits_constant(&self) -> Result<Option<Vec<f32>>, ExportError> {
        Weights::logits_constant(self)
    }
}

/// A matrix as the IR shall hold it.
pub(super) enum Matrix {
    /// As the plan says.
    Planned(PlannedWeight),
    /// The checkpoint's own codes.
    Affine(AffineQuantized),
}

/// How a matrix was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// Its precision.
    pub(super) precision: Precision,
    /// Its size.
    pub(super) n_weights: usize,
    /// Whether it is the embedding or the head.
    pub(super) is_head: bool,
}

/// Weights, somebody who watches them being taken, and a list of how matrices were stored.
pub(super) struct Source<'a> {
    weights: &'a mut dyn TakeWeight,
    on_progress: OnProgress<'a>,
    n_tensors_done: usize,
    n_tensors: usize,
    written: Vec<Written>,
}

impl<'a> Source<'a> {
    pub(super) fn new(
        weights: &'a mut dyn TakeWeight,
        on_progress: OnProgress<'a>,
        n_tensors: usize,
    ) -> Source<'a> {
        Source { weights, on_progress, n_tensors_done: 0, n_tensors, written: Vec::new() }
    }

    /// How each matrix so far was stored.
    pub(super) fn written(&self) -> &[Written] {
        &self.written
    }

    /// The next matrix, `[n_rows, n_columns]`.
    ///
    /// A constant of an IR is a grid of whole groups. Where the plan's groups do not divide the
    /// columns, the matrix gets 8 bits with one scale a row.
    ///
    /// # Errors
    ///
    /// When it cannot be read or quantised, or the watcher stops the export.
    pub(super) fn matrix(
        &mut self,
        name: &str,
        [n_rows, n_columns]: [usize; 2],
    ) -> Result<Matrix, ExportError> {
        let precision = match self.weights.precision(name)? {
            Precision::Int4 { group_size, symmetric }
                if !divides(group_size, n_columns) || !n_columns.is_multiple_of(2) =>
            {
                Precision::Int8 { group_size: None, symmetric }
            }
            Precision::Int8 { group_size: Some(group_size), symmetric }
                if !divides(group_size, n_columns) =>
            {
                Precision::Int8 { group_size: None, symmetric }
            }
            precision => precision,
        };
        let is_head = matches!(name, "lm_head.weight" | "model.embed_tokens.weight");
        self.written.push(Written { precision, n_weights: n_rows * n_columns, is_head });
        self.announce(name)?;
        match self.weights.take_affine(name, precision)? {
            Some(affine) => Ok(Matrix::Affine(affine)),
            None => Ok(Matrix::Planned(self.weights.take_as(name, precision)?)),
        }
    }

    /// See [`TakeWeight::logits_constant`].
    ///
    /// # Errors
    ///
    /// As there.
    pub(super) fn logits_constant(&self) -> Result<Option<Vec<f32>>, ExportError> {
        self.weights.logits_constant()
    }

    /// The next vector (a norm or a bias), which no plan quantises.
    ///
    /// # Errors
    ///
    /// As for [`Source::matrix`].
    pub(super) fn vector(&mut self, name: &str) -> Result<Vec<f32>, ExportError> {
        self.announce(name)?;
        match self.weights.take_as(name, Precision::F32)? {
            PlannedWeight::F32(values) => Ok(values),
            PlannedWeight::F16(values) => Ok(values.iter().map(|value| value.to_f32()).collect()),
            PlannedWeight::Quantized(quantized) => {
                let mut values = vec![0.0; quantized.n_rows * quantized.n_columns];
                quantized.dequantize(&mut values);
                Ok(values)
            }
        }
    }

    fn announce(&mut self, name: &str) -> Result<(), ExportError> {
        let Source { n_tensors_done, n_tensors, .. } = *self;
        let progress = Progress { name, n_tensors_done, n_tensors };
        if let ControlFlow::Break(()) = (self.on_progress)(progress) {
            return Err(ExportError::Stopped);
        }
        self.n_tensors_done += 1;
        Ok(())
    }
}

/// Whether groups of this size fill the columns.
fn divides(group_size: usize, n_columns: usize) -> bool {
    group_size == WHOLE_ROW || (group_size != 0 && n_columns.is_multiple_of(group_size))
}
