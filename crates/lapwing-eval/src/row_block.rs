//! Some consecutive rows of a sequence, kept together.

use lapwing_backend::Row;
use lapwing_model::TokenId;
use ndarray::ArrayView2;

/// Consecutive rows of a model and of its reference, and what followed them in the text.
#[derive(Clone, Copy, Debug)]
pub struct RowBlock<'a> {
    /// Place in the window of the token that the first row follows.
    pub first_position: usize,
    /// The token that follows in the text, one for each row.
    pub next: &'a [TokenId],
    pub(crate) model: Rows<'a>,
    pub(crate) reference: Option<Rows<'a>>,
}

impl<'a> RowBlock<'a> {
    /// Rows of a model without a reference, whatever follows them.
    pub(crate) fn of_model(model: Rows<'a>) -> RowBlock<'a> {
        RowBlock { first_position: 0, next: &[], model, reference: None }
    }

    /// How many rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.model.n_rows
    }

    /// A row of the model.
    #[must_use]
    pub fn model(&self, row_idx: usize) -> &'a [f32] {
        self.model.row(row_idx)
    }

    /// The reference's row after the same tokens; `None` without a reference.
    #[must_use]
    pub fn reference(&self, row_idx: usize) -> Option<&'a [f32]> {
        self.reference.map(|rows| rows.row(row_idx))
    }

    /// The model's hidden states, `[n_rows, n_hidden]`; `None` where it gives none.
    #[must_use]
    pub fn hidden(&self) -> Option<ArrayView2<'a, f32>> {
        self.model.hidden()
    }

    /// The reference's; `None` also without a reference.
    #[must_use]
    pub fn reference_hidden(&self) -> Option<ArrayView2<'a, f32>> {
        self.reference.and_then(Rows::hidden)
    }
}

/// Rows that were copied, one after the other.
#[derive(Default)]
pub(crate) struct RowBuffer {
    n_rows: usize,
    logits: Vec<f32>,
    hidden: Vec<f32>,
}

impl RowBuffer {
    pub(crate) fn n_rows(&self) -> usize {
        self.n_rows
    }

    pub(crate) fn clear(&mut self) {
        self.n_rows = 0;
        self.logits.clear();
        self.hidden.clear();
    }

    pub(crate) fn push(&mut self, row: Row<'_>, n_logits: usize) {
        self.n_rows += 1;
        self.logits.extend_from_slice(&row.logits[..n_logits]);
        self.hidden.extend_from_slice(row.hidden.unwrap_or_default());
    }

    pub(crate) fn rows(&self, n_logits: usize) -> Rows<'_> {
        Rows { n_rows: self.n_rows, n_logits, logits: &self.logits, hidden: &self.hidden }
    }
}

/// A view of rows: logits `[n_rows, n_logits]` and hidden states, which may be none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    n_rows: usize,
    n_logits: usize,
    logits: &'a [f32],
    hidden: &'a [f32],
}

impl<'a> Rows<'a> {
    fn row(self, row_idx: usize) -> &'a [f32] {
        &self.logits[row_idx * self.n_logits..][..self.n_logits]
    }

    fn hidden(self) -> Option<ArrayView2<'a, f32>> {
        let n_hidden = self.hidden.len().checked_div(self.n_rows).filter(|&n| n != 0)?;
        let shape = (self.n_rows, n_hidden);
        Some(ArrayView2::from_shape(shape, self.hidden).expect("as many as were pushed"))
    }

    /// The rows from `start` to before `end`.
    pub(crate) fn range(self, start: usize, end: usize) -> Rows<'a> {
        let n_hidden = self.hidden.len().checked_div(self.n_rows).unwrap_or(0);
        Rows {
            n_rows: end - start,
            n_logits: self.n_logits,
            logits: &self.logits[start * self.n_logits..end * self.n_logits],
            hidden: &self.hidden[start * n_hidden..end * n_hidden],
        }
    }
}
