//! The weights at a precision that an IR can hold.

use lapwing_model::Transformer;

use crate::error::ExportError;
use crate::plan::{PlannedWeight, Precision, WHOLE_ROW};
use crate::source::Source;

/// How a matrix was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// Its precision.
    pub(super) precision: Precision,
    /// Its size.
    pub(super) n_weights: usize,
    /// Whether it is the embedding or the head.
    pub(super) is_head: bool,
    /// Whether the checkpoint's MXFP4 was kept.
    pub(super) is_mx: bool,
}

/// Weights, and a list of how matrices were stored.
pub(super) struct Matrices<'a> {
    source: Source<'a>,
    written: Vec<Written>,
}

impl<'a> Matrices<'a> {
    pub(super) fn new(source: Source<'a>) -> Matrices<'a> {
        Matrices { source, written: Vec::new() }
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
    ) -> Result<PlannedWeight, ExportError> {
        let precision = match self.source.precision(name)? {
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
        let is_head = [Transformer::HEAD, Transformer::EMBEDDING].contains(&name);
        let weight = self.source.matrix_as(name, precision)?;
        let is_mx = matches!(weight, PlannedWeight::Mx(_));
        self.written.push(Written { precision, n_weights: n_rows * n_columns, is_head, is_mx });
        Ok(weight)
    }

    /// See [`Source::vector`].
    ///
    /// # Errors
    ///
    /// As there.
    pub(super) fn vector(&mut self, name: &str) -> Result<Vec<f32>, ExportError> {
        self.source.vector(name)
    }

    /// See [`Source::fine_head`].
    ///
    /// # Errors
    ///
    /// As there.
    pub(super) fn fine_head(&mut self) -> Result<Option<PlannedWeight>, ExportError> {
        self.source.fine_head()
    }

    /// See [`Source::logits_constant`].
    ///
    /// # Errors
    ///
    /// As there.
    pub(super) fn logits_constant(&self) -> Result<Option<Vec<f32>>, ExportError> {
        self.source.logits_constant()
    }
}

/// Whether groups of this size fill the columns.
fn divides(group_size: usize, n_columns: usize) -> bool {
    group_size == WHOLE_ROW || (group_size != 0 && n_columns.is_multiple_of(group_size))
}
