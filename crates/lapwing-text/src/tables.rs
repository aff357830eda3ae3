//! What a `tokenizer.json` says, as tables that tokenizers and detokenizers share.

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;

use lapwing_model::TokenId;
use serde::Deserialize;
use tokenizers::{
    Encoding, Model as _, ModelWrapper, OffsetType, PreTokenizedString, PreTokenizer as _, Token,
};

use crate::detokenizer::stage;
use crate::guard::{Cause, guarded};
use windows::{Placed, Seam, Windows};

mod windows;

/// What every clone and every `Detokenizer` of one tokenizer shares.
pub(crate) struct Tables {
    inner: tokenizers::Tokenizer,
    stages: Vec<stage::Stage>,
    n_vocab: usize,
    /// How the special tokens are spelled, longer ones first.
    special_spellings: Vec<String>,
    /// How the other added tokens are spelled.
    added_spellings: Vec<String>,
    windows: Windows,
}

/// Bytes of a text that become tokens at once, and those of them that two windows share.
const WINDOW_BYTES: usize = 128 << 10;
const SHARED_BYTES: usize = 8 << 10;

/// Characters that mean nothing in any text.
const MARKS: std::ops::RangeInclusive<char> = '\u{fdd0}'..='\u{fdef}';

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
        let added = inner.get_added_tokens_decoder().into_values();
        let (special, others): (Vec<_>, Vec<_>) =
            added.filter(|token| !token.content.is_empty()).partition(|token| token.special);
        let spellings = |tokens: Vec<tokenizers::AddedToken>| {
            let mut spellings: Vec<String> =
                tokens.into_iter().map(|token| token.content).collect();
            longer_first(&mut spellings);
            spellings
        };
        let (special_spellings, added_spellings) = (spellings(special), spellings(others));
        // Windows see all of an added token that reaches into what must agree.
        let longest = special_spellings.iter().chain(&added_spellings).map(String::len).max();
        // Or of a word that is looked up as a whole.
        let looks_up = matches!(inner.get_model(), ModelWrapper::BPE(bpe) if bpe.ignore_merges);
        let words = looks_up.then(|| inner.get_model().get_vocab().into_keys());
        let longest = words.into_iter().flatten().map(|word| word.len()).chain(longest).max();
        let n_shared = SHARED_BYTES.max(8 * longest.unwrap_or(0));
        let n_bytes = WINDOW_BYTES.max(8 * n_shared);
        let windows = Windows { n_bytes, n_shared, seam: Seam::of(&inner) };
        Ok(Self { inner, stages, n_vocab, special_spellings, added_spellings, windows })
    }

    /// The ids of a text.
    pub(crate) fn encode(&self, text: &str, add_special: bool) -> Result<Vec<TokenId>, Cause> {
        if self.windows.n_bytes < text.len() {
            let body = Token::new(TokenId::MAX, String::new(), (0, 0));
            let body = Encoding::from_tokens(vec![body], 0);
            let around = guarded(|| self.inner.post_process(body, None, add_special))?;
            let sides: Vec<&[TokenId]> = around.get_ids().split(|&id| id == TokenId::MAX).collect();
            // A template may want the text more than once.
            if let [before, behind] = *sides {
                let text = text.into();
                let ids = self.encode_marked(&Marked { text, mark: '\0', firsts: Vec::new() })?;
                return Ok([before, &ids.unwrap_or_default(), behind].concat());
            }
        }
        let encoding = guarded(|| self.inner.encode_fast(text, add_special))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids of a text in which what stands at the offsets `typed` is no special token.
    pub(crate) fn encode_typed(&self, text: &str, typed: &[usize]) -> Result<Vec<TokenId>, Cause> {
        match MARKS.into_iter().find(|mark| !text.contains(*mark)) {
            _ if typed.is_empty() => self.encode(text, false),
            Some(mark) => match self.encode_marked(&Marked::new(text, typed, mark))? {
                Some(ids) => Ok(ids),
                None => self.encode_in_pieces(text, typed),
            },
            None => self.encode_in_pieces(text, typed),
        }
    }

    /// The ids of a text; `None` when the normalizer drops the marks.
    fn encode_marked(&self, marked: &Marked<'_>) -> Result<Option<Vec<TokenId>>, Cause> {
        self.windows.ids(&marked.text, |range| self.placed(marked, range))
    }

    /// The tokens of a part of a text as if it were all.
    fn placed(
        &self,
        marked: &Marked<'_>,
        range: Range<usize>,
    ) -> Result<Option<Vec<Placed>>, Cause> {
        let from = range.start;
        let encoding = guarded(|| match self.tokenized(marked, range)? {
            Some(pieces) => Ok(Some(pieces.into_encoding(None, 0, OffsetType::Byte)?)),
            None => Ok(None),
        })?;
        let Some(encoding) = encoding else { return Ok(None) };
        let places = encoding.get_offsets().iter().zip(encoding.get_word_ids());
        let tokens = encoding.get_ids().iter().zip(places);
        let placed = tokens.map(|(&id, (&(start, end), word))| {
            let word = word.unwrap_or(0);
            Placed { id, start: from + start, end: from + end, word }
        });
        Ok(Some(placed.collect()))
    }

    /// What [`tokenizers::Tokenizer::encode`] does with a part of a text, with other characters in
    /// place of those that are typed while it looks for added tokens.
    fn tokenized(
        &self,
        marked: &Marked<'_>,
        range: Range<usize>,
    ) -> tokenizers::Result<Option<PreTokenizedString>> {
        let firsts = marked.firsts_in(&range);
        let added = self.inner.get_added_vocabulary();
        let text = &marked.text[range];
        let mut pieces = added.extract_and_normalize(self.inner.get_normalizer(), text);
        if !firsts.is_empty() {
            let n_restored = Cell::new(0);
            pieces.normalize(|piece| {
                piece.map(|symbol| {
                    if symbol != marked.mark {
                        return symbol;
                    }
                    let idx = n_restored.replace(n_restored.get() + 1);
                    firsts.get(idx).map_or(symbol, |(_, first)| *first)
                });
                Ok(())
            })?;
            if n_restored.get() != firsts.len() {
                return Ok(None);
            }
        }
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        pieces.tokenize(|piece| self.inner.get_model().tokenize(piece.get()))?;
        Ok(Some(pieces))
    }

    /// The ids of pieces that each hold a part of what is no special token.
    fn encode_in_pieces(&self, text: &str, typed: &[usize]) -> Result<Vec<TokenId>, Cause> {
        let mut ids = Vec::new();
        let mut start = 0;
        for &at in typed {
            let border = at + text[at..].chars().next().map_or(0, char::len_utf8);
            ids.extend(self.encode(&text[start..border], false)?);
            start = border;
        }
        ids.extend(self.encode(&text[start..], false)?);
        Ok(ids)
    }

    pub(crate) fn special_spellings(&self) -> &[String] {
        &self.special_spellings
    }

    pub(crate) fn added_spellings(&self) -> &[String] {
        &self.added_spellings
    }

    /// Whether a token was added to the vocabulary as text, and is not spelled in its alphabet.
    pub(crate) fn is_added(&self, id: TokenId) -> bool {
        self.inner.get_added_vocabulary().get_added_tokens_decoder().contains_key(&id)
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

    /// The bytes of a token in the midst of a text; see [`stage::bytes_within`].
    pub(crate) fn bytes_within(&self, id: TokenId) -> Option<Vec<u8>> {
        let piece = self.piece(id).filter(|piece| !self.is_special_piece(piece))?;
        stage::bytes_within(&self.stages, piece, self.is_added(id))
    }

    pub(crate) fn stages(&self) -> Vec<stage::Stage> {
        self.stages.clone()
    }
}

/// A text with a mark in place of each typed character where a special token could be.
struct Marked<'a> {
    text: Cow<'a, str>,
    mark: char,
    /// Where the marks are, and what they stand for.
    firsts: Vec<(usize, char)>,
}

impl Marked<'_> {
    fn new(text: &str, typed: &[usize], mark: char) -> Self {
        let mut marked = String::with_capacity(text.len() + 2 * typed.len());
        let mut firsts = Vec::with_capacity(typed.len());
        let mut n_copied = 0;
        for &at in typed {
            let Some(first) = text[at..].chars().next() else { continue };
            marked.push_str(&text[n_copied..at]);
            firsts.push((marked.len(), first));
            marked.push(mark);
            n_copied = at + first.len_utf8();
        }
        marked.push_str(&text[n_copied..]);
        Self { text: marked.into(), mark, firsts }
    }

    /// The marks in a part of the text.
    fn firsts_in(&self, range: &Range<usize>) -> &[(usize, char)] {
        let n_before = |end| self.firsts.partition_point(|(at, _)| *at < end);
        &self.firsts[n_before(range.start)..n_before(range.end)]
    }
}

/// Put longer spellings first: one may begin another.
pub(crate) fn longer_first<T: AsRef<str> + Ord>(spellings: &mut [T]) {
    spellings.sort_by(|a, b| b.as_ref().len().cmp(&a.as_ref().len()).then(a.cmp(b)));
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

#[cfg(test)]
mod tests;
