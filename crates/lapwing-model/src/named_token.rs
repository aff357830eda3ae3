//! Special tokens that a tokenizer's own files name.

use std::path::Path;

use lapwing_files::regular;
use serde::Deserialize;
use serde_json::Value;

use crate::json::Manifest;
use crate::{TOKENIZER_BYTES_MAX, TokenId, parse_json};

/// The id of the token that has a role (`eos_token`, …) in the tokenizer's files of `folder`:
/// `tokenizer_config.json`, else `special_tokens_map.json`. None where they name none.
///
/// What a model's own configuration says of ids goes first; this is for one that says nothing.
pub fn named_token(folder: &Path, role: &str) -> Option<TokenId> {
    let read = |name: &str| {
        let file = folder.join(name);
        Some(Manifest::read(&file).ok()?.into_value())
    };
    let config = read("tokenizer_config.json").unwrap_or_default();
    let text = match token_text(&config[role]) {
        Some(text) => text.to_owned(),
        None => token_text(&read("special_tokens_map.json")?[role])?.to_owned(),
    };
    let listed = config["added_tokens_decoder"].as_object().into_iter().flatten();
    let mut listed = listed.filter(|(_, token)| token["content"] == text.as_str());
    if let Some(id) = listed.find_map(|(id, _)| id.parse().ok()) {
        return Some(id);
    }
    let tokenizer = regular::read(&folder.join("tokenizer.json"), TOKENIZER_BYTES_MAX).ok()?;
    let tokenizer: Tokenizer = parse_json(&tokenizer).ok()?;
    let added = tokenizer.added_tokens.iter().find(|token| token.content == text);
    added.map(|token| token.id).or_else(|| tokenizer.model.id(&text))
}

/// A token as the files write it: its text, or an object with it.
fn token_text(json: &Value) -> Option<&str> {
    json.as_str().or_else(|| json["content"].as_str())
}

/// What is read of a `tokenizer.json`.
#[derive(Deserialize)]
struct Tokenizer {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    model: TokenizerModel,
}

#[derive(Deserialize)]
struct AddedToken {
    id: TokenId,
    content: String,
}

#[derive(Default, Deserialize)]
struct TokenizerModel {
    #[serde(default)]
    vocab: Value,
}

impl TokenizerModel {
    /// The id of a piece: the vocabulary is a map of ids, or for Unigram a list of pieces.
    fn id(&self, text: &str) -> Option<TokenId> {
        let id = match &self.vocab {
            Value::Array(pieces) => pieces.iter().position(|piece| piece[0] == text)? as u64,
            ids => ids[text].as_u64()?,
        };
        TokenId::try_from(id).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_wherever_the_files_of_a_tokenizer_name_it() {
        let check = |files: &[(&str, &str)], expected: Option<TokenId>| {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in files {
                std::fs::write(folder.path().join(name), text).unwrap();
            }
            assert_eq!(named_token(folder.path(), "eos_token"), expected, "{files:?}");
        };
        let tokenizer = r#"{"added_tokens":[{"id":2,"content":"</s>"}],
            "model":{"vocab":{"<e>":7,"</s>":9}}}"#;
        let pieces = r#"{"model":{"vocab":[["a",0.0],["</s>",-1.5]]}}"#;
        let (config, map, json) =
            ("tokenizer_config.json", "special_tokens_map.json", "tokenizer.json");
        check(&[(config, r#"{"eos_token":"</s>"}"#), (json, tokenizer)], Some(2));
        check(&[(config, r#"{"eos_token":{"content":"</s>"}}"#), (json, tokenizer)], Some(2));
        check(&[(map, r#"{"eos_token":"<e>"}"#), (json, tokenizer)], Some(7));
        check(&[(map, r#"{"eos_token":{"content":"</s>"}}"#), (json, pieces)], Some(1));
        let decoder = r#"{"eos_token":"</s>","added_tokens_decoder":{"5":{"content":"</s>"}}}"#;
        check(&[(config, decoder), (json, tokenizer)], Some(5));
        // The tokenizer's own configuration goes before the map.
        let both = [(config, r#"{"eos_token":"<e>"}"#), (map, r#"{"eos_token":"</s>"}"#)];
        check(&[both[0], both[1], (json, tokenizer)], Some(7));
        check(&[(config, r#"{"eos_token":null}"#), (json, tokenizer)], None);
        check(&[(config, r#"{"eos_token":"<none>"}"#), (json, tokenizer)], None);
        check(&[(json, tokenizer)], None);
        check(&[(config, "no json"), (map, r#"{"eos_token":"</s>"}"#), (json, tokenizer)], Some(2));
    }
}
