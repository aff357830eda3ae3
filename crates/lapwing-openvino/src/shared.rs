//! What all decoders of a model share.

use std::sync::Arc;

use lapwing_backend::Limits;

use crate::embedder::Embedder;
use crate::graph::Graph;
use crate::native::CompiledModel;

/// What decoders share.
pub(crate) struct Shared {
    pub(crate) compiled: CompiledModel,
    pub(crate) graph: Graph,
    /// What feeds the graph where it takes no token ids.
    pub(crate) embedder: Arc<Embedder>,
    /// Whether the graph computes the logits of chosen positions only.
    pub(crate) chooses_positions: bool,
    pub(crate) limits: Limits,
    /// The hidden states, when they were asked for.
    pub(crate) hidden: Option<Hidden>,
}

/// Hidden states as the graph gives them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hidden {
    /// Length of one.
    pub(crate) n_hidden: usize,
}
