//! Some consecutive rows of a sequence, kept together.

use std::slice::ChunksExact;

use lapwing_backend::Row;
use lapwing_model::TokenId;

/// Memory for the rows of one model.
const BYTES_MAX: usize = 16 << 20;

/// Rows at most: more would not make the matrix products faster.
const N_ROWS_MAX: usize = 64;

/// Consecutive rows of a model and of its reference, and what followed them in the text.
pub(crate) struct RowBlock {
    n_tokens: usize,
    n_rows_max: usize,
    first_position: usize,
    next: Vec<TokenId>,
    model: Vec<f32>,
    /// Empty without a reference.
    reference: Vec<f32>,
    /// Empty where the model gives no hidden states.
    hidden: Vec<f32>,
    /// Empty without a reference or where it gives none.
    reference_hidden: Vec<f32>,
}

impl RowBlock {
    /// A block for at most `n_rows_max` rows.
    pub(crate) fn new(n_tokens: usize, n_rows_max: usize) -> RowBlock {
        RowBlock {
            n_tokens,
            n_rows_max: n_rows_max.max(1),
            first_position: 0,
            next: Vec::new(),
            model: Vec::new(),
            reference: Vec::new(),
            hidden: Vec::new(),
            reference_hidden: Vec::new(),
        }
    }

    /// A block of as many rows as are worth keeping together.
    pub(crate) fn of_good_size(n_tokens: usize) -> RowBlock {
        let n_rows = BYTES_MAX / size_of::<f32>() / n_tokens.max(1);
        RowBlock::new(n_tokens, n_rows.clamp(1, N_ROWS_MAX))
    }

    pub(crate) fn clear(&mut self) {
        self.next.clear();
        self.model.clear();
        self.reference.clear();
        self.hidden.clear();
        self.reference_hidden.clear();
    }

    /// Append the rows of one position, the next one, and the token that follows in the text.
    ///
    /// Shapes: logits `[n_tokens]`; either all rows have a reference and hidden states, or none.
    pub(crate) fn push(&mut self, reference: Option<Row<'_>>, model: Row<'_>, next: TokenId) {
        assert_eq!(model.logits.len(), self.n_tokens, "a row of the block's vocabulary");
        if self.next.is_empty() {
            self.first_position = model.token_idx;
        }
        self.next.push(next);
        self.model.extend_from_slice(model.logits);
        self.hidden.extend_from_slice(model.hidden.unwrap_or_default());
        if let Some(reference) = reference {
            self.reference.extend_from_slice(reference.logits);
            self.reference_hidden.extend_from_slice(reference.hidden.unwrap_or_default());
        }
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.next.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.n_rows_max <= self.n_rows()
    }

    /// Place in the window of the token that a row follows.
    pub(crate) fn position(&self, row_idx: usize) -> usize {
        self.first_position + row_idx
    }

    /// The token that follows in the text.
    pub(crate) fn next(&self, row_idx: usize) -> TokenId {
        self.next[row_idx]
    }

    pub(crate) fn model(&self, row_idx: usize) -> &[f32] {
        &self.model[row_idx * self.n_tokens..][..self.n_tokens]
    }

    pub(crate) fn reference(&self, row_idx: usize) -> Option<&[f32]> {
        self.reference.get(row_idx * self.n_tokens..)?.get(..self.n_tokens)
    }

    /// The hidden states of all rows, one after the other.
    pub(crate) fn hidden(&self) -> Option<&[f32]> {
        (!self.hidden.is_empty()).then_some(&self.hidden)
    }

    /// The hidden states of the reference and of the model, row by row.
    pub(crate) fn hidden_pairs(&self) -> Option<(ChunksExact<'_, f32>, ChunksExact<'_, f32>)> {
        let n_hidden = self.hidden.len().checked_div(self.n_rows())?;
        if n_hidden == 0 || self.reference_hidden.len() != self.hidden.len() {
            return None;
        }
        Some((self.reference_hidden.chunks_exact(n_hidden), self.hidden.chunks_exact(n_hidden)))
    }
}
