//! One sequence on ONNX Runtime.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use half::f16;
use lapwing_backend::{Chunk, Inference, Source};
use lapwing_formats::onnx::{HIDDEN_STATES, LOGITS_START};
use ort::memory::Allocator;
use ort::session::{IoBinding, RunOptions, Session};
use ort::value::{DynTensor, DynValue, Tensor, TensorElementType};

use crate::contract::{Integers, Tokens};
use crate::fixed_states::FixedStates;
use crate::input::Input;
use crate::kv_cache::KvCache;
use crate::shared::{LogitsRows, Shared};

/// How often a run that may be broken off is looked after.
const POLL: Duration = Duration::from_millis(10);

/// A sequence with its inputs, its states and its logits, bound to the session.
pub(crate) struct OrtInference {
    shared: Arc<Shared>,
    binding: IoBinding,
    kv_cache: KvCache,
    fixed_states: FixedStates,
    /// Where token ids go in as they are.
    input_ids: Option<Input>,
    /// What the tokens of the last run went in as, where they do not.
    embedded: Vec<DynValue>,
    attention_mask: Option<Input>,
    position_ids: Option<Input>,
    /// Which rows of logits to compute, where the graph is told.
    rows: Option<Input>,
    logits: Option<DynTensor>,
    /// What entered the head for each of those rows, when the graph gives it.
    hidden: Option<DynTensor>,
    n_logits_bound: usize,
    /// One row, where logits are f16.
    row: Vec<f32>,
}

impl OrtInference {
    pub(crate) fn new(shared: Arc<Shared>) -> ort::Result<OrtInference> {
        let session = shared.session.lock().unwrap_or_else(PoisonError::into_inner);
        let binding = session.create_binding()?;
        drop(session);
        let contract = &shared.contract;
        let input = |spec: &Integers| Input::new(spec.clone());
        let start = Integers { name: LOGITS_START.to_owned(), is_i32: false, rank: 1, n_rows: 1 };
        Ok(OrtInference {
            kv_cache: KvCache::new(contract, shared.n_positions_max)?,
            fixed_states: FixedStates::new(&contract.states.fixed)?,
            input_ids: match &contract.tokens {
                Tokens::Ids(ids) => Some(input(ids)),
                Tokens::Embedded { .. } => None,
            },
            embedded: Vec::new(),
            attention_mask: contract.attention_mask.as_ref().map(input),
            position_ids: contract.position_ids.as_ref().map(input),
            rows: match shared.rows {
                LogitsRows::Start => Some(Input::new(start)),
                LogitsRows::Count => contract.n_logits.as_ref().map(input),
                LogitsRows::Every | LogitsRows::Last => None,
            },
            logits: None,
            hidden: None,
            n_logits_bound: 0,
            row: Vec::new(),
            binding,
            shared,
        })
    }

    fn bind(&mut self, chunk: &Chunk<'_>) -> ort::Result<()> {
        let Chunk { tokens, n_past, n_rows, .. } = *chunk;
        let (n_new, n_seen) = (tokens.len(), n_past + tokens.len());
        let binding = &mut self.binding;
        if let Some(input_ids) = &mut self.input_ids {
            input_ids.bind(binding, &[1, n_new], tokens.iter().map(|&id| i64::from(id)))?;
        }
        if let Some(embedder) = &self.shared.embedder {
            self.embedded = embedder.bind(tokens, binding)?;
        }
        if let Some(use_cache) = &self.shared.contract.use_cache {
            binding.bind_input(use_cache, &Tensor::from_array(([1], vec![0 < n_past]))?)?;
        }
        if let Some(mask) = &mut self.attention_mask {
            mask.bind(binding, &[1, n_seen], std::iter::repeat_n(1, n_seen))?;
        }
        if let Some(positions) = &mut self.position_ids {
            let rows = (0..positions.n_rows()).flat_map(|_| n_past..n_seen);
            positions.bind(binding, &positions.shape_of(n_new), rows.map(|p| p as i64))?;
        }
        if let Some(rows) = &mut self.rows {
            let shape = rows.shape_of_one();
            let n_rows = n_rows as i64;
            let value = if self.shared.rows == LogitsRows::Start { -n_rows } else { n_rows };
            rows.bind(binding, shape, std::iter::once(value))?;
        }
        self.kv_cache.prepare(binding, n_past, n_new)?;
        self.fixed_states.bind(binding)?;
        match self.shared.rows {
            LogitsRows::Start | LogitsRows::Count => self.bind_logits(n_rows),
            LogitsRows::Every => self.bind_logits(n_new),
            LogitsRows::Last => self.bind_logits(1),
        }
    }

