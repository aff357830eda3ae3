//! The token list of a GGUF file.

use lapwing_formats::gguf::{Gguf, Value, ValueType};
use serde_json::json;

use super::super::keys::shown;
use super::{OpenCheckpointError, found, unsupported};

const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";

/// Characters of a text of the file in a message.
const EXCERPT_CHARS: usize = 64;

/// What kind of token the file says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenType {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// Whether an added token takes the white space before it, and that behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) before: bool,
    pub(super) behind: bool,
}

/// Every token with its type; the index is the id. Borrows from the file.
#[derive(Debug)]
pub(super) struct Vocabulary<'a> {
    texts: Vec<&'a str>,
    types: Vec<TokenType>,
    /// Every id, sorted by its text: a fraction of a hash map, so that a file of short tokens
    /// costs no multiple of its size.
    by_text: Vec<u32>,
}

impl<'a> Vocabulary<'a> {
    pub(super) fn read(gguf: &'a Gguf) -> Result<Vocabulary<'a>, OpenCheckpointError> {
        let array = |key: &str| gguf.get(key).and_then(|value| value.as_array());
        let wrong = |what: &str, expected: &str, found: String| {
            Err(unsupported(gguf.path(), what, expected.to_owned(), found))
        };
        let Some(tokens) = array(TOKENS) else {
            return wrong(TOKENS, "a list of strings", found(gguf, TOKENS));
        };
        if tokens.element_type() != ValueType::String {
            return wrong(TOKENS, "a list of strings", format!("{tokens:?}"));
        }
        // Each string has its length in the file, which bounds their number.
        let mut texts: Vec<&str> = Vec::with_capacity(tokens.len());
        for (id, token) in (0_u32..).zip(tokens.iter()) {
            let Some(text) = token.as_str() else {
                return wrong(TOKENS, "UTF-8 text", format!("{} as token {id}", shown(&token)));
            };
            texts.push(text);
        }
        let mut by_text: Vec<u32> = (0_u32..).zip(&texts).map(|(id, _)| id).collect();
        by_text.sort_unstable_by_key(|&id| texts[id as usize]);
        let text_of = |id: u32| texts[id as usize];
        if let Some(pair) = by_text.windows(2).find(|pair| text_of(pair[0]) == text_of(pair[1])) {
            let found = format!("{:?} twice", excerpt(text_of(pair[0])));
            return wrong(TOKENS, "each token once", found);
        }
        let types = match array(TOKEN_TYPES) {
            None => vec![TokenType::Normal; texts.len()],
            Some(types) if types.len() != texts.len() => {
                let expected = format!("a list of {}, one for each token", texts.len());
                let found = format!("a list of {}", types.len());
                return wrong(TOKEN_TYPES, &expected, found);
            }
            Some(types) => types.iter().map(|value| token_type(&value)).collect(),
        };
        Ok(Vocabulary { texts, types, by_text })
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn text(&self, id: u32) -> Option<&'a str> {
        self.texts.get(id as usize).copied()
    }

    pub(super) fn id(&self, text: &str) -> Option<u32> {
        let text_of = |id: &u32| self.texts[*id as usize];
        let found = self.by_text.binary_search_by(|id| text_of(id).cmp(text)).ok()?;
        Some(self.by_text[found])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &'a str)> {
        (0_u32..).zip(self.texts.iter().copied())
    }

    pub(super) fn of_type(&self, wanted: TokenType) -> impl Iterator<Item = (u32, &'a str)> {
        let types = self.types.iter();
        self.iter().zip(types).filter(move |(_, found)| **found == wanted).map(|(token, _)| token)
    }

    /// `added_tokens` of `tokenizer.json`: what is cut out of a text before the model sees it, with
    /// the white space that `taken` says of each text.
    pub(super) fn added_tokens(&self, taken: impl Fn(&str) -> Taken) -> serde_json::Value {
        let added = self.iter().zip(&self.types).filter_map(|((id, text), token_type)| {
            let special = match token_type {
                TokenType::Control | TokenType::Unknown => true,
                TokenType::UserDefined => false,
                TokenType::Normal | TokenType::Unused | TokenType::Byte => return None,
            };
            let Taken { before, behind } = taken(text);
            Some(json!({
                "id": id,
                "content": text,
                "single_word": false,
                "lstrip": before,
                "rstrip": behind,
                "normalized": false,
                "special": special,
            }))
        });
        added.collect()
    }
}

/// Enough of a text of the file to tell it by.
pub(in crate::checkpoint) fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_CHARS).collect()
}

fn token_type(value: &Value<'_>) -> TokenType {
    match value.as_u64() {
        Some(2) => TokenType::Unknown,
        Some(3) => TokenType::Control,
        Some(4) => TokenType::UserDefined,
        Some(5) => TokenType::Unused,
        Some(6) => TokenType::Byte,
        _ => TokenType::Normal,
    }
}
