//! The one table of families: how each differs from the others before any file is read.

use super::{Activation, FamilyExperts};

/// What a family's name says; sizes and numbers are in the files of a model.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// `model_type` in a `config.json`.
    pub model_type: &'static str,
    /// The class of transformers that computes it.
    pub class_name: &'static str,
    /// `general.architecture` in a GGUF; none where it has another family's name there.
    pub gguf: Option<&'static str>,
    /// How files tell of its experts; none in a dense family.
    pub experts: Option<FamilyExperts>,
    /// See [`Transformer::norms_behind`](super::Transformer::norms_behind).
    pub norms_behind: bool,
    /// See [`Transformer::qk_norm`](super::Transformer::qk_norm).
    pub qk_norm: bool,
    /// See [`Transformer::has_sinks`](super::Transformer::has_sinks).
    pub has_sinks: bool,
    /// See [`Transformer::activation`](super::Transformer::activation).
    pub activation: Activation,
    /// Whether embeddings are multiplied by the root of their length.
    pub scales_embedding: bool,
    /// Whether layers with a window turn by another base.
    pub has_window_rope: bool,
    /// What the products of queries and keys are multiplied by.
    pub attention_scale: AttentionScale,
    /// Which layers may have a window.
    pub windows: Windows,
    /// Which projections have a bias whatever the configuration says.
    pub biased: Biased,
    /// Whether a head is the embedding where the configuration does not say.
    pub is_tied: bool,
    /// Whether frequencies are stretched where the configuration does not say how: it must.
    pub is_rope_scaled: bool,
    /// Whether YaRN's ramp begins and ends at whole indices where no key says, as none of a GGUF
    /// does.
    pub truncates_yarn: bool,
    /// The length of context where the configuration does not say.
    pub n_positions_default: usize,
    /// The base of the frequencies where the configuration does not say.
    pub theta_default: f32,
    /// What other keys of a `config.json` mean where they are absent.
    pub defaults: &'static [(&'static str, f64)],
    /// Whether weights of norms are stored less 1 in safetensors.
    pub stores_norms_less_one: bool,
    /// Whether q, k and v are one matrix, and gate and up another.
    pub is_fused: bool,
    /// Whether the first elements of a head may turn and the others not.
    pub is_partly_rotated: bool,
    /// The number of layers of the member whose scores are scaled by the width of the model, which
    /// no key of a GGUF says.
    pub n_layers_scaled_by_width: Option<usize>,
    /// What the norm before the feed-forward layer is called in a GGUF.
    pub feed_forward_norm_in_gguf: &'static str,
    /// Whether the rows of q and k lie in pairs in a GGUF.
    pub is_interleaved_in_gguf: bool,
}

/// What the products of queries and keys are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AttentionScale {
    /// The inverse root of the length of a head.
    HeadSize,
    /// The inverse root of `query_pre_attn_scalar`; this is its default.
    Scalar(f32),
    /// `attention_multiplier`.
    Multiplier,
}

/// Which layers may have a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// None.
    Never,
    /// All, where there is a window at all; with its length where the configuration lacks the key.
    All(Option<usize>),
    /// By `use_sliding_window`, all but the first `max_window_layers`, or by `layer_types`.
    Switched,
    /// By `use_sliding_window`, the layers without rotary embedding, or by `layer_types`.
    Unrotated,
    /// All but the last of every so many, or by `layer_types`.
    Pattern(usize),
}

/// Which projections have a bias whatever the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Biased {
    /// None: by the configuration and by what is stored.
    AsStored,
    /// q, k and v.
    Qkv,
}

