//! What the JSON files of a folder say beside shapes: token ids, text files, defaults of generation.

use std::path::PathBuf;

use crate::TokenId;

/// Token ids with a meaning of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begins a text.
    pub bos: Option<TokenId>,
    /// Each of these ends a text.
    pub eos: Vec<TokenId>,
    /// Fills a batch.
    pub pad: Option<TokenId>,
}

/// Where a model folder has the chat template of prompts with tools, when these have one of their own;
/// as transformers writes it beside `chat_template.jinja`.
pub const TOOL_TEMPLATE_FILE: &str = "additional_chat_templates/tool_use.jinja";

/// More than any `tokenizer.json` has: those of the largest vocabularies have tens of megabytes.
pub const TOKENIZER_BYTES_MAX: u64 = 256 << 20;

/// Where a folder keeps its text files; each may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextFiles {
    /// `tokenizer.json`.
    pub tokenizer: Option<PathBuf>,
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<PathBuf>,
    /// `chat_template.jinja`.
    pub chat_template: Option<PathBuf>,
}

/// How the model's authors would have it generate; `None` where they do not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationDefaults {
    /// False asks for the likeliest token each time.
    pub do_sample: Option<bool>,
    /// Divides the logits.
    pub temperature: Option<f32>,
    /// Keep the likeliest so many tokens.
    pub top_k: Option<usize>,
    /// Keep the likeliest tokens up to this probability mass.
    pub top_p: Option<f32>,
    /// Keep tokens of at least this share of the likeliest one's probability.
    pub min_p: Option<f32>,
    /// Divides the logits of tokens already seen.
    pub repeat_penalty: Option<f32>,
}
