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
    /// Several, each of which cuts what those before it left.
    Patterns(&'static [&'static str]),
}

const LLAMA3_WORDS: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// The cased letters of DeepSeek LLM: those of an older Unicode.
const DEEPSEEK_LETTERS: &str = concat!(
    r"\s?[",
    r"\x{41}-\x{5A}\x{61}-\x{7A}\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}",
    r"\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}",
    r"\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}",
    r"\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}",
    r"\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}",
    r"\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}",
    r"\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}",
    r"\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}",
    r"\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}",
    r"\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}",
    r"\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}",
    r"\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}",
    r"\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}",
    r"\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}",
    r"\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}",
    r"\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}",
    r"\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}",
    r"\x{1E900}-\x{1E943}",
    "]+",
);

/// Source: the `pre_tokenizer` in `tokenizer.json` of SmolLM2, Qwen2.5, Llama 3, Mistral Nemo, GPT-4o,
/// DeepSeek and GPT-2; which names mean the same: llama.cpp, `src/llama-vocab.cpp`, of whose names
/// these are those that files of the exported families have.
const WORD_RULES: &[WordRule] = &[
    WordRule {
        names: &["smollm", "starcoder", "refact", "command-r", "minerva-7b"],
        words: Words::DigitsThenGpt2,
        composes: false,
        ignores_merges: false,
        adds_bos: false,
    },
    WordRule {
        names: &["qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez"],
        words: Words::Pattern(concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
            r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )),
        composes: true,
        ignores_merges: false,
        adds_bos: false,
    },
    WordRule {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "midm-2.0", "lfm2"],
        words: Words::Pattern(LLAMA3_WORDS),
        composes: false,
        ignores_merges: true,
        adds_bos: true,
    },
    WordRule {
        names: &["smaug-bpe", "dbrx"],
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
        names: &["seed-coder"],
        words: Words::Pattern(concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}|",
            r" ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
        )),
        composes: false,
        ignores_merges: false,
        adds_bos: false,
    },
    WordRule {
        names: &["deepseek-llm"],
        words: Words::Patterns(&[
            r"[\r\n]",
            DEEPSEEK_LETTERS,
            r"\s?[!-/:-~！-／：-～‘-‟\x{3000}-。]+",
            r"\s+$",
            r"[一-龥ࠀ-一가-\x{D7FF}]+",
            r"\p{N}+",
        ]),
        composes: false,
        ignores_merges: false,
        adds_bos: false,
    },
    WordRule {
        names: &["deepseek-coder"],
        words: Words::Patterns(&[
            r"[\r\n]",
            r"\s?\p{L}+",
            r"\s?\p{P}+",
            r"[一-龥ࠀ-一가-\x{D7FF}]+",
            r"\p{N}",
        ]),
        composes: false,
        ignores_merges: false,
        adds_bos: false,
    },
    WordRule {
        names: &[
            "gpt-2",
            "default",
            "mpt",
            "olmo",
            "mellum",
            "a.x-4.0",
            "trillion",
            "granite-docling",
        ],
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
    let cuts_words = matches!(words, Words::DigitsThenGpt2);
    let mut steps = match words {
        Words::Gpt2 => return byte_level(false, true),
        Words::DigitsThenGpt2 => vec![json!({ "type": "Digits", "individual_digits": true })],
        Words::Pattern(pattern) => vec![split(pattern)],
        Words::Patterns(patterns) => patterns.iter().map(|pattern| split(pattern)).collect(),
    };
    steps.push(byte_level(false, cuts_words));
    json!({ "type": "Sequence", "pretokenizers": steps })
}

fn split(pattern: &str) -> Value {
    json!({
        "type": "Split",
        "pattern": { "Regex": pattern },
        "behavior": "Isolated",
        "invert": false,
    })
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
