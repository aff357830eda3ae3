//! The rows of a model over a window, with those of a reference if there is one, in blocks.
//!
//! ```text
//! for each chunk of the window that fits in memory:
//!     the reference scores the chunk, its rows are kept
//!     the model scores the chunk: its rows are gathered, some dozens at a time, and given out
//!     with those of the reference
//! ```
//!
//! Every row is copied once. Blocks, because a head map costs a matrix product that is only fast
//! for many rows at once, and because threads may share them. This module must not know what is
//! done to rows or added up from them.

use std::error::Error;

use lapwing_backend::Model;
use lapwing_model::TokenId;

use crate::row_block::{RowBlock, RowBuffer};
use crate::score_error::{ScoreError, Side};
use crate::sequence::Sequence;

/// Memory for the rows of the reference that wait for those of the model.
const KEPT_BYTES_MAX: usize = 256 << 20;

/// Rows of one chunk at most: what is computed in vain when something fails.
const N_CHUNK_ROWS_MAX: usize = 512;

/// Memory for the rows of one block.
const BLOCK_BYTES_MAX: usize = 16 << 20;

/// Rows of one block at most: more would not make the matrix products faster.
const N_BLOCK_ROWS_MAX: usize = 64;

/// Where rows come from; for any number of windows.
pub struct RowSource<'a> {
    reference: Option<Sequence<'a>>,
    model: Sequence<'a>,
    /// Logits of a row that are kept.
    n_logits: usize,
    /// Tokens that the models are given at once; all of a window where there is one model.
    n_chunk_tokens: usize,
    n_block_rows: usize,
    /// The reference's rows of one chunk.
    kept: RowBuffer,
    /// The model's rows of one block.
    gathered: RowBuffer,
}

/// Hears of every block.
pub type OnBlock<'a> = &'a mut dyn FnMut(&RowBlock<'_>) -> Result<(), ScoreError>;

impl<'a> RowSource<'a> {
    /// Rows cut to the first `n_logits`, which is the tokenizer's vocabulary where two models are
    /// compared: exporters pad rows differently, and what lies behind it means nothing.
    ///
    /// # Errors
    ///
    /// When a model's rows are shorter.
    pub fn new(
        reference: Option<&'a dyn Model>,
        model: &'a dyn Model,
        n_logits: usize,
    ) -> Result<RowSource<'a>, ScoreError> {
        let sides = [(Side::Reference, reference), (Side::Model, Some(model))];
        for (side, model) in sides {
            let n_row = model.map_or(n_logits, |model| model.n_vocab());
            if n_row < n_logits {
                return Err(ScoreError::RowTooShort { side, n_row, n_vocab: n_logits });
            }
        }
        let n_fitting = |n_bytes: usize, n_floats: usize| n_bytes / size_of::<f32>() / n_floats;
        let n_chunk_tokens = reference.map_or(usize::MAX, |reference| {
            let n_floats = n_logits.saturating_add(reference.n_hidden().unwrap_or(0)).max(1);
            n_fitting(KEPT_BYTES_MAX, n_floats).clamp(1, N_CHUNK_ROWS_MAX)
        });
        let n_block_rows = n_fitting(BLOCK_BYTES_MAX, n_logits.max(1)).clamp(1, N_BLOCK_ROWS_MAX);
        Ok(RowSource {
            reference: reference.map(Sequence::new),
            model: Sequence::new(model),
            n_logits,
            n_chunk_tokens,
            n_block_rows,
            kept: RowBuffer::default(),
            gathered: RowBuffer::default(),
        })
    }

    /// Give the rows after every token of `window` but the last to `on_block`, in order; models
    /// start with nothing seen. Hidden states come where the models give them.
    ///
    /// # Errors
    ///
    /// Before any work when the window leaves no row, does not fit one of the models or is not of
    /// the vocabulary; later when a model or `on_block` fails. The source stays usable.
    pub fn stream(
        &mut self,
        window_idx: usize,
        window: &[TokenId],
        on_block: OnBlock<'_>,
    ) -> Result<(), ScoreError> {
        let seen = self.check(window_idx, window)?;
        if let Some(reference) = &mut self.reference {
            reference.begin().map_err(failed(Side::Reference, window_idx, 0))?;
        }
        self.model.begin().map_err(failed(Side::Model, window_idx, 0))?;
        let (n_logits, n_block_rows) = (self.n_logits, self.n_block_rows);
        for (chunk_idx, chunk) in seen.chunks(self.n_chunk_tokens).enumerate() {
            let start = chunk_idx * self.n_chunk_tokens;
            let (kept, gathered) = (&mut self.kept, &mut self.gathered);
            kept.clear();
            gathered.clear();
            if let Some(reference) = &mut self.reference {
                let scored = reference.score(chunk, &mut |row| kept.push(row, n_logits));
                scored.map_err(failed(Side::Reference, window_idx, start))?;
            }
            let kept = self.reference.is_some().then(|| kept.rows(n_logits));
            let mut taken = Ok(());
            let scored = self.model.score(chunk, &mut |row| {
                if taken.is_err() {
                    return;
                }
                gathered.push(row, n_logits);
                let end = row.token_idx + 1;
                if gathered.n_rows() == n_block_rows || end == chunk.len() {
                    let first = end - gathered.n_rows();
                    taken = on_block(&RowBlock {
                        first_position: start + first,
                        next: &window[start + first + 1..=start + end],
                        model: gathered.rows(n_logits),
                        reference: kept.map(|kept| kept.range(first, end)),
                    });
                    gathered.clear();
                }
            });
            scored.map_err(failed(Side::Model, window_idx, start))?;
            taken?;
        }
        Ok(())
    }

    /// What is shown to the models, when the window fits.
    fn check<'w>(
        &self,
        window_idx: usize,
        window: &'w [TokenId],
    ) -> Result<&'w [TokenId], ScoreError> {
        let n_vocab = self.n_logits;
        if let Some(position) = window.iter().position(|&token| n_vocab <= token as usize) {
            let (window_idx, token) = (Some(window_idx), window[position]);
            return Err(ScoreError::NoSuchToken { window_idx, token, position, n_vocab });
        }
        let Some((_, seen @ [_, ..])) = window.split_last() else {
            return Err(ScoreError::ShortWindow { window_idx, n_tokens: window.len() });
        };
        let sides = [(Side::Reference, self.reference.as_ref()), (Side::Model, Some(&self.model))];
        for (side, sequence) in sides {
            let limits = sequence.map(|sequence| sequence.model().limits());
            let (n_tokens, n_max) = (seen.len(), limits.map(|limits| limits.n_positions_max));
            if let Some(n_positions_max) = n_max.filter(|&n_max| n_max < n_tokens) {
                return Err(ScoreError::TooLong { side, n_tokens, n_positions_max });
            }
        }
        Ok(seen)
    }
}

fn failed<E: Into<Box<dyn Error + Send + Sync>>>(
    side: Side,
    window_idx: usize,
    position: usize,
) -> impl FnOnce(E) -> ScoreError {
    move |source| ScoreError::Model { side, window_idx, position, source: source.into() }
}