/// Llama, and what the others differ from.
const LLAMA: Family = Family {
    model_type: "llama",
    class_name: "LlamaForCausalLM",
    gguf: Some("llama"),
    experts: None,
    norms_behind: false,
    qk_norm: false,
    has_sinks: false,
    activation: Activation::Silu,
    scales_embedding: false,
    has_window_rope: false,
    attention_scale: AttentionScale::HeadSize,
    windows: Windows::Never,
    biased: Biased::AsStored,
    is_tied: false,
    is_rope_scaled: false,
    truncates_yarn: true,
    n_positions_default: 2048,
    theta_default: 10_000.0,
    defaults: &[],
    stores_norms_less_one: false,
    is_fused: false,
    is_partly_rotated: false,
    n_layers_scaled_by_width: None,
    feed_forward_norm_in_gguf: "ffn_norm",
    is_interleaved_in_gguf: true,
};

/// Every family that can be exported.
///
/// Source: `configuration_*.py` and `modeling_*.py` of transformers 5, `src/models/*.cpp` and
/// `conversion/*.py` of llama.cpp.
pub const FAMILIES: &[Family] = &[
    LLAMA,
    Family {
        model_type: "mistral",
        class_name: "MistralForCausalLM",
        gguf: None,
        windows: Windows::All(Some(4096)),
        n_positions_default: 131_072,
        ..LLAMA
    },
    MIXTRAL,
    QWEN2,
    Family {
        model_type: "qwen3",
        class_name: "Qwen3ForCausalLM",
        gguf: Some("qwen3"),
        qk_norm: true,
        biased: Biased::AsStored,
        ..QWEN2
    },
    QWEN3_MOE,
    GPT_OSS,
    GEMMA3,
    Family {
        model_type: "phi3",
        class_name: "Phi3ForCausalLM",
        gguf: Some("phi3"),
        windows: Windows::All(None),
        n_positions_default: 4096,
        is_fused: true,
        is_partly_rotated: true,
        is_interleaved_in_gguf: false,
        ..LLAMA
    },
    Family {
        model_type: "granite",
        class_name: "GraniteForCausalLM",
        gguf: Some("granite"),
        attention_scale: AttentionScale::Multiplier,
        ..LLAMA
    },
    Family {
        model_type: "smollm3",
        class_name: "SmolLM3ForCausalLM",
        gguf: Some("smollm3"),
        windows: Windows::Unrotated,
        is_tied: true,
        n_positions_default: 32_768,
        theta_default: 2_000_000.0,
        ..LLAMA
    },
    Family {
        model_type: "gemma2",
        class_name: "Gemma2ForCausalLM",
        gguf: Some("gemma2"),
        qk_norm: false,
        has_window_rope: false,
        windows: Windows::Pattern(2),
        n_positions_default: 8192,
        theta_default: 10_000.0,
        defaults: &[
            ("head_dim", 256.0),
            ("sliding_window", 4096.0),
            ("attn_logit_softcapping", 50.0),
            ("final_logit_softcapping", 30.0),
        ],
        n_layers_scaled_by_width: Some(46),
        ..GEMMA3
    },
];

const GEMMA3: Family = Family {
    model_type: "gemma3_text",
    class_name: "Gemma3ForCausalLM",
    gguf: Some("gemma3"),
    norms_behind: true,
    qk_norm: true,
    activation: Activation::GeluTanh,
    scales_embedding: true,
    has_window_rope: true,
    attention_scale: AttentionScale::Scalar(256.0),
    windows: Windows::Pattern(6),
    is_tied: true,
    n_positions_default: 131_072,
    theta_default: 1_000_000.0,
    // What published configurations leave out.
    defaults: &[
        ("vocab_size", 262_208.0),
        ("num_attention_heads", 8.0),
        ("num_key_value_heads", 4.0),
        ("head_dim", 256.0),
        ("rms_norm_eps", 1e-6),
        ("sliding_window", 4096.0),
    ],
    stores_norms_less_one: true,
    // The 27B.
    n_layers_scaled_by_width: Some(62),
    is_interleaved_in_gguf: false,
    ..LLAMA
};

const QWEN2: Family = Family {
    model_type: "qwen2",
    class_name: "Qwen2ForCausalLM",
    gguf: Some("qwen2"),
    windows: Windows::Switched,
    biased: Biased::Qkv,
    n_positions_default: 32_768,
    is_interleaved_in_gguf: false,
    ..LLAMA
};

