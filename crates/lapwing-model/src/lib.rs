//! A model folder on disk, read into plain data: which kind it is, its files, shapes, token ids,
//! limits and defaults. Nothing here opens a session, so a folder opens on a machine that has no
//! runtime installed.
//!
//! Must not know: ONNX Runtime, OpenVINO, tokenizers. The graph itself is read by whoever runs or
//! shows it, through `lapwing-formats`; this crate reads the manifests beside it. To add a kind of
//! folder: a variant of [`FolderKind`], a module that fills a [`ModelFolder`], and its place in
//! [`ModelFolder::open`], which recognises kinds by content and never by the folder's name. To add
//! a family of models that Lapwing computes or exports itself: a module like `transformer`.

mod architecture;
mod transformer;

mod config;
mod embedding;
mod folder;
mod genai;
mod hugging_face;
mod json;
mod named_token;
mod openvino;

pub use architecture::{Architecture, N_POSITIONS_UNTOLD};
pub use config::{
    GenerationDefaults, SpecialTokens, TOKENIZER_BYTES_MAX, TOOL_TEMPLATE_FILE, TextFiles,
};
pub use embedding::{EmbeddingRecipe, EncoderOutput, Pooling};
pub use folder::{FolderKind, ModelFolder, OpenFolderError};
pub use hugging_face::{ONNX_EMBEDDING, ONNX_STEMS, VARIANT_PREFERENCE, onnx_embedding};
pub use json::parse_json;
pub use named_token::named_token;
pub use transformer::{
    Activation, AttentionScale, Biased, Biases, Experts, FAMILIES, Family, FamilyExperts, Layers,
    Rope, RopeKind, RopeScaling, Transformer, Windows,
};

/// The number of a token in a model's vocabulary.
pub type TokenId = u32;
