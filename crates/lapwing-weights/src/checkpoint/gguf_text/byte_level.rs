//! Byte-level BPE as GPT-2 introduced it, in the variants that `tokenizer.ggml.pre` names.

use lapwing_formats::gguf::{Gguf, ValueType};
use serde_json::{Value, json};

use super::vocabulary::{Vocabulary, excerpt};
use super::{OpenCheckpointError, TokenizerParts, byte_pair_model, unsupported};

const MERGES: &str = "tokenizer.ggml.merges";
const PRE_TOKENIZER: &str = "tokenizer.ggml.pre";
/// A token that only the vocabulary of Llama 3 and its descendants has.
const LLAMA3_TOKEN: &str = "<|begin_of_text|>";

/// How one family of models cuts a text into words before merging.
struct WordRule {
    names: &'static [&'static str],
    words: Words,
    /// Whether text is brought to Unicode normal form C first.
    composes: bool,
    /// Whether a word that is a token skips the merges.
    ignores_merges: bool,
    /// Whether a text starts with the start token unless the file says otherwise.
    adds_bos: bool,
}

enum Words {
    /// GPT-2's own pattern, built into the byte-level pre-tokenizer.
    Gpt2,
    /// Each digit alone, then GPT-2's pattern.
    DigitsThenGpt2,
    /// A pattern of the model's own.
    Pattern(&'static str),
}

const LLAMA3_WORDS: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// Source: the `pre_tokenizer` in `tokenizer.json` of SmolLM2, Qwen2.5, Llama 3, Mistral Nemo, GPT-4o
/// and GPT-2; which names mean the same: llama.cpp, `src/llama-vocab.cpp`.
const WORD_RULES: &[WordRule] = &[
    WordRule {
        names: &["smollm", "starcoder", "refact", "command-r"],
        words: Words::DigitsThenGpt2,
        composes: false,
        ignores_merges: false,
        adds_bos: false,
    },
    WordRule {
        names: &["qwen2", "deepseek-r1-qwen"],
        words: Words::Pattern(concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
            r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )),
        composes: true,
        ignores_merges: false,
        adds_bos: false,
    },
    WordRule {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3"],
        words: Words::Pattern(LLAMA3_WORDS),
        composes: false,
        ignores_merges: true,
        adds_bos: true,
    },
    WordRule {
        names: &["smaug-bpe"],
        words: Words::Pattern(LLAMA3_WORDS),
        composes: false,
        ignores_merges: false,
        adds_bos: false,
    },
    WordRule {
        names: &["tekken"],
        words: Words::Pattern(concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|",
            r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )),
        composes: false,
        ignores_merges: true,
        adds_bos: true,
    },
    WordRule {
        names: &["gpt-4o", "llama4"],
        words: Words::Pattern(concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )),
        composes: false,
        ignores_merges: false,
        adds_bos: false,
    },
    WordRule {
        names: &["gpt-2", "default", "mpt", "olmo"],
        words: Words::Gpt2,
        composes: false,
        ignores_merges: false,
        adds_bos: false,
    },
];

/// The parts of `tokenizer.json`, and whether this family starts a text with the start token.
pub(super) fn tokenizer(
    gguf: &Gguf,
    architecture: &str,
    vocabulary: &Vocabulary<'_>,
) -> Result<(TokenizerParts, bool), OpenCheckpointError> {
    let name = match gguf.get(PRE_TOKENIZER).map(|value| value.as_str()) {
        Some(name) => name.unwrap_or("no text"),
        // As early converters wrote files: the family's own rule, where it has one.
        None if architecture.starts_with("qwen") => "qwen2",
        None if vocabulary.id(LLAMA3_TOKEN).is_some() => "llama-bpe",
        None => "none",
    };
    let Some(rule) = WORD_RULES.iter().find(|rule| rule.names.contains(&name)) else {
        let known: Vec<&str> = WORD_RULES.iter().flat_map(|rule| rule.names).copied().collect();
        return Err(unsupported(gguf.path(), PRE_TOKENIZER, known.join(", "), excerpt(name)));
    };
    if name == "default" {
        tracing::warn!("{PRE_TOKENIZER} is \"default\", which names no rule: GPT-2's is taken");
    }
    let merges = merges(gguf, vocabulary)?;
    let parts = TokenizerParts {
        normalizer: if rule.composes { json!({ "type": "NFC" }) } else { Value::Null },
        pre_tokenizer: pre_tokenizer(&rule.words),
        decoder: byte_level(true, true),
        model: byte_pair_model(
            vocabulary,
            &merges,
            json!({ "ignore_merges": rule.ignores_merges }),
        ),
    };
    Ok((parts, rule.adds_bos))
}

fn pre_tokenizer(words: &Words) -> Value {
    let first = match words {
        Words::Gpt2 => return byte_level(false, true),
        Words::DigitsThenGpt2 => json!({ "type": "Digits", "individual_digits": true }),
        Words::Pattern(pattern) => json!({
            "type": "Split",
            "pattern": { "Regex": pattern },
            "behavior": "Isolated",
            "invert": false,
        }),
    };
    let cuts_words = matches!(words, Words::DigitsThenGpt2);
    json!({ "type": "Sequence", "pretokenizers": [first, byte_level(false, cuts_words)] })
}

fn byte_level(add_prefix_space: bool, use_regex: bool) -> Value {
    json!({
        "type": "ByteLevel",
        "add_prefix_space": add_prefix_space,
        "trim_offsets": true,
        "use_regex": use_regex,
    })
}

/// The merges in order, each two tokens whose concatenation is one too.
fn merges<'a>(
    gguf: &'a Gguf,
    vocabulary: &Vocabulary<'_>,
) -> Result<Vec<(&'a str, &'a str)>, OpenCheckpointError> {
    let Some(array) = gguf.get(MERGES).and_then(|value| value.as_array()) else {
        return Err(unsupported(
            gguf.path(),
            MERGES,
            "a list of strings".to_owned(),
            "none".to_owned(),
        ));
    };
    if array.element_type() != ValueType::String {
        let expected = "a list of strings".to_owned();
        return Err(unsupported(gguf.path(), MERGES, expected, format!("{array:?}")));
    }
    // Each string has its length in the file, which bounds their number.
    let mut merges = Vec::with_capacity(array.len());
    let mut joined = String::new();
    for merge in array.iter() {
        // Only a separating space is a space: the bytes of text are other characters.
        let pair = merge.as_str().and_then(|text| text.split_once(' '));
        let mut is_known = |(left, right): &(&str, &str)| {
            joined.clear();
            joined.extend([*left, *right]);
            [left, right, joined.as_str()].iter().all(|text| vocabulary.id(text).is_some())
        };
        match pair.filter(&mut is_known) {
            Some(pair) => merges.push(pair),
            None => {
                let expected = "two tokens that make a third".to_owned();
                let found = format!("{:?}", excerpt(merge.as_str().unwrap_or("no text")));
                return Err(unsupported(gguf.path(), MERGES, expected, found));
            }
        }
    }
    Ok(merges)
}
