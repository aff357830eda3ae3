//! The rows of two models over the same tokens, position by position.
//!
//! ```text
//! for each chunk that fits in memory:
//!     the reference scores the chunk, its rows are kept
//!     the model scores the chunk, every row is given out with the kept one
//! ```
//!
//! Rows are cut to the tokenizer's vocabulary: exporters pad rows differently, and what lies
//! behind the vocabulary means nothing. This module must not know what is measured on a pair.

use std::fmt;
use std::ops::ControlFlow;

use lapwing_backend::{Model, OpenError, Row, StepError};
use lapwing_model::TokenId;
use lapwing_text::{EncodeError, Tokenizer};

use crate::sequence::Sequence;

/// Memory for the rows of the reference that wait for those of the model.
const BUFFER_BYTES_MAX: usize = 256 << 20;

/// Rows of one chunk at most: what is computed in vain when the caller breaks off.
const N_CHUNK_ROWS_MAX: usize = 512;

/// What two models gave after the same tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowPair<'a> {
    /// Place in the scored sequence of the token that both rows follow; `token_idx` of both rows.
    pub position: usize,
    /// The reference's row, cut to the vocabulary.
    pub reference: Row<'a>,
    /// The model's row, cut to the vocabulary.
    pub model: Row<'a>,
}

/// Which of two models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that is taken as right.
    Reference,
    /// The one that is judged.
    Model,
}

/// Why two models could not be scored side by side.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// There is nothing to score.
    #[error("cannot score an empty sequence: expected at least one token")]
    Empty,
    /// A model's rows have no room for the tokenizer's vocabulary.
    #[error("rows of the {side} hold {n_row} logits: expected at least {n_vocab}, one a token")]
    RowTooShort {
        /// Whose rows.
        side: Side,
        /// Their length.
        n_row: usize,
        /// The tokenizer's vocabulary.
        n_vocab: usize,
    },
    /// The sequence does not fit.
    #[error("{n_tokens} tokens are too many for the {side}: its context holds {n_positions_max}")]
    TooLong {
        /// Whose context.
        side: Side,
        /// Tokens given.
        n_tokens: usize,
        /// Positions the model has room for.
        n_positions_max: usize,
    },
    /// The sequence is not of this tokenizer.
    #[error("token {token} at position {position} is not in the vocabulary of {n_vocab}")]
    NoSuchToken {
        /// The token.
        token: TokenId,
        /// Its place in the sequence.
        position: usize,
        /// The tokenizer's vocabulary.
        n_vocab: usize,
    },
    /// There was no room for a new sequence.
    #[error("cannot start a new sequence of the {side}")]
    Decoder {
        /// Whose sequence.
        side: Side,
        /// What failed.
        #[source]
        source: OpenError,
    },
    /// A model failed.
    #[error("the {side} cannot score from position {position} on")]
    Step {
        /// Whose step.
        side: Side,
        /// First position of the chunk.
        position: usize,
        /// What failed.
        #[source]
        source: StepError,
    },
}

/// Two models and the room that scoring them together takes; for any number of sequences.
pub struct PairScorer<'a> {
    reference: Sequence<'a>,
    model: Sequence<'a>,
    n_vocab: usize,
    n_chunk_rows: usize,
    kept: KeptRows,
}

