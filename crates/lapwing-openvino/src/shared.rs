//! What all decoders of a model share.

use std::sync::{Mutex, PoisonError};

use lapwing_backend::StepError;
use lapwing_formats::ir::ElementType;
use lapwing_model::TokenId;

use crate::graph::Graph;
use crate::native::{CompiledModel, InferRequest, NativeError};
use crate::npu::Sizes;

/// What decoders share.
pub(crate) struct Shared {
    pub(crate) compiled: CompiledModel,
    pub(crate) graph: Graph,
    /// Whether the graph computes the logits of chosen positions only.
    pub(crate) chooses_positions: bool,
    pub(crate) n_positions_max: usize,
    pub(crate) n_chunk_tokens: usize,
    pub(crate) can_rewind: bool,
    /// The fixed sizes of an NPU.
    pub(crate) npu: Option<Sizes>,
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

    /// There is room for `tokens` behind `n_positions`, and they are of the vocabulary.
    pub(crate) fn check(&self, tokens: &[TokenId], n_positions: usize) -> Result<(), StepError> {
        assert!(!tokens.is_empty(), "a step needs at least one token");
        let n_max = self.n_positions_max;
        if n_max < n_positions + tokens.len() {
            return Err(StepError::ContextFull { n_positions, n_new: tokens.len(), n_max });
        }
        let n_vocab = self.graph.n_vocab;
        match tokens.iter().find(|&&token| n_vocab <= token as usize) {
            Some(&token) => Err(StepError::NoSuchToken { token, n_vocab }),
            None => Ok(()),
        }
    }
}

/// Hidden states as the graph gives them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hidden {
    /// Length of one.
    pub(crate) n_hidden: usize,
    /// Type of their entries: f32, f16 or bf16.
    pub(crate) element_type: ElementType,
}
