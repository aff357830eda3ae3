//! The rows of a model over a window, with those of the reference if there is one, in blocks.

use std::ops::ControlFlow;

use lapwing_backend::{Model, Row};
use lapwing_model::TokenId;

use crate::pairs::{PairError, PairScorer, Side};
use crate::sequence::Sequence;
use crate::treatment::RowBlock;

/// Where rows come from; for any number of windows.
pub(crate) struct RowSource<'a> {
    models: Models<'a>,
    n_tokens: usize,
    block: RowBlock,
}

enum Models<'a> {
    Pair(Box<PairScorer<'a>>),
    Alone(Sequence<'a>),
}

/// Hears of every block; the rows are its own to change.
type OnBlock<'a> = &'a mut dyn FnMut(&mut RowBlock) -> ControlFlow<()>;

impl<'a> RowSource<'a> {
    /// Rows cut to `n_tokens`, the tokenizer's vocabulary.
    pub(crate) fn new(
        reference: Option<&'a dyn Model>,
        model: &'a dyn Model,
        n_tokens: usize,
    ) -> Result<RowSource<'a>, PairError> {
        let models = match reference {
            Some(reference) => Models::Pair(Box::new(PairScorer::new(reference, model, n_tokens)?)),
            None if model.n_vocab() < n_tokens => {
                let (side, n_row, n_vocab) = (Side::Model, model.n_vocab(), n_tokens);
                return Err(PairError::RowTooShort { side, n_row, n_vocab });
            }
            None => Models::Alone(Sequence::new(model)),
        };
        Ok(RowSource { models, n_tokens, block: RowBlock::of_good_size(n_tokens) })
    }

    /// Give the rows after every token of `window` but the last to `on_block`, in order, until it
    /// breaks off.
    pub(crate) fn stream(
        &mut self,
        window: &[TokenId],
        on_block: OnBlock<'_>,
    ) -> Result<(), PairError> {
        let n_vocab = self.n_tokens;
        let is_outside = |&token: &TokenId| n_vocab <= token as usize;
        if let Some(position) = window.iter().position(is_outside) {
            return Err(PairError::NoSuchToken { token: window[position], position, n_vocab });
        }
        let Some((_, seen)) = window.split_last() else { return Err(PairError::Empty) };
        let block = &mut self.block;
        block.clear();
        let mut take = |reference: Option<Row<'_>>, model: Row<'_>| {
            let position = model.token_idx;
            block.push(reference, model, window[position + 1]);
            if !block.is_full() && position + 2 < window.len() {
                return ControlFlow::Continue(());
            }
            let flow = on_block(block);
            block.clear();
            flow
        };
        match &mut self.models {
            Models::Pair(scorer) => {
                // Who breaks off knows it.
                let _ = scorer.score(seen, &mut |pair| take(Some(pair.reference), pair.model))?;
            }
            Models::Alone(sequence) => {
                score_alone(sequence, n_vocab, seen, &mut |row| take(None, row))?;
            }
        }
        Ok(())
    }
}

/// As [`PairScorer::score`] does for two.
fn score_alone(
    sequence: &mut Sequence<'_>,
    n_vocab: usize,
    tokens: &[TokenId],
    on_row: &mut dyn FnMut(Row<'_>) -> ControlFlow<()>,
) -> Result<(), PairError> {
    let side = Side::Model;
    let (n_tokens, n_positions_max) = (tokens.len(), sequence.model().limits().n_positions_max);
    if n_tokens == 0 {
        return Err(PairError::Empty);
    }
    if n_positions_max < n_tokens {
        return Err(PairError::TooLong { side, n_tokens, n_positions_max });
    }
    sequence.begin().map_err(|source| PairError::Decoder { side, source })?;
    let mut flow = ControlFlow::Continue(());
    let scored = sequence.score(tokens, &mut |row| {
        if flow.is_continue() {
            flow = on_row(Row { logits: &row.logits[..n_vocab], ..row });
        }
    });
    scored.map_err(|source| PairError::Step { side, position: 0, source })
}
