//! One sequence on OpenVINO: a request, whose variables hold its states.

use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use half::{bf16, f16};
use lapwing_backend::{Decoder, RewindError, Row, StepError};
use lapwing_formats::ir::{ElementType, HIDDEN_STATES, LOGITS_POSITIONS};
use lapwing_model::TokenId;

use crate::NAME;
use crate::graph::Integers;
use crate::input::{Input, last};
use crate::native::{InferRequest, NativeError, Tensor};
use crate::shared::{Hidden, Shared};
use crate::states::StateKind;

/// Rows of logits that are computed at once while scoring take at most this much memory. Much, so
/// that a window of a small model goes in at once: the CPU plugin is slower behind a filled cache.
const SCORED_ROWS_BYTES_MAX: usize = 128 << 20;

/// So many forgotten positions may stay in the cache, whatever is kept.
const N_FORGOTTEN_MAX: usize = 256;

/// A sequence with its inputs.
pub(crate) struct OpenVinoDecoder {
    shared: Arc<Shared>,
    request: InferRequest,
    input_ids: Input,
    attention_mask: Option<Input>,
    position_ids: Option<Input>,
    cache_position: Option<Input>,
    logits_positions: Option<Input>,
    hidden: Option<HiddenOutput>,
    /// For every entry of the cache whether it still counts: 1 or 0.
    ///
    /// The C API cannot change a variable, so a forgotten position stays in the cache and is
    /// masked out; the positions that follow take its place by their position ids.
    mask: Vec<i64>,
    /// Entries of `mask` that are 1.
    n_positions: usize,
    inference: Duration,
}

/// The output of hidden states and those of the last run.
struct HiddenOutput {
    name: CString,
    spec: Hidden,
    /// Shapes: `[n_rows, n_hidden]`.
    rows: Vec<f32>,
}

/// Takes rows of logits, and of hidden states where the graph gives them.
type ReadRows<'a> = dyn FnMut(&[f32], Option<&[f32]>) + 'a;

impl OpenVinoDecoder {
    pub(crate) fn new(shared: Arc<Shared>) -> Result<OpenVinoDecoder, NativeError> {
        let graph = &shared.graph;
        let mut request = shared.request()?;
        if let Some(spec) = &graph.beam_idx {
            // One sequence, which continues itself.
            let mut beam_idx = Input::new(spec)?;
            beam_idx.set(&mut request, &[1], std::iter::once(0))?;
        }
        let optional = |spec: &Option<Integers>| spec.as_ref().map(Input::new).transpose();
        let positions = shared.chooses_positions.then(|| Integers {
            name: CString::new(LOGITS_POSITIONS).expect("a name without NUL"),
            is_i32: false,
        });
        Ok(OpenVinoDecoder {
            input_ids: Input::new(&graph.input_ids)?,
            attention_mask: optional(&graph.attention_mask)?,
            position_ids: optional(&graph.position_ids)?,
            cache_position: optional(&graph.cache_position)?,
            logits_positions: optional(&positions)?,
            hidden: shared.hidden.map(HiddenOutput::new),
            request,
            mask: Vec::new(),
            n_positions: 0,
            inference: Duration::ZERO,
            shared,
        })
    }

    /// Run one chunk and give the last `n_rows` rows of its logits to `read`, and what entered the
    /// head for each of them.
    fn run(
        &mut self,
        tokens: &[TokenId],
        n_rows: usize,
        read: &mut ReadRows<'_>,
    ) -> Result<(), StepError> {
        let n_positions = self.n_positions;
        let failed = |error: NativeError| StepError::Library {
            backend: NAME,
            n_positions,
            source: error.into(),
        };
        self.set_inputs(tokens, n_rows).map_err(failed)?;
        let started = Instant::now();
        let outcome = self.request.infer();
        self.inference += started.elapsed();
        outcome.map_err(failed)?;
        self.n_positions += tokens.len();
        let graph = &self.shared.graph;
        let logits = self.request.output(&graph.logits).map_err(failed)?;
        let n_wanted = n_rows * graph.n_vocab;
        let logits = last::<f32>(&logits, "logits", n_wanted).map_err(failed)?;
        let Some(hidden) = &mut self.hidden else {
            read(logits, None);
            return Ok(());
        };
        let output = self.request.output(&hidden.name).map_err(failed)?;
        hidden.take(&output, n_rows).map_err(failed)?;
        read(logits, Some(&hidden.rows));
        Ok(())
    }

