//! Text to token ids and back, from a `tokenizer.json`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapwing_files::regular;
use lapwing_model::{TOKENIZER_BYTES_MAX, TokenId};

use crate::chat_template::rendered::Rendered;
use crate::detokenizer::{Detokenizer, SpecialPieces};
use crate::guard::Cause;
use crate::tables::Tables;

/// A tokenizer as the model was trained with.
///
/// Truncation and padding that a `tokenizer.json` asks for are ignored: they belong to training,
/// and a prompt that is cut silently is a wrong prompt. Cloning is cheap, clones share the tables.
#[derive(Clone)]
pub struct Tokenizer {
    tables: Arc<Tables>,
}

impl Tokenizer {
    /// Read a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is no tokenizer that this crate understands.
    pub fn open(path: &Path) -> Result<Self, OpenTokenizerError> {
        let bytes = regular::read(path, TOKENIZER_BYTES_MAX)
            .map_err(|source| OpenTokenizerError::Read { path: path.to_owned(), source })?;
        Self::from_bytes(&bytes, path)
    }

    /// Read the bytes of a `tokenizer.json`; `path` only names them in an error.
    ///
    /// # Errors
    ///
    /// When they are no tokenizer that this crate understands.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, OpenTokenizerError> {
        match Tables::parse(bytes) {
            Ok(tables) => Ok(Self { tables: Arc::new(tables) }),
            Err(source) => Err(OpenTokenizerError::Parse { path: path.to_owned(), source }),
        }
    }

    /// The token ids of `text`; `add_special` adds what the tokenizer puts around a text (often
    /// a token for its beginning). Text that a chat template rendered has them already.
    ///
    /// # Errors
    ///
    /// When the vocabulary has no token for a part of the text and none for the unknown.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<TokenId>, EncodeError> {
        let n_bytes = text.len();
        self.tables.encode(text, add_special).map_err(|source| EncodeError { n_bytes, source })
    }

    /// The token ids of a prompt that a chat template made.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    pub fn encode_rendered(&self, prompt: &Rendered) -> Result<Vec<TokenId>, EncodeError> {
        let n_bytes = prompt.text().len();
        let ids = self.tables.encode_typed(prompt.text(), prompt.typed());
        ids.map_err(|source| EncodeError { n_bytes, source })
    }

    /// How the tokens that control the model are spelled, longer ones first.
    pub fn special_spellings(&self) -> &[String] {
        self.tables.special_spellings()
    }

    /// How tokens are spelled that were added to the vocabulary and are not special: markers that
    /// answers show (`<tool_call>`), and text that has a token of its own. Longer ones first.
    pub fn added_spellings(&self) -> &[String] {
        self.tables.added_spellings()
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
        self.tables.n_vocab()
    }

    /// The id of the token that is spelled exactly `piece` in the vocabulary.
    pub fn token_id(&self, piece: &str) -> Option<TokenId> {
        self.tables.id(piece)
    }

    /// How the vocabulary spells token `id`; not text: `Ġhello`, `▁hello`, `<0xE6>`.
    pub fn piece(&self, id: TokenId) -> Option<String> {
        self.tables.piece(id)
    }

    /// The bytes that token `id` adds in the midst of a text; they may be a part of a code point.
    /// `None` for a special token, an id without a token, and where a decoder looks further than at
    /// one token.
    pub fn bytes_within(&self, id: TokenId) -> Option<Vec<u8>> {
        self.tables.bytes_within(id)
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

/// A `tokenizer.json` that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum OpenTokenizerError {
    /// The file cannot be read.
    #[error("cannot read the tokenizer {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file is no tokenizer.
    #[error("{} is not a usable tokenizer.json", path.display())]
    Parse { path: PathBuf, source: Cause },
}

/// A text that the tokenizer cannot express.
#[derive(Debug, thiserror::Error)]
#[error("cannot tokenize a text of {n_bytes} bytes")]
pub struct EncodeError {
    /// The length of the text.
    pub n_bytes: usize,
    /// What the tokenizer said.
    pub source: Cause,
}

#[cfg(test)]
mod tests;