/// Give the rows of both models after every one of `tokens` to `on_pair`, in order.
///
/// As [`PairScorer`] for one sequence; several windows are cheaper with one scorer.
///
/// # Errors
///
/// As [`PairScorer::new`] and [`PairScorer::score`].
pub fn score_pair(
    reference: &dyn Model,
    model: &dyn Model,
    n_vocab: usize,
    tokens: &[TokenId],
    on_pair: &mut dyn FnMut(RowPair<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, PairError> {
    PairScorer::new(reference, model, n_vocab)?.score(tokens, on_pair)
}

impl<'a> PairScorer<'a> {
    /// A scorer that cuts rows to the first `n_vocab` logits, the tokenizer's vocabulary.
    ///
    /// # Errors
    ///
    /// When a model's rows are shorter than the vocabulary.
    pub fn new(
        reference: &'a dyn Model,
        model: &'a dyn Model,
        n_vocab: usize,
    ) -> Result<PairScorer<'a>, PairError> {
        for (side, model) in [(Side::Reference, reference), (Side::Model, model)] {
            let n_row = model.n_vocab();
            if n_row < n_vocab {
                return Err(PairError::RowTooShort { side, n_row, n_vocab });
            }
        }
        let n_row_floats = n_vocab.saturating_add(reference.n_hidden().unwrap_or(0)).max(1);
        let n_rows = BUFFER_BYTES_MAX / size_of::<f32>() / n_row_floats;
        Ok(PairScorer {
            reference: Sequence::new(reference),
            model: Sequence::new(model),
            n_vocab,
            n_chunk_rows: n_rows.clamp(1, N_CHUNK_ROWS_MAX),
            kept: KeptRows { n_vocab, ..KeptRows::default() },
        })
    }

    /// Give the rows of both models after every one of `tokens` to `on_pair`, in order; both
    /// start with nothing seen. Returns whether `on_pair` broke off.
    ///
    /// The last token's rows come too: leave it off where nothing that follows it is scored.
    /// Hidden states pass through where the models give them.
    ///
    /// # Errors
    ///
    /// Before any work when the sequence is empty, does not fit one of the models or is not of
    /// the vocabulary; later when a model fails. The scorer stays usable.
    pub fn score(
        &mut self,
        tokens: &[TokenId],
        on_pair: &mut dyn FnMut(RowPair<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, PairError> {
        self.check(tokens)?;
        let cannot_begin = |side| move |source| PairError::Decoder { side, source };
        let cannot_score =
            |side, position| move |source| PairError::Step { side, position, source };
        self.reference.begin().map_err(cannot_begin(Side::Reference))?;
        self.model.begin().map_err(cannot_begin(Side::Model))?;
        for (chunk_idx, chunk) in tokens.chunks(self.n_chunk_rows).enumerate() {
            let start = chunk_idx * self.n_chunk_rows;
            self.kept.clear();
            let kept = &mut self.kept;
            let scored = self.reference.score(chunk, &mut |row| kept.push(row));
            scored.map_err(cannot_score(Side::Reference, start))?;
            let mut flow = ControlFlow::Continue(());
            let (kept, n_vocab) = (&self.kept, self.n_vocab);
            let scored = self.model.score(chunk, &mut |row| {
                if flow.is_continue() {
                    let position = start + row.token_idx;
                    let reference = Row { token_idx: position, ..kept.row(row.token_idx) };
                    let logits = &row.logits[..n_vocab];
                    let model = Row { token_idx: position, logits, hidden: row.hidden };
                    flow = on_pair(RowPair { position, reference, model });
                }
            });
            scored.map_err(cannot_score(Side::Model, start))?;
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn check(&self, tokens: &[TokenId]) -> Result<(), PairError> {
        let n_tokens = tokens.len();
        if n_tokens == 0 {
            return Err(PairError::Empty);
        }
        for (side, sequence) in [(Side::Reference, &self.reference), (Side::Model, &self.model)] {
            let n_positions_max = sequence.model().limits().n_positions_max;
            if n_positions_max < n_tokens {
                return Err(PairError::TooLong { side, n_tokens, n_positions_max });
            }
        }
        let n_vocab = self.n_vocab;
        match tokens.iter().position(|&token| n_vocab <= token as usize) {
            Some(position) => {
                Err(PairError::NoSuchToken { token: tokens[position], position, n_vocab })
            }
            None => Ok(()),
        }
    }
}

/// The reference's rows of one chunk.
#[derive(Default)]
struct KeptRows {
    n_vocab: usize,
    logits: Vec<f32>,
    hidden: Vec<f32>,
    /// 0 where there are no hidden states.
    n_hidden: usize,
}

impl KeptRows {
    fn clear(&mut self) {
        self.logits.clear();
        self.hidden.clear();
        self.n_hidden = 0;
    }

    fn push(&mut self, row: Row<'_>) {
        self.logits.extend_from_slice(&row.logits[..self.n_vocab]);
        if let Some(hidden) = row.hidden {
            self.n_hidden = hidden.len();
            self.hidden.extend_from_slice(hidden);
        }
    }

    fn row(&self, row_idx: usize) -> Row<'_> {
        let logits = &self.logits[row_idx * self.n_vocab..][..self.n_vocab];
        let hidden =
            (self.n_hidden != 0).then(|| &self.hidden[row_idx * self.n_hidden..][..self.n_hidden]);
        Row { token_idx: row_idx, logits, hidden }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Side::Reference => "reference",
            Side::Model => "model",
        })
    }
}

/// Why a reference cannot be compared with a model: their tokens mean different things.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerMismatch {
    /// The vocabularies are of different sizes.
    #[error("the reference has another tokenizer: {reference} tokens, expected {model}")]
    VocabularySize {
        /// The reference's vocabulary.
        reference: usize,
        /// The model's vocabulary.
        model: usize,
    },
    /// An id stands for different tokens.
    #[error("the reference has another tokenizer: token {id} is {reference:?}, expected {model:?}")]
    Piece {
        /// The id.
        id: TokenId,
        /// Its spelling in the reference's vocabulary.
        reference: Option<String>,
        /// Its spelling in the model's vocabulary.
        model: Option<String>,
    },
    /// The same text becomes different tokens.
    #[error(
        "the reference has another tokenizer: the text becomes {reference:?} at token \
         {token_idx}, expected {model:?}"
    )]
    Text {
        /// The first token that differs.
        token_idx: usize,
        /// The reference's token, `None` where its tokens end.
        reference: Option<TokenId>,
        /// The model's token, `None` where its tokens end.
        model: Option<TokenId>,
    },
    /// A tokenizer cannot express the text.
    #[error("the tokenizer of the {side} cannot be compared")]
    Encode {
        /// Whose tokenizer.
        side: Side,
        /// What failed.
        #[source]
        source: EncodeError,
    },
}

