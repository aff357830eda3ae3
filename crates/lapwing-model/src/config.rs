//! What the JSON files of a folder say: shapes, token ids, defaults of generation.

use std::path::PathBuf;

use crate::TokenId;

/// The limit on positions of a model whose manifest names none, as those of recurrent models: nothing
/// in them grows with the text.
pub const N_POSITIONS_UNTOLD: usize = 1 << 20;

/// The shape of a model, as far as its runtime needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// The family's name in the manifest, such as `llama`.
    pub model_type: String,
    /// Number of tokens the model can name; the length of one row of logits.
    pub n_vocab: usize,
    /// Number of decoder layers.
    pub n_layers: usize,
    /// Number of query heads; 0 in models without attention.
    pub n_heads: usize,
    /// Number of key and value heads; 0 in models without attention.
    pub n_kv_heads: usize,
    /// Length of one head's vectors; 0 in models without attention.
    pub head_size: usize,
    /// Length of a hidden state.
    pub hidden_size: usize,
    /// Most positions the model was made for, or [`N_POSITIONS_UNTOLD`].
    pub n_positions_max: usize,
    /// Positions an attention layer looks back, when that is limited.
    pub sliding_window: Option<usize>,
    /// Positions that the state of a convolution layer holds, in hybrids that have such layers.
    pub conv_cache_size: Option<usize>,
}

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
