//! Where the weights come from, one at a time, while somebody watches.

use std::ops::ControlFlow;

use crate::error::ExportError;
use crate::plan::{PlannedWeight, Precision, TakeWeight};
use crate::progress::{OnProgress, Progress};

/// Weights, and somebody who watches them being taken.
pub(crate) struct Source<'a> {
    weights: &'a mut dyn TakeWeight,
    on_progress: OnProgress<'a>,
    n_tensors_done: usize,
    n_tensors: usize,
}

impl<'a> Source<'a> {
    pub(crate) fn new(
        weights: &'a mut dyn TakeWeight,
        on_progress: OnProgress<'a>,
        n_tensors: usize,
    ) -> Source<'a> {
        Source { weights, on_progress, n_tensors_done: 0, n_tensors }
    }

    /// See [`TakeWeight::precision`].
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn precision(&self, name: &str) -> Result<Precision, ExportError> {
        self.weights.precision(name)
    }

    /// The next matrix, at its planned precision.
    ///
    /// # Errors
    ///
    /// When it cannot be read or quantised, or the watcher stops the export.
    pub(crate) fn matrix(&mut self, name: &str) -> Result<PlannedWeight, ExportError> {
        self.matrix_as(name, self.weights.precision(name)?)
    }

    /// The next matrix, at another precision.
    ///
    /// # Errors
    ///
    /// As for [`Source::matrix`].
    pub(crate) fn matrix_as(
        &mut self,
        name: &str,
        precision: Precision,
    ) -> Result<PlannedWeight, ExportError> {
        let Source { n_tensors_done, n_tensors, .. } = *self;
        let progress = Progress { name, n_tensors_done, n_tensors };
        if let ControlFlow::Break(()) = (self.on_progress)(progress) {
            return Err(ExportError::Stopped);
        }
        self.n_tensors_done += 1;
        self.weights.take_as(name, precision)
    }

    /// The next vector (a norm or a bias), which no plan quantises.
    ///
    /// # Errors
    ///
    /// As for [`Source::matrix`].
    pub(crate) fn vector(&mut self, name: &str) -> Result<Vec<f32>, ExportError> {
        match self.matrix_as(name, Precision::F32)? {
            PlannedWeight::F32(values) => Ok(values),
            other => unreachable!("{name} was asked for as floats, found {other:?}"),
        }
    }

    /// See [`TakeWeight::fine_head`].
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn fine_head(&mut self) -> Result<Option<PlannedWeight>, ExportError> {
        self.weights.fine_head()
    }

    /// See [`TakeWeight::logits_constant`].
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn logits_constant(&self) -> Result<Option<Vec<f32>>, ExportError> {
        self.weights.logits_constant()
    }
}
