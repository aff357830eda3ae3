//! What all decoders of a model share.

use std::sync::{Arc, Mutex, PoisonError};

use lapwing_backend::Limits;

use crate::embedder::Embedder;
use crate::graph::Graph;
use crate::native::{CompiledModel, InferRequest, NativeError};

/// What decoders share.
pub(crate) struct Shared {
    pub(crate) compiled: CompiledModel,
    pub(crate) graph: Graph,
    /// What feeds the graph where it takes no token ids.
    pub(crate) embedder: Arc<Embedder>,
    /// Whether the graph computes the logits of chosen positions only.
    pub(crate) chooses_positions: bool,
    pub(crate) limits: Limits,
    /// A request that no decoder has taken yet.
    pub(crate) first_request: Mutex<Option<InferRequest>>,
    /// The hidden states, when they were asked for.
    pub(crate) hidden: Option<Hidden>,
}

impl Shared {
    /// A request with fresh variables.
    pub(crate) fn request(&self) -> Result<InferRequest, NativeError> {
        let first = self.first_request.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.map_or_else(|| self.compiled.request(), Ok)
    }
}

/// Hidden states as the graph gives them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hidden {
    /// Length of one.
    pub(crate) n_hidden: usize,
}
