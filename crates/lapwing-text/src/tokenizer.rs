//! Text to token ids and back, from a `tokenizer.json`.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapwing_model::TokenId;
use serde::Deserialize;
use tokenizers::Model as _;

use crate::detokenizer::{Detokenizer, SpecialPieces, stage};

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A tokenizer as the model was trained with.
///
/// Truncation and padding that a `tokenizer.json` asks for are ignored: they belong to training,
/// and a prompt that is cut silently is a wrong prompt. Cloning is cheap, clones share the tables.
#[derive(Clone)]
pub struct Tokenizer {
    tables: Arc<Tables>,
}

/// What every clone and every [`Detokenizer`] of one tokenizer shares.
pub(crate) struct Tables {
    inner: tokenizers::Tokenizer,
    stages: Vec<stage::Stage>,
    n_vocab: usize,
}

impl Tokenizer {
    /// Read a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is no tokenizer that this crate understands.
    pub fn open(path: &Path) -> Result<Self, OpenTokenizerError> {
        let bytes = fs::read(path)
            .map_err(|source| OpenTokenizerError::Read { path: path.to_owned(), source })?;
        parse(&bytes).map_err(|source| OpenTokenizerError::Parse { path: path.to_owned(), source })
    }

    /// Read the bytes of a `tokenizer.json`; `path` only names them in an error.
    ///
    /// # Errors
    ///
    /// When they are no tokenizer that this crate understands.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, OpenTokenizerError> {
        parse(bytes).map_err(|source| OpenTokenizerError::Parse { path: path.to_owned(), source })
    }

    /// The token ids of `text`; `add_special` adds what the tokenizer puts around a text (often
    /// a token for its beginning). Text that a chat template rendered has them already.
    ///
    /// # Errors
    ///
    /// When the vocabulary has no token for a part of the text and none for the unknown.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<TokenId>, EncodeError> {
        let n_bytes = text.len();
        guarded(|| self.tables.inner.encode_fast(text, add_special))
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|source| EncodeError { n_bytes, source })
    }

    /// The text of `ids`: all the chunks that a [`Detokenizer`] would give, in one string.
    ///
    /// Ids without a token are passed over. Bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[TokenId], special: SpecialPieces) -> String {
        let mut detokenizer = self.detokenizer(special);
        let mut text = String::new();
        for &id in ids {
            text.push_str(detokenizer.push(id));
        }
        text.push_str(detokenizer.finish());
        text
    }

    /// A detokenizer at the start of a text.
    pub fn detokenizer(&self, special: SpecialPieces) -> Detokenizer {
        Detokenizer::new(self.tables.clone(), special)
    }

    /// One more than the largest token id, added tokens included.
    ///
    /// A model's row of logits may be longer (rows are padded), never shorter.
    pub fn n_vocab(&self) -> usize {
        self.tables.n_vocab
    }

    /// The id of the token that is spelled exactly `piece` in the vocabulary.
    pub fn token_id(&self, piece: &str) -> Option<TokenId> {
        self.tables.inner.token_to_id(piece)
    }

    /// How the vocabulary spells token `id`; not text: `Ġhello`, `▁hello`, `<0xE6>`.
    pub fn piece(&self, id: TokenId) -> Option<String> {
        self.tables.piece(id)
    }

    /// Whether token `id` controls the model rather than spells text.
    pub fn is_special(&self, id: TokenId) -> bool {
        self.tables.piece(id).is_some_and(|piece| self.tables.is_special_piece(&piece))
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("n_vocab", &self.n_vocab()).finish_non_exhaustive()
    }
}

impl Tables {
    pub(crate) fn piece(&self, id: TokenId) -> Option<String> {
        self.inner.id_to_token(id)
    }

    pub(crate) fn is_special_piece(&self, piece: &str) -> bool {
        self.inner.get_added_vocabulary().is_special_token(piece)
    }

    pub(crate) fn stages(&self) -> Vec<stage::Stage> {
        self.stages.clone()
    }
}

/// A `tokenizer.json` that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenTokenizerError {
    /// The file cannot be read.
    #[error("cannot read the tokenizer {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is no tokenizer.
    #[error("{} is not a usable tokenizer.json", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        #[source]
        source: Cause,
    },
}

/// A text that the tokenizer cannot express.
#[derive(Debug, thiserror::Error)]
#[error("cannot tokenize a text of {n_bytes} bytes")]
pub struct EncodeError {
    /// The length of the text.
    pub n_bytes: usize,
    /// What the tokenizer said.
    #[source]
    pub source: Cause,
}

/// The part of a `tokenizer.json` that is compared with what the `tokenizers` crate made of it.
#[derive(Deserialize)]
struct Declared {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: TokenId,
    content: String,
}

fn parse(bytes: &[u8]) -> Result<Tokenizer, Cause> {
    // The crate's readers of the parts expect that the JSON around them is well formed.
    let text = std::str::from_utf8(bytes)?;
    let declared: Declared = serde_json::from_str(text)?;
    let mut inner = guarded(|| tokenizers::Tokenizer::from_bytes(bytes))?;
    inner.with_truncation(None)?;
    inner.with_padding(None);
    let largest_id = inner.get_vocab(true).into_values().max();
    let n_vocab = largest_id.map_or(0, |id| id as usize + 1);
    let stages = stage::plan(inner.get_decoder());
    for AddedToken { id, content } in declared.added_tokens {
        let id_used = inner.token_to_id(&content);
        if id_used != Some(id) {
            // The reference implementation goes on with these ids too.
            tracing::warn!(content, id, id_used, "added token has another id than declared");
        }
    }
    tracing::debug!(n_vocab, n_model = inner.get_model().get_vocab_size(), "tokenizer read");
    Ok(Tokenizer { tables: Arc::new(Tables { inner, stages, n_vocab }) })
}

/// Call into the `tokenizers` crate, which panics on some malformed tables.
pub(crate) fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, Cause> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            let text = text.unwrap_or_else(|| "unknown cause".to_owned());
            Err(format!("its tables are inconsistent: {text}").into())
        }
    }
}

#[cfg(test)]
mod tests;
