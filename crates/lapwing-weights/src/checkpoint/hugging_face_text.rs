//! The text files of a Hugging Face folder.

use std::path::Path;

use lapwing_files::regular::is_there;
use lapwing_model::TOOL_TEMPLATE_FILE;
use serde_json::Value;

use super::keys::excerpt;
use super::small_file::{read_file, read_json};
use super::{OpenCheckpointError, TextAssets, unsupported};

/// By which part of the model's vocabulary a tokenizer may know more: an image token that a text model
/// never gets. What a prompt then uses of it is refused where it is used.
const N_TOKENS_BEYOND: usize = 8;
/// The key of templates inside of a configuration.
const TEMPLATE: &str = "chat_template";

/// Read tokenizer and chat template; check that the tokenizer is this model's.
pub(super) fn read(folder: &Path, n_vocab: usize) -> Result<TextAssets, OpenCheckpointError> {
    let tokenizer_path = folder.join("tokenizer.json");
    let tokenizer_json = read_file(&tokenizer_path)?;
    let tokenizer: Value = serde_json::from_slice(&tokenizer_json)
        .map_err(OpenCheckpointError::read(&tokenizer_path))?;
    if let Some(id) =
        largest_id(&tokenizer).filter(|&id| (n_vocab + n_vocab / N_TOKENS_BEYOND) as u64 <= id)
    {
        let expected = format!("about the vocabulary of {n_vocab} at most");
        let (path, found) = (&tokenizer_path, id.to_string());
        return Err(unsupported(path, "largest token id", expected, found));
    }
    let config_path = folder.join("tokenizer_config.json");
    let mut tokenizer_config = match is_there(&config_path) {
        true => read_json(&config_path)?,
        false => Value::Object(serde_json::Map::new()),
    };
    let Some(config) = tokenizer_config.as_object_mut() else {
        let found = excerpt(&tokenizer_config.to_string());
        return Err(unsupported(&config_path, "contents", "an object", found));
    };
    let inside = config.shift_remove(TEMPLATE).filter(|template| !template.is_null());
    let (chat_template, tool_template) = match template_file(&folder.join("chat_template.jinja"))? {
        Some(default) => (Some(default), template_file(&folder.join(TOOL_TEMPLATE_FILE))?),
        None => match &inside {
            Some(json) => templates(json).ok_or_else(|| {
                let expected = "a text, or a list of named ones";
                unsupported(&config_path, TEMPLATE, expected, excerpt(&json.to_string()))
            })?,
            None => (None, None),
        },
    };
    Ok(TextAssets { tokenizer_json, tokenizer_config, chat_template, tool_template })
}

fn template_file(path: &Path) -> Result<Option<String>, OpenCheckpointError> {
    if !is_there(path) {
        return Ok(None);
    }
    let text = String::from_utf8(read_file(path)?);
    Ok(Some(text.map_err(OpenCheckpointError::read(path))?))
}

/// The templates inside of an older `tokenizer_config.json`, text or a list of named ones: that for
/// all prompts, and the one for prompts with tools. None of what is neither.
fn templates(json: &Value) -> Option<(Option<String>, Option<String>)> {
    let text = |json: &Value| json.as_str().map(str::to_owned);
    let Value::Array(named) = json else { return Some((Some(text(json)?), None)) };
    let of_name = |name: &str| named.iter().find(|entry| entry["name"] == name);
    let template = |entry: Option<&Value>| match entry {
        Some(entry) => Some(Some(text(&entry["template"])?)),
        None => Some(None),
    };
    Some((template(of_name("default").or(named.first()))?, template(of_name("tool_use"))?))
}

/// The largest id of the model's vocabulary (a map, or for Unigram a list) and the added tokens.
fn largest_id(tokenizer: &Value) -> Option<u64> {
    let in_vocabulary = match &tokenizer["model"]["vocab"] {
        Value::Object(ids) => ids.values().filter_map(Value::as_u64).max(),
        Value::Array(pieces) => (pieces.len() as u64).checked_sub(1),
        _ => None,
    };
    let added = tokenizer["added_tokens"].as_array().map_or(&[][..], Vec::as_slice);
    in_vocabulary.into_iter().chain(added.iter().filter_map(|token| token["id"].as_u64())).max()
}