const MIXTRAL: Family = Family {
    model_type: "mixtral",
    class_name: "MixtralForCausalLM",
    experts: Some(FamilyExperts {
        n_experts_keys: &["num_local_experts"],
        n_used_keys: &["num_experts_per_tok"],
        width_key: "intermediate_size",
        width_key_in_gguf: "feed_forward_length",
        normalises_shares: Some(true),
        module: "block_sparse_moe",
        router: "gate",
        projections: ["w1", "w3", "w2"],
        is_biased: false,
        are_in_turn: false,
    }),
    windows: Windows::All(None),
    n_positions_default: 131_072,
    theta_default: 1e6,
    defaults: &[
        ("num_local_experts", 8.0),
        ("num_experts_per_tok", 2.0),
        ("num_key_value_heads", 8.0),
        ("intermediate_size", 14_336.0),
        ("rms_norm_eps", 1e-5),
    ],
    ..LLAMA
};

const QWEN3_MOE: Family = Family {
    model_type: "qwen3_moe",
    class_name: "Qwen3MoeForCausalLM",
    gguf: Some("qwen3moe"),
    experts: Some(FamilyExperts {
        n_experts_keys: &["num_experts", "num_local_experts"],
        n_used_keys: &["num_experts_per_tok"],
        width_key: "moe_intermediate_size",
        width_key_in_gguf: "expert_feed_forward_length",
        normalises_shares: None,
        module: "mlp",
        router: "gate",
        projections: ["gate_proj", "up_proj", "down_proj"],
        is_biased: false,
        are_in_turn: false,
    }),
    qk_norm: true,
    windows: Windows::Never,
    biased: Biased::AsStored,
    defaults: &[
        ("num_experts", 128.0),
        ("num_experts_per_tok", 8.0),
        ("num_key_value_heads", 4.0),
        ("moe_intermediate_size", 768.0),
        ("rms_norm_eps", 1e-6),
    ],
    ..QWEN2
};

const GPT_OSS: Family = Family {
    model_type: "gpt_oss",
    class_name: "GptOssForCausalLM",
    gguf: Some("gpt-oss"),
    experts: Some(FamilyExperts {
        n_experts_keys: &["num_local_experts"],
        n_used_keys: &["num_experts_per_tok", "experts_per_token"],
        width_key: "intermediate_size",
        width_key_in_gguf: "expert_feed_forward_length",
        normalises_shares: Some(true),
        module: "mlp",
        router: "router",
        projections: ["gate_proj", "up_proj", "down_proj"],
        is_biased: true,
        are_in_turn: true,
    }),
    has_sinks: true,
    activation: Activation::ClampedSilu,
    windows: Windows::Pattern(2),
    is_rope_scaled: true,
    truncates_yarn: false,
    n_positions_default: 131_072,
    theta_default: 150_000.0,
    defaults: &[
        ("num_local_experts", 128.0),
        ("num_experts_per_tok", 4.0),
        ("num_attention_heads", 64.0),
        ("num_key_value_heads", 8.0),
        ("head_dim", 64.0),
        ("sliding_window", 128.0),
        ("rms_norm_eps", 1e-5),
    ],
    feed_forward_norm_in_gguf: "post_attention_norm",
    is_interleaved_in_gguf: false,
    ..LLAMA
};

impl Family {
    /// The family of this `model_type`.
    pub fn of_model_type(model_type: &str) -> Option<&'static Family> {
        FAMILIES.iter().find(|family| family.model_type == model_type)
    }

    /// The family of this `general.architecture`; some have one name for a dense family and for
    /// one with experts.
    pub fn of_gguf(architecture: &str, has_experts: bool) -> Option<&'static Family> {
        let mut named = FAMILIES.iter().filter(|family| family.gguf == Some(architecture));
        let first = named.clone().next();
        named.find(|family| family.experts.is_some() == has_experts).or(first)
    }
}
