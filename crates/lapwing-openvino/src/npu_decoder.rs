//! One sequence on an NPU: a request that keeps its state itself.
//!
//! What differs from other devices, as probed with OpenVINO 2026.4.1: a prompt goes in at once, at
//! position 0 and with at least two tokens; behind it every token goes in alone. A request that has
//! generated must not begin anew with a single token, nor go back into its prompt: the logits are
//! wrong then, without an error. So a sequence that begins takes a new request.

use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lapwing_backend::{Decoder, RewindError, Row, StepError};
use lapwing_model::TokenId;

use crate::NAME;
use crate::graph::Integers;
use crate::input::{Input, last};
use crate::native::{InferRequest, NativeError};
use crate::shared::Shared;

/// A sequence with its inputs.
pub(crate) struct NpuDecoder {
    shared: Arc<Shared>,
    n_prompt_tokens_max: usize,
    request: InferRequest,
    input_ids: Input,
    attention_mask: Input,
    position_ids: Input,
    n_positions: usize,
    inference: Duration,
}

impl NpuDecoder {
    pub(crate) fn new(
        shared: Arc<Shared>,
        n_prompt_tokens_max: usize,
    ) -> Result<NpuDecoder, NativeError> {
        // NPUW names its inputs itself, after those that every export for it has.
        let input = |name: &str| {
            let name = CString::new(name).expect("a name without NUL");
            Input::new(&Integers { name, is_i32: false })
        };
        Ok(NpuDecoder {
            request: shared.request()?,
            input_ids: input("input_ids")?,
            attention_mask: input("attention_mask")?,
            position_ids: input("position_ids")?,
            n_prompt_tokens_max,
            n_positions: 0,
            inference: Duration::ZERO,
            shared,
        })
    }

    /// The tokens fit, of which `n_first` go in at once if they start the sequence.
    fn check(&self, tokens: &[TokenId], n_first: usize) -> Result<(), StepError> {
        self.shared.check(tokens, self.n_positions)?;
        let n_prompt_tokens_max = self.n_prompt_tokens_max;
        if self.n_positions == 0 && n_prompt_tokens_max < n_first {
            return Err(StepError::PromptTooLong { n_tokens: n_first, n_prompt_tokens_max });
        }
        Ok(())
    }

    /// Run tokens that may go in together and give the last one's row to `read`.
    fn run(&mut self, tokens: &[TokenId], read: &mut dyn FnMut(&[f32])) -> Result<(), StepError> {
        let n_positions = self.n_positions;
        let failed = |error: NativeError| StepError::Library {
            backend: NAME,
            n_positions,
            source: error.into(),
        };
        self.set_inputs(tokens).map_err(failed)?;
        let started = Instant::now();
        let outcome = self.request.infer();
        self.inference += started.elapsed();
        outcome.map_err(failed)?;
        self.n_positions += tokens.len();
        let graph = &self.shared.graph;
        let logits = self.request.output(&graph.logits).map_err(failed)?;
        read(last::<f32>(&logits, "logits", graph.n_vocab).map_err(failed)?);
        Ok(())
    }

    fn set_inputs(&mut self, tokens: &[TokenId]) -> Result<(), NativeError> {
        let (request, n_new) = (&mut self.request, tokens.len());
        let n_seen = self.n_positions + n_new;
        self.input_ids.set(request, &[1, n_new], tokens.iter().map(|&id| i64::from(id)))?;
        self.attention_mask.set(request, &[1, n_seen], std::iter::repeat_n(1, n_seen))?;
        let new = (self.n_positions..n_seen).map(|position| position as i64);
        self.position_ids.set(request, &[1, n_new], new)
    }
}

impl Decoder for NpuDecoder {
    fn step(&mut self, tokens: &[TokenId], logits: &mut [f32]) -> Result<(), StepError> {
        assert_eq!(logits.len(), self.shared.graph.n_vocab, "one logit a token");
        self.check(tokens, tokens.len())?;
        self.inference = Duration::ZERO;
        let n_first = if self.n_positions == 0 { tokens.len() } else { 1 };
        let (first, rest) = tokens.split_at(n_first);
        self.run(first, &mut |row| logits.copy_from_slice(row))?;
        for token in rest {
            self.run(std::slice::from_ref(token), &mut |row| logits.copy_from_slice(row))?;
        }
        Ok(())
    }

    fn score(&mut self, tokens: &[TokenId], row: &mut dyn FnMut(Row<'_>)) -> Result<(), StepError> {
        self.check(tokens, 1)?;
        self.inference = Duration::ZERO;
        for (token_idx, token) in tokens.iter().enumerate() {
            self.run(std::slice::from_ref(token), &mut |logits| {
                row(Row { token_idx, logits, hidden: None });
            })?;
        }
        Ok(())
    }

    fn n_positions(&self) -> usize {
        self.n_positions
    }

    fn rewind(&mut self, n_positions: usize) -> Result<(), RewindError> {
        if self.n_positions < n_positions {
            let n_asked = n_positions;
            return Err(RewindError::Ahead { n_asked, n_positions: self.n_positions });
        }
        let refused = |reason| Err(RewindError::Unsupported { backend: NAME, reason });
        if n_positions == self.n_positions {
            return Ok(());
        }
        if n_positions != 0 {
            return refused("an NPU gives wrong logits after going back");
        }
        match NpuDecoder::new(Arc::clone(&self.shared), self.n_prompt_tokens_max) {
            Ok(fresh) => {
                *self = fresh;
                Ok(())
            }
            Err(_) => refused("there is no memory for a new request"),
        }
    }

    fn last_inference(&self) -> Duration {
        self.inference
    }
}
