//! Tokenizer and chat template of a GGUF file, as the files of a Hugging Face folder.
//!
//! Source: the GGUF specification (`tokenizer.ggml.*`) and the serialised form of the `tokenizers`
//! library.

mod byte_level;
mod sentence_piece;
mod vocabulary;
mod white_space;

use lapwing_formats::gguf::Gguf;
use serde_json::{Map, Value, json};

use super::config::Config;
use super::keys::shown;
use super::{OpenCheckpointError, TextAssets, unsupported};
pub(super) use vocabulary::excerpt;
use vocabulary::{TokenType, Vocabulary};

/// Texts that end a turn or a document; a control token of such a text ends answers even where the
/// metadata names another one alone, as converters do of models that have several.
const ENDS: &[&str] = &[
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    END_OF_MESSAGE,
    "<|end_of_text|>",
    "<|endoftext|>",
    "<end_of_turn>",
    "<EOT>",
    HARMONY[0],
    HARMONY[1],
];

/// Ends an answer, but for models of [`HARMONY`], whose answers have several messages.
const END_OF_MESSAGE: &str = "<|end|>";

/// The two ends of an answer in the format of gpt-oss.
const HARMONY: [&str; 2] = ["<|return|>", "<|call|>"];

/// Texts of control tokens that also end an answer where the metadata names no end at all.
const ENDS_WHERE_NONE_IS_NAMED: &[&str] =
    &["<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>", "</s>"];

/// Read the tokenizer and the chat template.
pub(super) fn read(gguf: &Gguf, config: &Config) -> Result<TextAssets, OpenCheckpointError> {
    let vocabulary = Vocabulary::read(gguf)?;
    if config.architecture.n_vocab < vocabulary.len() {
        let expected =
            format!("at most {}, the rows of the embedding", config.architecture.n_vocab);
        let found = vocabulary.len().to_string();
        return Err(unsupported(gguf.path(), "tokenizer.ggml.tokens", expected, found));
    }
    let model = gguf.get("tokenizer.ggml.model").and_then(|value| value.as_str());
    let (tokenizer, adds_bos) = match model {
        Some("gpt2") => byte_level::tokenizer(gguf, &config.architecture.model_type, &vocabulary)?,
        Some("llama") => (sentence_piece::tokenizer(gguf, &vocabulary)?, true),
        other => {
            let found = other.map_or_else(|| found(gguf, "tokenizer.ggml.model"), excerpt);
            let expected = "gpt2 or llama".to_owned();
            return Err(unsupported(gguf.path(), "tokenizer.ggml.model", expected, found));
        }
    };
    let adds_bos = flag(gguf, "tokenizer.ggml.add_bos_token")?.unwrap_or(adds_bos);
    let adds_eos = flag(gguf, "tokenizer.ggml.add_eos_token")?.unwrap_or(false);
    let start = config.tokens.bos.filter(|_| adds_bos);
    let end = config.tokens.eos.first().copied().filter(|_| adds_eos);
    let added_tokens =
        vocabulary.added_tokens(white_space::taken(&config.architecture.model_type, &vocabulary));
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens,
        "normalizer": tokenizer.normalizer,
        "pre_tokenizer": tokenizer.pre_tokenizer,
        "post_processor": post_processor(&vocabulary, start, end),
        "decoder": tokenizer.decoder,
        "model": tokenizer.model,
    });
    let template = |key: &str| match gguf.get(key) {
        None => Ok(None),
        Some(value) => match value.as_str() {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(unsupported(gguf.path(), key, "text in UTF-8", shown(&value))),
        },
    };
    Ok(TextAssets {
        tokenizer_json: tokenizer.to_string().into_bytes(),
        tokenizer_config: tokenizer_config(&vocabulary, config, adds_bos, adds_eos),
        chat_template: template("tokenizer.chat_template")?,
        tool_template: template("tokenizer.chat_template.tool_use")?,
    })
}

