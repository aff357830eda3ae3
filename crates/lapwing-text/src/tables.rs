//! What a `tokenizer.json` says, as tables that tokenizers and detokenizers share.

use lapwing_model::TokenId;
use serde::Deserialize;
use tokenizers::Model as _;

use crate::detokenizer::stage;
use crate::guard::{Cause, guarded};

/// What every clone and every `Detokenizer` of one tokenizer shares.
pub(crate) struct Tables {
    inner: tokenizers::Tokenizer,
    stages: Vec<stage::Stage>,
    n_vocab: usize,
}

impl Tables {
    /// Read the bytes of a `tokenizer.json`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Cause> {
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
        Ok(Self { inner, stages, n_vocab })
    }

    /// The ids of a text.
    pub(crate) fn encode(&self, text: &str, add_special: bool) -> Result<Vec<TokenId>, Cause> {
        let encoding = guarded(|| self.inner.encode_fast(text, add_special))?;
        Ok(encoding.get_ids().to_vec())
    }

    pub(crate) fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    pub(crate) fn id(&self, piece: &str) -> Option<TokenId> {
        self.inner.token_to_id(piece)
    }

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
