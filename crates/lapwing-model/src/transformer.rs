//! What decoder-only models compute, and what their weights are called.
//!
//! One decoder: families differ from each other by what [`Transformer`] says, never by code.

mod experts;
mod families;
mod rope;

use std::ops::Range;

use crate::Architecture;
pub use experts::{Experts, FamilyExperts};
pub use families::{AttentionScale, Biased, FAMILIES, Family, Windows};
pub use rope::{Rope, RopeScaling};

/// The arithmetic of a decoder, such as Llama's, Mixtral's, Qwen's, gpt-oss's, Gemma's, Phi's and
/// Granite's.
///
/// ```text
/// x = embedding[token] * embedding_factor
/// each layer:
///   x += residual_factor * behind(attention(norm(x)))
///   x += residual_factor * behind(down(activation(gate(norm(x))) * up(norm(x))))
/// logits = cap(head(norm(x)) / logit_divisor)
/// ```
///
/// `behind` is another normalisation where [`Transformer::norms_behind`] says so; `cap` is
/// `limit * tanh(x / limit)`. Where there are [`Experts`], the feed-forward layer is a sum over some
/// of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Transformer {
    /// Width of the feed-forward layer, or of one expert.
    pub intermediate_size: usize,
    /// The experts of each layer; none in a dense model.
    pub experts: Option<Experts>,
    /// Epsilon of every RMS normalisation.
    pub rms_epsilon: f32,
    /// Whether what attention and the feed-forward layer give is normalised before it is added.
    pub norms_behind: bool,
    /// Whether q and k are normalised per head before rope.
    pub qk_norm: bool,
    /// Whether each query head has a score that takes a share of attention and gives nothing.
    ///
    /// Source: gpt-oss, and Xiao et al., "Efficient streaming language models with attention sinks".
    pub has_sinks: bool,
    /// Of the feed-forward layer's gate.
    pub activation: Activation,
    /// Which projections have a bias.
    pub biases: Biases,
    /// What a token's embedding is multiplied by.
    pub embedding_factor: f32,
    /// What each branch is multiplied by before it is added.
    pub residual_factor: f32,
    /// What the products of queries and keys are multiplied by.
    pub attention_scale: f32,
    /// The limit of scores, before the mask.
    pub attention_cap: Option<f32>,
    /// What logits are divided by.
    pub logit_divisor: f32,
    /// The limit of logits.
    pub logit_cap: Option<f32>,
    /// Whether the output head is the embedding.
    pub tied_head: bool,
    /// Rotary embedding.
    pub rope: Rope,
    /// Rotary embedding of layers with a window, where it is another.
    pub window_rope: Option<Rope>,
    /// The layers that look back over everything though the model has a sliding window.
    pub full_layers: Layers,
    /// The layers without rotary embedding.
    pub unrotated_layers: Layers,
}

/// A function of each element of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
    GeluTanh,
    /// `x / (1 + exp(-SLOPE x))` of what is at most [`Activation::LIMIT`]; what the gate multiplies
    /// is kept between that and its negative, and gets 1 added.
    ///
    /// Source: gpt-oss, whose code has these numbers and whose files do not.
    ClampedSilu,
}

impl Activation {
    /// How steep [`Activation::ClampedSilu`] is.
    pub const SLOPE: f32 = 1.702;
    /// Where [`Activation::ClampedSilu`] cuts off.
    pub const LIMIT: f32 = 7.0;
}

/// Which projections have a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Biases {
    /// q, k and v.
    pub qkv: bool,
    /// The output of attention.
    pub output: bool,
    /// All three of the feed-forward layer.
    pub feed_forward: bool,
}

/// Some of a model's layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layers {
    /// These.
    Listed(Vec<Range<usize>>),
    /// The last of every so many.
    LastOfEvery(usize),
}

/// Which of a model's two rotary embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RopeKind {
    /// [`Transformer::rope`].
    General,
    /// [`Transformer::window_rope`].
    Window,
}

impl Layers {
    /// No layer.
    pub const NONE: Layers = Layers::Listed(Vec::new());

    /// Whether the layer is one of them.
    pub fn contains(&self, layer_idx: usize) -> bool {
        match self {
            Layers::Listed(ranges) => ranges.iter().any(|layers| layers.contains(&layer_idx)),
            Layers::LastOfEvery(n) => *n > 0 && (layer_idx + 1).is_multiple_of(*n),
        }
    }

    /// Whether any of the first so many layers is one of them.
    pub fn has_any_of(&self, n_layers: usize) -> bool {
        match self {
            Layers::Listed(ranges) => ranges.iter().any(|layers| layers.start < n_layers),
            Layers::LastOfEvery(n) => (1..=n_layers).contains(n),
        }
    }
}

impl Transformer {
    /// The Hugging Face name of the embedding.
    pub const EMBEDDING: &str = "model.embed_tokens.weight";
    /// The Hugging Face name of the output head.
    pub const HEAD: &str = "lm_head.weight";
    /// The Hugging Face name of a layer's sinks, inside of it.
    pub const SINKS: &str = "self_attn.sinks";

    /// What a plain llama computes whose heads have this length: what others differ from. The sizes
    /// are for the caller to say.
    pub fn plain(head_size: usize) -> Transformer {
        Transformer {
            intermediate_size: 0,
            experts: None,
            rms_epsilon: 1e-5,
            norms_behind: false,
            qk_norm: false,
            has_sinks: false,
            activation: Activation::Silu,
            biases: Biases::default(),
            embedding_factor: 1.0,
            residual_factor: 1.0,
            attention_scale: (head_size as f32).sqrt().recip(),
            attention_cap: None,
            logit_divisor: 1.0,
            logit_cap: None,
            tied_head: true,
            rope: Rope { theta: 10_000.0, n_rotated: head_size, scaling: None },
            window_rope: None,
            full_layers: Layers::NONE,
            unrotated_layers: Layers::NONE,
        }
    }
}