/// Every id that ends an answer: those the metadata names, then control tokens whose text says so.
pub(super) fn end_ids(gguf: &Gguf, stated: [Option<u32>; 3]) -> Vec<u32> {
    let mut ids: Vec<u32> = stated.into_iter().flatten().collect();
    let none_is_named = ids.is_empty();
    if let Ok(vocabulary) = Vocabulary::read(gguf) {
        let control = || vocabulary.of_type(TokenType::Control);
        let is_harmony = HARMONY.iter().all(|end| control().any(|(_, text)| text == *end));
        let ends = control().filter(|(_, text)| {
            let is_end = ENDS.contains(text) && !(is_harmony && *text == END_OF_MESSAGE);
            is_end || none_is_named && ENDS_WHERE_NONE_IS_NAMED.contains(text)
        });
        ids.extend(ends.map(|(id, _)| id));
    }
    let mut seen = std::collections::BTreeSet::new();
    ids.retain(|id| seen.insert(*id));
    ids
}

/// The id that a sentence-piece file without this key means, as in llama.cpp: 1 and 2, where these
/// are control tokens.
pub(super) fn default_id(gguf: &Gguf, key: &str) -> Option<u32> {
    let model = gguf.get("tokenizer.ggml.model").and_then(|value| value.as_str());
    let id = match (model, key) {
        (Some("llama"), "bos_token_id") => 1,
        (Some("llama"), "eos_token_id") => 2,
        _ => return None,
    };
    let vocabulary = Vocabulary::read(gguf).ok()?;
    vocabulary.of_type(TokenType::Control).map(|(control, _)| control).find(|&other| other == id)
}

/// What a message says of a value that is not of the type expected.
pub(super) fn found(gguf: &Gguf, key: &str) -> String {
    gguf.get(key).map_or("none".to_owned(), |value| shown(&value))
}

/// A truth of the metadata; what is none is refused.
fn flag(gguf: &Gguf, key: &str) -> Result<Option<bool>, OpenCheckpointError> {
    let Some(value) = gguf.get(key) else { return Ok(None) };
    match value.as_bool() {
        Some(truth) => Ok(Some(truth)),
        None => Err(unsupported(gguf.path(), key, "true or false", shown(&value))),
    }
}

/// The parts of `tokenizer.json` in which the kinds differ.
struct TokenizerParts {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    model: Value,
}

/// The byte-pair model both kinds have.
fn byte_pair_model(vocabulary: &Vocabulary<'_>, merges: &[(&str, &str)], special: Value) -> Value {
    let mut model = json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": null,
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": false,
        "byte_fallback": false,
        "ignore_merges": false,
    });
    for (key, value) in special.as_object().into_iter().flatten() {
        model[key] = value.clone();
    }
    let ids = vocabulary.iter().map(|(id, text)| (text.to_owned(), Value::from(id)));
    model["vocab"] = Value::Object(ids.collect::<Map<String, Value>>());
    model["merges"] = merges.iter().map(|(left, right)| json!([left, right])).collect();
    model
}

/// Puts start and end tokens around a text; without any it adds nothing.
fn post_processor(vocabulary: &Vocabulary<'_>, start: Option<u32>, end: Option<u32>) -> Value {
    let special = |id: Option<u32>| {
        let text = id.and_then(|id| vocabulary.text(id));
        text.map(|text| json!({ "SpecialToken": { "id": text, "type_id": 0 } }))
    };
    let around = |name: &str| {
        let sequence = json!({ "Sequence": { "id": name, "type_id": 0 } });
        special(start).into_iter().chain([sequence]).chain(special(end)).collect::<Vec<Value>>()
    };
    let tokens = start.into_iter().chain(end).filter_map(|id| {
        let text = vocabulary.text(id)?;
        Some((text.to_owned(), json!({ "id": text, "ids": [id], "tokens": [text] })))
    });
    let pair = [around("A"), around("B")].concat();
    json!({
        "type": "TemplateProcessing",
        "single": around("A"),
        "pair": pair,
        "special_tokens": tokens.collect::<Map<String, Value>>(),
    })
}

fn tokenizer_config(
    vocabulary: &Vocabulary<'_>,
    config: &Config,
    adds_bos: bool,
    adds_eos: bool,
) -> Value {
    let mut json = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.architecture.n_positions_max,
        "clean_up_tokenization_spaces": false,
        "add_bos_token": adds_bos,
        "add_eos_token": adds_eos,
    });
    let roles = [
        ("bos_token", config.tokens.bos),
        ("eos_token", config.tokens.eos.first().copied()),
        ("unk_token", config.unk),
        ("pad_token", config.tokens.pad),
    ];
    for (role, id) in roles {
        if let Some(text) = id.and_then(|id| vocabulary.text(id)) {
            json[role] = text.into();
        }
    }
    json
}

#[cfg(test)]
pub(super) mod tests;
