//! One sequence on an NPU: a request that keeps its state itself.
//!
//! What differs from other devices, as probed with OpenVINO 2026.4.1: a prompt goes in at once, at
//! position 0 and with at least two tokens; behind it every token goes in alone. A request that has
//! generated must not begin anew with a single token, nor go back into its prompt: the logits are
//! wrong then, without an error. So a sequence that begins takes a new request.
//!
//! NPUW counts the positions of all requests of one compiled model with one number, that of the
//! request that ran last; a request makes it smaller when it goes on before it, never larger. By
//! that number it takes over a prompt when the first token comes behind it, and keeps the token of
//! every run: what goes on behind more positions than it says is wrong from the next run on,
//! without an error. So a sequence for which the number is wrong reads again what it has seen.
//!
//! Where a graph takes no positions the number is also the position at which tokens go in, whichever
//! request they are of, and only a new request makes it none. So such a sequence takes a new request
//! after another one ran.

use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};

use lapwing_backend::{Chunk, Inference, Source};
use lapwing_model::TokenId;

use crate::graph::Integers;
use crate::input::{Input, last_rows};
use crate::native::{InferRequest, NativeError};
use crate::shared::Shared;

/// Whose turn it was: the sequences of one compiled model run one at a time.
#[derive(Default)]
pub(crate) struct Turns(Mutex<LastRun>);

#[derive(Default)]
struct LastRun {
    /// The sequence that ran last, by its number.
    sequence_idx: usize,
    /// Its positions then, as NPUW counts them for all.
    n_positions: usize,
    /// Sequences that there have been.
    n_sequences: usize,
}

/// A sequence with its inputs.
pub(crate) struct NpuInference {
    shared: Arc<Shared>,
    turns: Arc<Turns>,
    sequence_idx: usize,
    request: InferRequest,
    input_ids: Input,
    attention_mask: Input,
    /// None where NPUW counts them itself.
    position_ids: Option<Input>,
    seen: Vec<TokenId>,
    /// All that was seen went in at once.
    is_prompt: bool,
}

impl NpuInference {
    pub(crate) fn new(shared: Arc<Shared>, turns: Arc<Turns>) -> Result<NpuInference, NativeError> {
        // NPUW names its inputs itself, after those that every export for it has.
        let input = |name: &str| {
            let name = CString::new(name).expect("a name without NUL");
            Input::new(&Integers { name, is_i32: false })
        };
        let sequence_idx = {
            let mut last_run = turns.0.lock().unwrap_or_else(PoisonError::into_inner);
            last_run.n_sequences += 1;
            last_run.n_sequences
        };
        Ok(NpuInference {
            request: shared.compiled.request()?,
            input_ids: input("input_ids")?,
            attention_mask: input("attention_mask")?,
            position_ids: match &shared.graph.position_ids {
                Some(_) => Some(input("position_ids")?),
                None => None,
            },
            seen: Vec::new(),
            is_prompt: false,
            sequence_idx,
            turns,
            shared,
        })
    }

    /// Whether NPUW would go on wrongly after `last_run`.
    fn is_disturbed(&self, last_run: &LastRun) -> bool {
        let is_counted = self.seen.len() <= last_run.n_positions && !self.is_prompt;
        last_run.sequence_idx != self.sequence_idx && !self.seen.is_empty() && !is_counted
    }

    /// Read once more what was seen, as much of it at once as can be.
    fn read_again(&mut self) -> Result<(), NativeError> {
        let seen = std::mem::take(&mut self.seen);
        let n_prompt_tokens_max = self.shared.limits.n_chunk_tokens_max;
        let (prompt, rest) = seen.split_at(seen.len().min(n_prompt_tokens_max));
        self.infer(prompt)?;
        rest.chunks(1).try_for_each(|token| self.infer(token))
    }

    /// Append `tokens` and give the logits of the last one.
    ///
    /// Shapes: `[n_vocab]`.
    pub(crate) fn row(&mut self, tokens: &[TokenId]) -> Result<Vec<f32>, NativeError> {
        self.infer(tokens)?;
        let graph = &self.shared.graph;
        let logits = self.request.output(&graph.logits)?;
        Ok(last_rows(&logits, "logits", 1, graph.n_vocab)?.into_owned())
    }

    fn infer(&mut self, tokens: &[TokenId]) -> Result<(), NativeError> {
        let (request, n_new, n_past) = (&mut self.request, tokens.len(), self.seen.len());
        let n_seen = n_past + n_new;
        self.input_ids.set(request, &[1, n_new], tokens.iter().map(|&id| i64::from(id)))?;
        self.attention_mask.set(request, &[1, n_seen], std::iter::repeat_n(1, n_seen))?;
        if let Some(position_ids) = &mut self.position_ids {
            let new = (n_past..n_seen).map(|position| position as i64);
            position_ids.set(request, &[1, n_new], new)?;
        }
        request.infer()?;
        self.is_prompt = n_past == 0 && 1 < n_new;
        self.seen.extend_from_slice(tokens);
        Ok(())
    }
}

impl Inference for NpuInference {
    /// The logits of one position come, so no more than that are asked for.
    fn run(&mut self, chunk: &mut Chunk<'_>) -> Result<(), Source> {
        let turns = Arc::clone(&self.turns);
        let mut last_run = turns.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_disturbed = match self.position_ids {
            Some(_) => self.is_disturbed(&last_run),
            None if last_run.sequence_idx == self.sequence_idx => false,
            None => {
                self.request = self.shared.compiled.request()?;
                !self.seen.is_empty()
            }
        };
        last_run.sequence_idx = self.sequence_idx;
        // What NPUW counts after a failure is not known.
        last_run.n_positions = 0;
        if is_disturbed {
            tracing::debug!(n_tokens = self.seen.len(), "reading again: another sequence ran");
            chunk.time(|| self.read_again())?;
        }
        let tokens = chunk.tokens;
        chunk.time(|| self.infer(tokens))?;
        last_run.n_positions = self.seen.len();
        let graph = &self.shared.graph;
        let logits = self.request.output(&graph.logits)?;
        chunk.give(&last_rows(&logits, "logits", 1, graph.n_vocab)?, None);
        Ok(())
    }

    fn forget(&mut self, n_positions: usize) -> Result<(), &'static str> {
        if n_positions != 0 {
            return Err("an NPU gives wrong logits after going back");
        }
        let fresh = NpuInference::new(Arc::clone(&self.shared), Arc::clone(&self.turns));
        *self = fresh.map_err(|_| "there is no memory for a new request")?;
        Ok(())
    }
}