    /// Make room for as many rows of logits, unless there is.
    fn bind_logits(&mut self, n_logits: usize) -> ort::Result<()> {
        if self.n_logits_bound == n_logits {
            return Ok(());
        }
        let contract = &self.shared.contract;
        let element = match contract.logits_are_f16 {
            true => TensorElementType::Float16,
            false => TensorElementType::Float32,
        };
        let shape = [1, n_logits, contract.n_vocab];
        let mut logits = DynTensor::new(&Allocator::default(), element, shape)?;
        self.binding.bind_output(&*contract.logits, &mut logits)?;
        self.logits = Some(logits);
        if let Some(n_hidden) = self.shared.n_hidden {
            let shape = [1, n_logits, n_hidden];
            let element = TensorElementType::Float32;
            let mut hidden = DynTensor::new(&Allocator::default(), element, shape)?;
            self.binding.bind_output(HIDDEN_STATES, &mut hidden)?;
            self.hidden = Some(hidden);
        }
        self.n_logits_bound = n_logits;
        Ok(())
    }

    /// Give the last rows of those that came.
    fn give(&mut self, chunk: &mut Chunk<'_>) -> ort::Result<()> {
        let logits = self.logits.as_ref().expect("a run binds them");
        let n_vocab = self.shared.contract.n_vocab;
        let hidden = match (&self.hidden, self.shared.n_hidden) {
            (Some(hidden), Some(n_hidden)) => {
                Some((hidden.try_extract_tensor::<f32>()?.1, n_hidden))
            }
            _ => None,
        };
        for row_idx in self.n_logits_bound - chunk.n_rows..self.n_logits_bound {
            let hidden = hidden.map(|(values, n_hidden)| &values[row_idx * n_hidden..][..n_hidden]);
            if self.shared.contract.logits_are_f16 {
                let (_, values) = logits.try_extract_tensor::<f16>()?;
                let values = &values[row_idx * n_vocab..][..n_vocab];
                self.row.clear();
                self.row.extend(values.iter().map(|logit| logit.to_f32()));
                chunk.give(&self.row, hidden);
            } else {
                let (_, values) = logits.try_extract_tensor::<f32>()?;
                chunk.give(&values[row_idx * n_vocab..][..n_vocab], hidden);
            }
        }
        Ok(())
    }
}

impl Inference for OrtInference {
    fn run(&mut self, chunk: &mut Chunk<'_>) -> Result<(), Source> {
        self.bind(chunk)?;
        // To wait for another sequence is no inference.
        let mut session = self.shared.session.lock().unwrap_or_else(PoisonError::into_inner);
        chunk.time_while(|is_wanted| match is_wanted {
            Some(is_wanted) => run_while(&mut session, &mut self.binding, is_wanted),
            None => session.run_binding(&self.binding).map(drop),
        })?;
        drop(session);
        self.kv_cache.advance();
        self.fixed_states.advance();
        self.give(chunk)?;
        Ok(())
    }

    fn forget(&mut self, n_positions: usize) -> Result<(), &'static str> {
        if !self.fixed_states.is_empty() {
            if n_positions != 0 {
                return Err("its states hold all that was seen and cannot give it back");
            }
            self.fixed_states.clear().map_err(|_| "its states cannot be cleared")?;
        }
        let kept = self.kv_cache.keep(n_positions);
        kept.map_err(|_| "there is no memory for the shorter cache")
    }

    /// States are ours, and become the past of the next run only when a run has succeeded.
    fn outlives_stops(&self) -> bool {
        true
    }
}

/// Run once as long as it is wanted; a run that is not is broken off between two operations of the
/// graph, and is an error.
fn run_while(
    session: &mut Session,
    binding: &mut IoBinding,
    is_wanted: &mut dyn FnMut() -> bool,
) -> ort::Result<()> {
    let options = RunOptions::new()?;
    let (over, is_over) = mpsc::channel();
    let terminated = &options;
    let run = move || {
        // The whole binding goes along: parts of it must not be shared.
        let binding: &mut IoBinding = binding;
        let ran = session.run_binding_with_options(binding, terminated).map(drop);
        // Nobody listens any more to a run that is broken off.
        let _ = over.send(());
        ran
    };
    std::thread::scope(|scope| {
        let running = std::thread::Builder::new().spawn_scoped(scope, run);
        let running = running.map_err(|error| ort::Error::new(format!("no thread: {error}")))?;
        while is_over.recv_timeout(POLL) == Err(RecvTimeoutError::Timeout) {
            if !is_wanted() {
                options.terminate()?;
                break;
            }
        }
        running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
