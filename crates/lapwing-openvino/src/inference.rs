//! One sequence on OpenVINO: a request, whose variables hold its states.

use std::ffi::CString;
use std::sync::Arc;

use lapwing_backend::{Chunk, Inference, Source};
use lapwing_formats::ir::{HIDDEN_STATES, LOGITS_POSITIONS};
use lapwing_model::TokenId;

use crate::embedder::TokenFeed;
use crate::graph::{Graph, Integers, Positions};
use crate::input::{Input, last_rows};
use crate::native::{InferRequest, NativeError, Tensor};
use crate::shared::{Hidden, Shared};
use crate::states::StateKind;

/// So many forgotten positions may stay in the cache, whatever is kept.
const N_FORGOTTEN_MAX: usize = 256;

/// A sequence with its inputs.
pub(crate) struct OpenVinoInference {
    shared: Arc<Shared>,
    request: InferRequest,
    tokens: TokenFeed,
    attention_mask: Option<Input>,
    /// With the number of rows that it takes, where there is an axis for them.
    position_ids: Option<(Input, Option<usize>)>,
    token_type_ids: Option<Input>,
    cache_position: Option<Input>,
    logits_positions: Option<Input>,
    hidden: Option<HiddenOutput>,
    /// For every entry of the cache whether it still counts: 1 or 0.
    ///
    /// The C API cannot change a variable, so a forgotten position stays in the cache and is
    /// masked out; the positions that follow take its place by their position ids.
    mask: Vec<i64>,
}

/// The output of hidden states and those of the last run.
struct HiddenOutput {
    name: CString,
    spec: Hidden,
    /// Shapes: `[n_rows, n_hidden]`.
    rows: Vec<f32>,
}

impl OpenVinoInference {
    pub(crate) fn new(shared: Arc<Shared>) -> Result<OpenVinoInference, NativeError> {
        let graph = &shared.graph;
        let mut request = shared.compiled.request()?;
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
        Ok(OpenVinoInference {
            tokens: TokenFeed::new(&graph.tokens, &shared.embedder)?,
            attention_mask: optional(&graph.attention_mask)?,
            position_ids: match &graph.position_ids {
                Some(Positions { input, n_rows }) => Some((Input::new(input)?, *n_rows)),
                None => None,
            },
            token_type_ids: optional(&graph.token_type_ids)?,
            cache_position: optional(&graph.cache_position)?,
            logits_positions: optional(&positions)?,
            hidden: shared.hidden.map(HiddenOutput::new),
            request,
            mask: Vec::new(),
            shared,
        })
    }

    /// Append `tokens` and give the logits of the last one. Nothing was forgotten before.
    ///
    /// Shapes: `[n_vocab]`.
    pub(crate) fn row(&mut self, tokens: &[TokenId]) -> Result<Vec<f32>, NativeError> {
        self.set_inputs(tokens, self.mask.len(), 1)?;
        self.request.infer()?;
        let graph = &self.shared.graph;
        let logits = self.request.output(&graph.logits)?;
        Ok(last_rows(&logits, "logits", 1, graph.n_vocab)?.into_owned())
    }

    /// Put in `tokens` behind `n_past` positions, of which the last `n_rows` are wanted.
    fn set_inputs(
        &mut self,
        tokens: &[TokenId],
        n_past: usize,
        n_rows: usize,
    ) -> Result<(), NativeError> {
        let (request, n_new) = (&mut self.request, tokens.len());
        self.tokens.set(request, tokens)?;
        self.mask.extend(std::iter::repeat_n(1, n_new));
        let kind = self.shared.graph.states.kind;
        if let Some(mask) = &mut self.attention_mask {
            let entries = match kind {
                StateKind::StateSpace { .. } => &self.mask[n_past..],
                _ => &self.mask[..],
            };
            mask.set(request, &[1, entries.len()], entries.iter().copied())?;
        }
        if let (Some(input), StateKind::StateSpace { window }) = (&mut self.cache_position, kind) {
            input.set(request, &[1], std::iter::once(n_past.max(window) as i64))?;
        }
        if let Some((positions, n_rows)) = &mut self.position_ids {
            let new = (n_past..n_past + n_new).map(|position| position as i64);
            match *n_rows {
                None => positions.set(request, &[1, n_new], new)?,
                Some(n_rows) => {
                    let rows = std::iter::repeat_n(new, n_rows).flatten();
                    positions.set(request, &[n_rows, 1, n_new], rows)?;
                }
            }
        }
        if let Some(types) = &mut self.token_type_ids {
            types.set(request, &[1, n_new], std::iter::repeat_n(0, n_new))?;
        }
        if let Some(wanted) = &mut self.logits_positions {
            let rows = n_new - n_rows..n_new;
            wanted.set(request, &[n_rows], rows.map(|row| row as i64))?;
        }
        Ok(())
    }
}

impl Inference for OpenVinoInference {
    fn run(&mut self, chunk: &mut Chunk<'_>) -> Result<(), Source> {
        self.set_inputs(chunk.tokens, chunk.n_past, chunk.n_rows)?;
        chunk.time_while(|is_wanted| match is_wanted {
            Some(is_wanted) => self.request.infer_while(is_wanted),
            None => self.request.infer(),
        })?;
        let Graph { logits, n_vocab, .. } = &self.shared.graph;
        let logits = self.request.output(logits)?;
        let rows = last_rows(&logits, "logits", chunk.n_rows, *n_vocab)?;
        let rows = rows.chunks_exact(*n_vocab);
        let Some(hidden) = &mut self.hidden else {
            rows.for_each(|logits| chunk.give(logits, None));
            return Ok(());
        };
        hidden.take(&self.request.output(&hidden.name)?, chunk.n_rows)?;
        for (logits, hidden) in rows.zip(hidden.rows.chunks_exact(hidden.spec.n_hidden)) {
            chunk.give(logits, Some(hidden));
        }
        Ok(())
    }

    fn forget(&mut self, n_positions: usize) -> Result<(), &'static str> {
        if n_positions == 0 {
            // Variables live and die with their request.
            let fresh = OpenVinoInference::new(Arc::clone(&self.shared));
            *self = fresh.map_err(|_| "there is no memory for a new request")?;
            return Ok(());
        }
        if !self.shared.limits.can_rewind {
            return Err(match self.shared.graph.states.kind {
                StateKind::Kv => "the model counts cache entries",
                _ => "its states hold all that was seen and cannot give it back",
            });
        }
        let n_forgotten = self.mask.len() - n_positions;
        if N_FORGOTTEN_MAX.max(n_positions) < n_forgotten {
            return Err("more would be forgotten than kept: starting anew is cheaper");
        }
        let mut n_kept = 0;
        for counts in &mut self.mask {
            if *counts == 1 && n_kept < n_positions {
                n_kept += 1;
            } else {
                *counts = 0;
            }
        }
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
        self.rows.clear();
        self.rows.extend_from_slice(&last_rows(output, WHAT, n_rows, self.spec.n_hidden)?);
        Ok(())
    }
}
