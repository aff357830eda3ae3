//! What a decoder computes, as plain data: sizes, options of each layer, and where its matrices are.

use std::ops::Range;

use lapwing_model::Activation;
use lapwing_weights::Tensor;

/// A decoder of the llama kind.
///
/// ```text
/// x = embedding[token] * embedding_factor
/// each layer:
///   x += residual_factor * behind(output(attention(norm(x))))
///   x += residual_factor * behind(down(activation(gate(norm(x))) * up(norm(x))))
/// logits = cap(logit_factor * head(norm(x)))
/// ```
///
/// Families differ by what stands here, never by code. Weights stay in the file that they are in.
#[derive(Clone, Debug)]
pub struct Network<'w> {
    /// Length of a row of logits.
    pub n_vocab: usize,
    /// Length of a hidden state.
    pub n_hidden: usize,
    /// Length of one head's vectors.
    pub head_size: usize,
    /// Most positions of a sequence.
    pub n_positions_max: usize,
    /// A row for each token. Shapes: `[n_vocab, n_hidden]`.
    pub embedding: Tensor<'w>,
    /// What a row of the embedding is multiplied by.
    pub embedding_factor: f32,
    /// The layers in order.
    pub layers: Vec<Layer<'w>>,
    /// What branches are multiplied by before they are added.
    pub residual_factor: f32,
    /// Before the head.
    pub norm: Norm,
    /// The output head. Shapes: `[n_vocab, n_hidden]`.
    pub head: Linear<'w>,
    /// Rows that take the place of the head's first ones.
    pub fine_head: Option<Linear<'w>>,
    /// What logits are multiplied by.
    pub logit_factor: f32,
    /// The limit of logits, where they have one: `cap * tanh(x / cap)`.
    pub logit_cap: Option<f32>,
    /// The rotary embeddings that layers name by their place.
    pub rotary: Vec<Rotary>,
}

/// One layer.
#[derive(Clone, Debug)]
pub struct Layer<'w> {
    /// Before attention.
    pub norm: Norm,
    /// Attention.
    pub attention: Attention<'w>,
    /// Behind attention, before it is added.
    pub norm_behind_attention: Option<Norm>,
    /// Before the feed-forward layer.
    pub feed_forward_norm: Norm,
    /// The feed-forward layer.
    pub feed_forward: FeedForward<'w>,
    /// Behind the feed-forward layer, before it is added.
    pub norm_behind_feed_forward: Option<Norm>,
}

/// Attention of a layer.
#[derive(Clone, Debug)]
pub struct Attention<'w> {
    /// Number of query heads.
    pub n_heads: usize,
    /// Number of key and value heads; a divisor of [`Attention::n_heads`].
    pub n_kv_heads: usize,
    /// Shapes: `[n_heads * head_size, n_hidden]`.
    pub query: Linear<'w>,
    /// Shapes: `[n_kv_heads * head_size, n_hidden]`.
    pub key: Linear<'w>,
    /// Shapes: `[n_kv_heads * head_size, n_hidden]`.
    pub value: Linear<'w>,
    /// Of each query head, before rotary embedding.
    pub query_norm: Option<Norm>,
    /// Of each key head, before rotary embedding.
    pub key_norm: Option<Norm>,
    /// Which of [`Network::rotary`]; none in layers without.
    pub rotary: Option<usize>,
    /// What products of queries and keys are multiplied by.
    pub factor: f32,
    /// The limit of scores, before the mask: `cap * tanh(x / cap)`.
    pub cap: Option<f32>,
    /// How many positions a query sees, its own included, where that is limited.
    pub window: Option<usize>,
    /// Shapes: `[n_hidden, n_heads * head_size]`.
    pub output: Linear<'w>,
}

/// The feed-forward layer.
#[derive(Clone, Debug)]
pub struct FeedForward<'w> {
    /// Shapes: `[n_inner, n_hidden]`.
    pub gate: Linear<'w>,
    /// Shapes: `[n_inner, n_hidden]`.
    pub up: Linear<'w>,
    /// Shapes: `[n_hidden, n_inner]`.
    pub down: Linear<'w>,
    /// Of the gate.
    pub activation: Activation,
}

/// `x * weight / sqrt(mean(x^2) + epsilon)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// One factor for each element.
    pub weight: Vec<f32>,
    /// What keeps the divisor from 0.
    pub epsilon: f32,
}

/// Some rows of a matrix, and what is added to the product with them.
#[derive(Clone, Debug)]
pub struct Linear<'w> {
    /// A matrix, of which others may have other rows.
    pub matrix: Tensor<'w>,
    /// The rows.
    pub rows: Range<usize>,
    /// One number for each of the rows.
    pub bias: Option<Vec<f32>>,
}

/// Cosines and sines by which pairs of a head's elements turn at each position.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    /// Shapes: `[n_positions, n_rotated / 2]`.
    pub cosines: Vec<f32>,
    /// Shapes: `[n_positions, n_rotated / 2]`.
    pub sines: Vec<f32>,
    /// The first elements of a head, which turn.
    pub n_rotated: usize,
    /// Which elements are a pair.
    pub pairs: Pairs,
}

/// Which elements of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// Element `i` and element `i + n_rotated / 2`.
    Halves,
    /// Element `2 i` and element `2 i + 1`.
    Neighbours,
}

impl<'w> Linear<'w> {
    /// All rows of a matrix.
    pub fn whole(matrix: Tensor<'w>) -> Linear<'w> {
        let rows = 0..matrix.shape.first().copied().unwrap_or(0);
        Linear { matrix, rows, bias: None }
    }

    /// How long its input is.
    pub fn n_inputs(&self) -> usize {
        self.matrix.shape.get(1).copied().unwrap_or(0)
    }

    /// How long its output is.
    pub fn n_outputs(&self) -> usize {
        self.rows.len()
    }
}

impl Rotary {
    /// Positions that there are angles for.
    pub fn n_positions(&self) -> usize {
        self.cosines.len() / (self.n_rotated / 2).max(1)
    }
}
