//! One sequence on an NPU: a request that keeps its state itself.
//!
//! What differs from other devices, as probed with OpenVINO 2026.4.1: a prompt goes in at once, at
//! position 0 and with at least two tokens; behind it every token goes in alone. A request that has
//! generated must not begin anew with a single token, nor go back into its prompt: the logits are
//! wrong then, without an error. So a sequence that begins takes a new request.

use std::ffi::CString;
use std::sync::Arc;

use lapwing_backend::{Chunk, Inference, Source};

use crate::graph::Integers;
use crate::input::{Input, last};
use crate::native::{InferRequest, NativeError};
use crate::shared::Shared;

/// A sequence with its inputs.
pub(crate) struct NpuInference {
    shared: Arc<Shared>,
    request: InferRequest,
    input_ids: Input,
    attention_mask: Input,
    position_ids: Input,
}

impl NpuInference {
    pub(crate) fn new(shared: Arc<Shared>) -> Result<NpuInference, NativeError> {
        // NPUW names its inputs itself, after those that every export for it has.
        let input = |name: &str| {
            let name = CString::new(name).expect("a name without NUL");
            Input::new(&Integers { name, is_i32: false })
        };
        Ok(NpuInference {
            request: shared.request()?,
            input_ids: input("input_ids")?,
            attention_mask: input("attention_mask")?,
            position_ids: input("position_ids")?,
            shared,
        })
    }

    fn set_inputs(&mut self, chunk: &Chunk<'_>) -> Result<(), NativeError> {
        let Chunk { tokens, n_past, .. } = *chunk;
        let (request, n_new) = (&mut self.request, tokens.len());
        let n_seen = n_past + n_new;
        self.input_ids.set(request, &[1, n_new], tokens.iter().map(|&id| i64::from(id)))?;
        self.attention_mask.set(request, &[1, n_seen], std::iter::repeat_n(1, n_seen))?;
        let new = (n_past..n_seen).map(|position| position as i64);
        self.position_ids.set(request, &[1, n_new], new)
    }
}

impl Inference for NpuInference {
    /// The logits of one position come, so no more than that are asked for.
    fn run(&mut self, chunk: &mut Chunk<'_>) -> Result<(), Source> {
        self.set_inputs(chunk)?;
        chunk.time(|| self.request.infer())?;
        let graph = &self.shared.graph;
        let logits = self.request.output(&graph.logits)?;
        chunk.give(last::<f32>(&logits, "logits", graph.n_vocab)?, None);
        Ok(())
    }

    fn forget(&mut self, n_positions: usize) -> Result<(), &'static str> {
        if n_positions != 0 {
            return Err("an NPU gives wrong logits after going back");
        }
        let fresh = NpuInference::new(Arc::clone(&self.shared));
        *self = fresh.map_err(|_| "there is no memory for a new request")?;
        Ok(())
    }
}
