//! What a worker tells of models, and of itself.

use lapwing_backend::MemoryBreakdown;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is known of an open model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Card {
    /// Its name in the store.
    pub name: String,
    /// The library that runs it: `ort`, `openvino`.
    pub backend: String,
    /// That library's version.
    pub backend_version: String,
    /// The device that runs it.
    pub device: String,
    /// That device's name.
    pub device_name: String,
    /// Most positions of a sequence.
    pub n_positions_max: usize,
    /// Tokens of the vocabulary.
    pub n_vocab: usize,
    /// What it can do.
    pub can: Abilities,
    /// The chat template's source.
    pub template: Option<String>,
    /// Which of several graphs of its folder.
    pub variant: Option<String>,
    /// The driver of the device, where the library or the system tells.
    pub driver_version: Option<String>,
    /// The longest prompt, where it was compiled for one.
    pub n_prompt_tokens_max: Option<usize>,
    /// The profile that corrects its logits.
    pub correction: Option<String>,
    /// SHA-256 of that profile.
    pub correction_sha256: Option<String>,
    /// Its own account of its memory.
    #[schema(value_type = Object)]
    pub memory: MemoryBreakdown,
    /// Prompts go in as a whole, so that they wait for answers to end.
    pub takes_whole_prompts: bool,
    /// How long opening it took.
    pub open_ms: f64,
}

/// What a model can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Abilities {
    /// Go on from a prompt.
    pub completes: bool,
    /// Answer a conversation: it has a template.
    pub chats: bool,
    /// Call functions: its template tells it of them.
    pub calls: bool,
    /// Think before it answers.
    pub thinks: bool,
    /// Whether its template lets one say whether to think.
    pub thinks_when_asked: bool,
    /// Turn texts into vectors.
    pub embeds: bool,
}

/// A model in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Listing {
    /// Its name.
    pub name: String,
    /// Bytes of its files.
    pub n_bytes: u64,
    /// When it was last changed, in seconds since 1970.
    pub modified_s: u64,
    /// SHA-256 over the names, sizes and times of its files, in hexadecimal digits: the same as long
    /// as nobody changes them.
    pub digest: String,
    /// `openvino-ir`, `onnx-genai`, `onnx-transformersjs`, `gguf`, `safetensors`.
    pub kind: String,
    /// Architecture: `llama`, `qwen2`, …
    pub family: String,
    /// How many weights it has.
    pub n_parameters: Option<u64>,
    /// The type of most of its weights: `u4`, `i8`, …
    pub quantisation: String,
    /// Most positions of a sequence.
    pub n_positions_max: Option<usize>,
    /// What it can do.
    pub can: Abilities,
    /// The chat template's source.
    pub template: Option<String>,
    /// Licence, if known.
    pub licence: Option<String>,
    /// Why it does not run as it is.
    pub unusable: Option<String>,
}

/// A library that runs models, and what it offers on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Library {
    /// `ort`, `openvino`.
    pub backend: String,
    /// Its version; `-` where it cannot be used.
    pub version: String,
    /// Its devices.
    pub devices: Vec<OfferedDevice>,
    /// Why there are none.
    pub unusable: Option<String>,
}

/// A device of a library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OfferedDevice {
    /// `cpu`, `gpu`, `npu`.
    pub kind: String,
    /// The library's own name for it.
    pub id: String,
    /// The product's name; empty where nobody tells.
    pub name: String,
}

/// How things stand in a worker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct State {
    /// Answers that are being made.
    pub n_running: usize,
    /// Prompts that wait.
    pub n_waiting: usize,
    /// Sequences that are kept.
    pub n_kept: usize,
    /// Bytes that those take, where the library tells.
    pub n_kept_bytes: Option<u64>,
    /// Tokens of prompts that were read since the start.
    pub n_prompt_tokens: u64,
    /// Tokens of prompts that kept sequences knew.
    pub n_reused_tokens: u64,
    /// Tokens that were chosen.
    pub n_tokens: u64,
    /// Steps of the model over chosen tokens.
    pub n_steps: u64,
}