impl Architecture<Transformer> {
    /// Positions that a layer looks back, when that is limited.
    pub fn window(&self, layer_idx: usize) -> Option<usize> {
        self.sliding_window.filter(|_| !self.family.full_layers.contains(layer_idx))
    }

    /// Which rotary embedding a layer has; none where it has none.
    pub fn rope_kind(&self, layer_idx: usize) -> Option<RopeKind> {
        if self.family.unrotated_layers.contains(layer_idx) {
            return None;
        }
        match (&self.family.window_rope, self.window(layer_idx)) {
            (Some(_), Some(_)) => Some(RopeKind::Window),
            _ => Some(RopeKind::General),
        }
    }

    /// The rotary embedding of a kind.
    pub fn rope(&self, kind: RopeKind) -> &Rope {
        match (kind, &self.family.window_rope) {
            (RopeKind::Window, Some(rope)) => rope,
            _ => &self.family.rope,
        }
    }

    /// Every tensor that the model has, by its Hugging Face name, with its shape, in the order of the
    /// layers.
    ///
    /// Made one at a time: a manifest may claim more layers than any file has.
    pub fn expected_tensors(&self) -> impl Iterator<Item = (String, Vec<usize>)> {
        let head = (!self.family.tied_head).then_some(Transformer::HEAD);
        let matrix = |name: &str| (name.to_owned(), vec![self.n_vocab, self.hidden_size]);
        let embedding = std::iter::once(matrix(Transformer::EMBEDDING));
        let layers = (0..self.n_layers).flat_map(|layer_idx| {
            let tensors = self.expected_layer_tensors().into_iter();
            tensors.map(move |(name, shape)| (format!("model.layers.{layer_idx}.{name}"), shape))
        });
        let norm = ("model.norm.weight".to_owned(), vec![self.hidden_size]);
        embedding.chain(layers).chain([norm]).chain(head.map(matrix))
    }

    /// The norm before the feed-forward layer, by its name inside of a layer.
    pub fn feed_forward_norm(&self) -> &'static str {
        match self.family.norms_behind {
            true => "pre_feedforward_layernorm",
            false => "post_attention_layernorm",
        }
    }

    /// The tensors of one layer, by their names inside of it.
    fn expected_layer_tensors(&self) -> Vec<(String, Vec<usize>)> {
        let q_size = self.n_heads.saturating_mul(self.head_size);
        let kv_size = self.n_kv_heads.saturating_mul(self.head_size);
        let hidden = self.hidden_size;
        let mut tensors = Vec::new();
        let mut add = |name: &str, shape: &[usize]| tensors.push((name.to_owned(), shape.to_vec()));
        add("input_layernorm.weight", &[hidden]);
        for (projection, n_rows) in [("q", q_size), ("k", kv_size), ("v", kv_size)] {
            add(&format!("self_attn.{projection}_proj.weight"), &[n_rows, hidden]);
            if self.family.biases.qkv {
                add(&format!("self_attn.{projection}_proj.bias"), &[n_rows]);
            }
        }
        if self.family.qk_norm {
            add("self_attn.q_norm.weight", &[self.head_size]);
            add("self_attn.k_norm.weight", &[self.head_size]);
        }
        if self.family.has_sinks {
            add(Transformer::SINKS, &[self.n_heads]);
        }
        add("self_attn.o_proj.weight", &[hidden, q_size]);
        if self.family.biases.output {
            add("self_attn.o_proj.bias", &[hidden]);
        }
        add("post_attention_layernorm.weight", &[hidden]);
        if self.family.norms_behind {
            add("pre_feedforward_layernorm.weight", &[hidden]);
        }
        let mut feed_forward = self.expected_feed_forward_tensors();
        tensors.append(&mut feed_forward);
        let mut add = |name: &str, shape: &[usize]| tensors.push((name.to_owned(), shape.to_vec()));
        if self.family.norms_behind {
            add("post_feedforward_layernorm.weight", &[hidden]);
        }
        tensors
    }

    /// The tensors of one layer behind its attention, but for norms.
    fn expected_feed_forward_tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, inner) = (self.hidden_size, self.family.intermediate_size);
        let projections = [("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)];
        let mut tensors = Vec::new();
        let mut add = |name: String, shape: Vec<usize>| tensors.push((name, shape));
        let Some(experts) = self.family.experts else {
            for (part, n_rows, n_columns) in projections {
                add(format!("mlp.{part}_proj.weight"), vec![n_rows, n_columns]);
                if self.family.biases.feed_forward {
                    add(format!("mlp.{part}_proj.bias"), vec![n_rows]);
                }
            }
            return tensors;
        };
        add(Experts::ROUTER.to_owned(), vec![experts.n_experts, hidden]);
        if experts.has_bias {
            add(Experts::ROUTER_BIAS.to_owned(), vec![experts.n_experts]);
        }
        for expert_idx in 0..experts.n_experts {
            for (part, n_rows, n_columns) in projections {
                add(Experts::projection(expert_idx, part), vec![n_rows, n_columns]);
                if experts.has_bias {
                    add(Experts::projection_bias(expert_idx, part), vec![n_rows]);
                }
            }
        }
        tensors
    }
}
