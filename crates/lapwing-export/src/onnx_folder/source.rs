//! Where the weights come from, one at a time.

use std::ops::ControlFlow;

use crate::error::ExportError;
use crate::progress::{OnProgress, Progress};
use crate::plan::{PlannedWeight, Weights};

/// Gives weights by their Hugging Face names, as [`Weights`] does.
pub(super) trait TakeWeight {
    /// The tensor at its planned precision.
    ///
    /// # Errors
    ///
    /// When it is missing or cannot be quantised.
    fn take(&mut self, name: &str) -> Result<PlannedWeight, ExportError>;

    /// What is added to the logits, if anything.
    ///
    /// # Errors
    ///
    /// When an entry is not finite.
    fn logits_constant(&self) -> Result<Option<Vec<f32>>, ExportError>;
}

impl TakeWeight for Weights<'_> {
    fn take(&mut self, name: &str) -> Result<PlannedWeight, ExportError> {
        Weights::take(self, name)
    }

    fn logits_constant(&self) -> Result<Option<Vec<f32>>, ExportError> {
        Weights::logits_constant(self)
    }
}

/// Weights, and somebody who watches them being taken.
pub(super) struct Source<'a> {
    weights: &'a mut dyn TakeWeight,
    on_progress: OnProgress<'a>,
    n_tensors_done: usize,
    n_tensors: usize,
}

impl<'a> Source<'a> {
    pub(super) fn new(
        weights: &'a mut dyn TakeWeight,
        on_progress: OnProgress<'a>,
        n_tensors: usize,
    ) -> Source<'a> {
        Source { weights, on_progress, n_tensors_done: 0, n_tensors }
    }

    /// The next matrix.
    ///
    /// # Errors
    ///
    /// When it cannot be read or quantised, or the watcher stops the export.
    pub(super) fn matrix(&mut self, name: &str) -> Result<PlannedWeight, ExportError> {
        let Source { n_tensors_done, n_tensors, .. } = *self;
        let progress = Progress { name, n_tensors_done, n_tensors };
        if let ControlFlow::Break(()) = (self.on_progress)(progress) {
            return Err(ExportError::Stopped);
        }
        self.n_tensors_done += 1;
        self.weights.take(name)
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
        match self.matrix(name)? {
            PlannedWeight::F32(values) => Ok(values),
            PlannedWeight::F16(values) => Ok(values.iter().map(|value| value.to_f32()).collect()),
            PlannedWeight::Quantized(quantized) => {
                let mut values = vec![0.0; quantized.n_rows * quantized.n_columns];
                quantized.dequantize(&mut values);
                Ok(values)
            }
        }
    }
}
