//! What a model is made of.

/// The limit on positions of a model whose manifest names none, as those of recurrent models: nothing
/// in them grows with the text.
pub const N_POSITIONS_UNTOLD: usize = 1 << 20;

/// The shape of a model.
///
/// `F` is what the models of its family have beyond that: nothing for a runtime, whose graph says
/// it; [`Transformer`](crate::Transformer) for who writes or computes such a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture<F = ()> {
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
    /// What models of its family have beyond that.
    pub family: F,
}
