//! Token ids to text, one token at a time.

pub(crate) mod stage;

use std::sync::Arc;

use lapwing_model::TokenId;

use crate::tables::Tables;
use stage::Stage;

/// What becomes of special tokens (`<|im_end|>`, `</s>`) in decoded text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialPieces {
    /// They leave no trace, as if they were not there.
    Skip,
    /// They appear as the vocabulary spells them.
    Show,
}

/// Turns a stream of token ids into a stream of text.
///
/// The chunks of [`push`](Self::push) and [`finish`](Self::finish) joined are exactly what the
/// tokenizer's decoder makes of all the ids at once: no code point is split, no leading space is
/// dropped or invented. Text is therefore held back while a later token could still change it, such
/// as the first bytes of a code point. In two places that differs from what the `tokenizers` crate
/// makes of all ids at once (`docs/upstream.md`): a byte token that is no UTF-8 does not spoil the
/// byte tokens before it, and added tokens read as they are spelled.
///
/// Work per token does not depend on how many came before. A clone is a fork: both go on alone,
/// so a session that may rewind keeps clones.
#[derive(Clone)]
pub struct Detokenizer {
    tables: Arc<Tables>,
    special: SpecialPieces,
    stages: Vec<Stage>,
    chunk: String,
}

impl Detokenizer {
    pub(crate) fn new(tables: Arc<Tables>, special: SpecialPieces) -> Self {
        let stages = tables.stages();
        Self { tables, special, stages, chunk: String::new() }
    }

    /// The text that is certain after one more token; empty when there is none yet.
    ///
    /// An id without a token adds nothing.
    pub fn push(&mut self, id: TokenId) -> &str {
        self.chunk.clear();
        if let Some(piece) = self.tables.piece(id)
            && !(self.special == SpecialPieces::Skip && self.tables.is_special_piece(&piece))
        {
            let is_added = self.tables.is_added(id);
            feed(&mut self.stages, piece, is_added, &mut self.chunk);
        }
        &self.chunk
    }

    /// The text that was held back, with U+FFFD for bytes that never became a code point.
    ///
    /// Afterwards the detokenizer stands at the start of a new text.
    pub fn finish(&mut self) -> &str {
        self.chunk.clear();
        let mut stages = self.stages.as_mut_slice();
        while let Some((first, rest)) = stages.split_first_mut() {
            for piece in first.flush() {
                feed(rest, piece, false, &mut self.chunk);
            }
            stages = rest;
        }
        self.stages = self.tables.stages();
        &self.chunk
    }
}

impl std::fmt::Debug for Detokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detokenizer")
            .field("special", &self.special)
            .field("stages", &self.stages)
            .finish_non_exhaustive()
    }
}

/// Send `piece` through `stages`, and what comes out at the end to `text`.
fn feed(stages: &mut [Stage], piece: String, is_added: bool, text: &mut String) {
    match stages.split_first_mut() {
        None => text.push_str(&piece),
        Some((first, rest)) => {
            for piece in first.push(piece, is_added) {
                feed(rest, piece, is_added, text);
            }
        }
    }
}

#[cfg(test)]
mod tests;
