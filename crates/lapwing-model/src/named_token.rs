//! Special tokens that a tokenizer's own files name.

use std::path::Path;

use lapwing_files::regular;
use serde::Deserialize;
use serde_json::Value;

use crate::json::Manifest;
use crate::{OpenFolderError, TOKENIZER_BYTES_MAX, TokenId, parse_json};

/// The id of the token that has a role (`eos_token`, …) in the tokenizer's files of `folder`:
/// `tokenizer_config.json`, else `special_tokens_map.json`. None where they name none.
///
/// What a model's own configuration says of ids goes first; this is for one that says nothing.
///
/// # Errors
///
/// When one of the files is there and cannot be read. One that is read and no JSON names nothing:
/// whoever needs it says so.
pub fn named_token(folder: &Path, role: &str) -> Result<Option<TokenId>, OpenFolderError> {
    let config = value_of(&folder.join("tokenizer_config.json"))?;
    let map = value_of(&folder.join("special_tokens_map.json"))?;
    let Some(text) = token_text(&config[role]).or_else(|| token_text(&map[role])) else {
        return Ok(None);
    };
    let listed = config["added_tokens_decoder"].as_object().into_iter().flatten();
    let mut listed = listed.filter(|(_, token)| token["content"] == text);
    if let Some(id) = listed.find_map(|(id, _)| id.parse().ok()) {
        return Ok(Some(id));
    }
    let file = folder.join("tokenizer.json");
    if !regular::is_there(&file) {
        return Ok(None);
    }
    let tokenizer = regular::read(&file, TOKENIZER_BYTES_MAX)
        .map_err(|error| OpenFolderError::Read { file, source: error.into() })?;
    let Ok(tokenizer) = parse_json::<Tokenizer>(&tokenizer) else { return Ok(None) };
    let added = tokenizer.added_tokens.iter().find(|token| token.content == text);
    Ok(added.map(|token| token.id).or_else(|| tokenizer.model.id(text)))
}

fn value_of(file: &Path) -> Result<Value, OpenFolderError> {
    match Manifest::read_if_there(file) {
        Err(OpenFolderError::Read { source, .. }) if source.is::<serde_json::Error>() => {
            Ok(Value::Null)
        }
        read => Ok(read?.map(Manifest::into_value).unwrap_or_default()),
    }
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
            assert_eq!(named_token(folder.path(), "eos_token").unwrap(), expected, "{files:?}");
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