/// Check that both tokenizers give every id the same meaning and cut `probe` into the same tokens.
///
/// # Errors
///
/// The first difference: vocabulary size, an id's spelling, a token of `probe`.
pub fn require_same_tokenizer(
    reference: &Tokenizer,
    model: &Tokenizer,
    probe: &str,
) -> Result<(), TokenizerMismatch> {
    let (n_reference, n_model) = (reference.n_vocab(), model.n_vocab());
    if n_reference != n_model {
        return Err(TokenizerMismatch::VocabularySize { reference: n_reference, model: n_model });
    }
    for id in 0..TokenId::try_from(n_model).unwrap_or(TokenId::MAX) {
        let (reference, model) = (reference.piece(id), model.piece(id));
        if reference != model {
            return Err(TokenizerMismatch::Piece { id, reference, model });
        }
    }
    let encode = |tokenizer: &Tokenizer, side: Side| {
        let encoded = tokenizer.encode(probe, true);
        encoded.map_err(|source| TokenizerMismatch::Encode { side, source })
    };
    let reference = encode(reference, Side::Reference)?;
    let model = encode(model, Side::Model)?;
    let n_tokens = reference.len().max(model.len());
    let differing = (0..n_tokens).find(|&idx| reference.get(idx) != model.get(idx));
    differing.map_or(Ok(()), |token_idx| {
        let at = |tokens: &[TokenId]| tokens.get(token_idx).copied();
        Err(TokenizerMismatch::Text { token_idx, reference: at(&reference), model: at(&model) })
    })
}