    fn set_inputs(&mut self, tokens: &[TokenId], n_rows: usize) -> Result<(), NativeError> {
        let (request, n_new) = (&mut self.request, tokens.len());
        self.input_ids.set(request, &[1, n_new], tokens.iter().map(|&id| i64::from(id)))?;
        self.mask.extend(std::iter::repeat_n(1, n_new));
        let kind = self.shared.graph.states.kind;
        if let Some(mask) = &mut self.attention_mask {
            let n_past = match kind {
                StateKind::StateSpace { .. } => self.n_positions,
                StateKind::Kv | StateKind::KvAndConvolutions => 0,
            };
            let entries = &self.mask[n_past..];
            mask.set(request, &[1, entries.len()], entries.iter().copied())?;
        }
        if let (Some(input), StateKind::StateSpace { window }) = (&mut self.cache_position, kind) {
            let position = self.n_positions.max(window);
            input.set(request, &[1], std::iter::once(position as i64))?;
        }
        if let Some(positions) = &mut self.position_ids {
            let new = self.n_positions..self.n_positions + n_new;
            positions.set(request, &[1, n_new], new.map(|position| position as i64))?;
        }
        if let Some(wanted) = &mut self.logits_positions {
            let rows = n_new - n_rows..n_new;
            wanted.set(request, &[n_rows], rows.map(|row| row as i64))?;
        }
        Ok(())
    }
}

impl Decoder for OpenVinoDecoder {
    fn step(&mut self, tokens: &[TokenId], logits: &mut [f32]) -> Result<(), StepError> {
        assert_eq!(logits.len(), self.shared.graph.n_vocab, "one logit a token");
        self.shared.check(tokens, self.n_positions)?;
        self.inference = Duration::ZERO;
        let n_chunk_tokens = self.shared.n_chunk_tokens;
        let n_chunks = tokens.len().div_ceil(n_chunk_tokens);
        for (chunk_idx, chunk) in tokens.chunks(n_chunk_tokens).enumerate() {
            self.run(chunk, 1, &mut |row, _| {
                if chunk_idx + 1 == n_chunks {
                    logits.copy_from_slice(row);
                }
            })?;
        }
        Ok(())
    }

    fn score(&mut self, tokens: &[TokenId], row: &mut dyn FnMut(Row<'_>)) -> Result<(), StepError> {
        self.shared.check(tokens, self.n_positions)?;
        self.inference = Duration::ZERO;
        let n_vocab = self.shared.graph.n_vocab;
        let n_hidden = self.shared.hidden.map_or(0, |hidden| hidden.n_hidden);
        let n_rows_max = (SCORED_ROWS_BYTES_MAX / (4 * n_vocab)).max(1);
        let mut token_idx = 0;
        for chunk in tokens.chunks(n_rows_max.min(self.shared.n_chunk_tokens)) {
            self.run(chunk, chunk.len(), &mut |rows, hidden| {
                for (row_idx, logits) in rows.chunks_exact(n_vocab).enumerate() {
                    let start = row_idx * n_hidden;
                    let hidden = hidden.map(|hidden| &hidden[start..start + n_hidden]);
                    row(Row { token_idx, logits, hidden });
                    token_idx += 1;
                }
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
        if n_positions == 0 {
            return self.restart();
        }
        if !self.shared.can_rewind {
            return refused(match self.shared.graph.states.kind {
                StateKind::Kv => "the model counts cache entries",
                _ => "its states hold all that was seen and cannot give it back",
            });
        }
        let n_forgotten = self.mask.len() - n_positions;
        if N_FORGOTTEN_MAX.max(n_positions) < n_forgotten {
            return refused("more would be forgotten than kept: starting anew is cheaper");
        }
        let mut n_kept = 0;
        for counts in &mut self.mask {
            if *counts == 1 && n_kept < n_positions {
                n_kept += 1;
            } else {
                *counts = 0;
            }
        }
        self.n_positions = n_positions;
        Ok(())
    }

    fn last_inference(&self) -> Duration {
        self.inference
    }
}

impl OpenVinoDecoder {
    /// Forget everything: variables live and die with their request.
    fn restart(&mut self) -> Result<(), RewindError> {
        let fresh = OpenVinoDecoder::new(Arc::clone(&self.shared));
        *self = fresh.map_err(|_| RewindError::Unsupported {
            backend: NAME,
            reason: "there is no memory for a new request",
        })?;
        Ok(())
    }
}

impl HiddenOutput {
    fn new(spec: Hidden) -> HiddenOutput {
        let name = CString::new(HIDDEN_STATES).expect("a name without NUL");
        HiddenOutput { name, spec, rows: Vec::new() }
    }

    /// Copy the last `n_rows` rows of `output` to `self.rows`.
    fn take(&mut self, output: &Tensor, n_rows: usize) -> Result<(), NativeError> {
        const WHAT: &str = "entries of hidden states";
        let n_wanted = n_rows * self.spec.n_hidden;
        self.rows.clear();
        match self.spec.element_type {
            ElementType::Bf16 => {
                let entries = last::<bf16>(output, WHAT, n_wanted)?;
                self.rows.extend(entries.iter().map(|entry| entry.to_f32()));
            }
            ElementType::F16 => {
                let entries = last::<f16>(output, WHAT, n_wanted)?;
                self.rows.extend(entries.iter().map(|entry| entry.to_f32()));
            }
            _ => self.rows.extend_from_slice(last::<f32>(output, WHAT, n_wanted)?),
        }
        Ok(())
    }
}
