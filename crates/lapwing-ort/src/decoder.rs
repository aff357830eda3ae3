//! One sequence on ONNX Runtime.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use half::f16;
use lapwing_backend::{Decoder, RewindError, Row, StepError};
use lapwing_formats::onnx::{HIDDEN_STATES, LOGITS_START};
use lapwing_model::TokenId;
use ort::memory::Allocator;
use ort::session::IoBinding;
use ort::value::{DynTensor, TensorElementType};

use crate::NAME;
use crate::contract::Integers;
use crate::fixed_states::FixedStates;
use crate::input::Input;
use crate::kv_cache::KvCache;
use crate::shared::{LogitsRows, Shared};

/// Rows of logits that are computed at once while scoring take at most this much memory.
const SCORED_ROWS_BYTES_MAX: usize = 16 << 20;

/// A sequence with its inputs, its states and its logits, bound to the session.
pub(crate) struct OrtDecoder {
    shared: Arc<Shared>,
    binding: IoBinding,
    kv_cache: KvCache,
    fixed_states: FixedStates,
    input_ids: Input,
    attention_mask: Option<Input>,
    position_ids: Option<Input>,
    /// Which rows of logits to compute, where the graph is told.
    rows: Option<Input>,
    logits: Option<DynTensor>,
    /// What entered the head for each of those rows, when the graph gives it.
    hidden: Option<DynTensor>,
    n_logits_bound: usize,
    inference: Duration,
}

impl OrtDecoder {
    pub(crate) fn new(shared: Arc<Shared>) -> ort::Result<OrtDecoder> {
        let session = shared.session.lock().unwrap_or_else(PoisonError::into_inner);
        let binding = session.create_binding()?;
        drop(session);
        let contract = &shared.contract;
        let input = |spec: &Integers| Input::new(spec.clone());
        let start = Integers { name: LOGITS_START.to_owned(), is_i32: false, rank: 1 };
        Ok(OrtDecoder {
            kv_cache: KvCache::new(contract, shared.n_positions_max)?,
            fixed_states: FixedStates::new(&contract.states.fixed)?,
            input_ids: input(&contract.input_ids),
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
            inference: Duration::ZERO,
            binding,
            shared,
        })
    }

    fn check(&self, tokens: &[TokenId]) -> Result<(), StepError> {
        assert!(!tokens.is_empty(), "a step needs at least one token");
        let (n_positions, n_max) = (self.kv_cache.n_positions(), self.shared.n_positions_max);
        if n_max < n_positions + tokens.len() {
            return Err(StepError::ContextFull { n_positions, n_new: tokens.len(), n_max });
        }
        let n_vocab = self.shared.contract.n_vocab;
        match tokens.iter().find(|&&token| n_vocab <= token as usize) {
            Some(&token) => Err(StepError::NoSuchToken { token, n_vocab }),
            None => Ok(()),
        }
    }

    /// Run one chunk; its last `n_rows` rows of logits are in `self.logits` then.
    fn run(&mut self, tokens: &[TokenId], n_rows: usize) -> Result<(), StepError> {
        let n_positions = self.kv_cache.n_positions();
        let failed = |source: ort::Error| StepError::Library {
            backend: NAME,
            n_positions,
            source: source.into(),
        };
        self.bind(tokens, n_rows).map_err(failed)?;
        let mut session = self.shared.session.lock().unwrap_or_else(PoisonError::into_inner);
        let started = Instant::now();
        let outcome = session.run_binding(&self.binding).map(drop);
        self.inference += started.elapsed();
        drop(session);
        outcome.map_err(failed)?;
        self.kv_cache.advance(tokens.len());
        self.fixed_states.advance();
        Ok(())
    }

    fn bind(&mut self, tokens: &[TokenId], n_rows: usize) -> ort::Result<()> {
        let (n_past, n_new) = (self.kv_cache.n_positions(), tokens.len());
        let binding = &mut self.binding;
        self.input_ids.bind(binding, &[1, n_new], tokens.iter().map(|&id| i64::from(id)))?;
        if let Some(mask) = &mut self.attention_mask {
            let n_total = n_past + n_new;
            mask.bind(binding, &[1, n_total], std::iter::repeat_n(1, n_total))?;
        }
        if let Some(positions) = &mut self.position_ids {
            positions.bind(binding, &[1, n_new], (n_past..n_past + n_new).map(|p| p as i64))?;
        }
        if let Some(rows) = &mut self.rows {
            let shape = rows.shape_of_one();
            let n_rows = n_rows as i64;
            let value = if self.shared.rows == LogitsRows::Start { -n_rows } else { n_rows };
            rows.bind(binding, shape, std::iter::once(value))?;
        }
        self.kv_cache.prepare(binding, n_new)?;
        self.fixed_states.bind(binding)?;
        let n_logits = match self.shared.rows {
            LogitsRows::Start | LogitsRows::Count => n_rows,
            LogitsRows::Every => n_new,
            LogitsRows::Last => 1,
        };
        if self.n_logits_bound != n_logits {
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
        }
        Ok(())
    }

    /// Copy row `row_idx` of the last `n_rows` rows of the last run.
    fn read(&self, row_idx: usize, n_rows: usize, row: &mut [f32]) -> ort::Result<()> {
        let logits = self.logits.as_ref().expect("a run binds them");
        let n_vocab = self.shared.contract.n_vocab;
        let start = (self.n_logits_bound - n_rows + row_idx) * n_vocab;
        if self.shared.contract.logits_are_f16 {
            let (_, values) = logits.try_extract_tensor::<f16>()?;
            let values = &values[start..start + n_vocab];
            row.iter_mut().zip(values).for_each(|(to, from)| *to = from.to_f32());
        } else {
            let (_, values) = logits.try_extract_tensor::<f32>()?;
            row.copy_from_slice(&values[start..start + n_vocab]);
        }
        Ok(())
    }

    /// What entered the head for row `row_idx` of the last `n_rows` rows of the last run.
    fn hidden(&self, row_idx: usize, n_rows: usize) -> ort::Result<Option<&[f32]>> {
        let (Some(hidden), Some(n_hidden)) = (&self.hidden, self.shared.n_hidden) else {
            return Ok(None);
        };
        let (_, values) = hidden.try_extract_tensor::<f32>()?;
        let start = (self.n_logits_bound - n_rows + row_idx) * n_hidden;
        Ok(Some(&values[start..start + n_hidden]))
    }

    fn failed(&self) -> impl Fn(ort::Error) -> StepError + use<> {
        let n_positions = self.kv_cache.n_positions();
        move |error| StepError::Library { backend: NAME, n_positions, source: error.into() }
    }
}

impl Decoder for OrtDecoder {
    fn step(&mut self, tokens: &[TokenId], logits: &mut [f32]) -> Result<(), StepError> {
        assert_eq!(logits.len(), self.shared.contract.n_vocab, "one logit a token");
        self.check(tokens)?;
        self.inference = Duration::ZERO;
        let mut rest = tokens;
        while !rest.is_empty() {
            let n_at_once = match self.kv_cache.n_positions() {
                0 => self.shared.n_chunk_tokens,
                _ => self.shared.n_follow_tokens(),
            };
            let (chunk, behind) = rest.split_at(n_at_once.min(rest.len()));
            self.run(chunk, 1)?;
            rest = behind;
        }
        self.read(0, 1, logits).map_err(self.failed())
    }

    fn score(&mut self, tokens: &[TokenId], row: &mut dyn FnMut(Row<'_>)) -> Result<(), StepError> {
        self.check(tokens)?;
        self.inference = Duration::ZERO;
        let n_vocab = self.shared.contract.n_vocab;
        let n_rows_max = match self.shared.rows {
            LogitsRows::Last => 1,
            _ => (SCORED_ROWS_BYTES_MAX / (4 * n_vocab)).clamp(1, self.shared.n_follow_tokens()),
        };
        // Chunks of nearly one size: a last one of a single row would go through another kernel.
        let n_chunks = tokens.len().div_ceil(n_rows_max);
        let mut logits = vec![0.0; n_vocab];
        let mut token_idx = 0;
        for chunk_idx in 0..n_chunks {
            let start = |chunk_idx: usize| chunk_idx * tokens.len() / n_chunks;
            let chunk = &tokens[start(chunk_idx)..start(chunk_idx + 1)];
            self.run(chunk, chunk.len())?;
            for row_idx in 0..chunk.len() {
                self.read(row_idx, chunk.len(), &mut logits).map_err(self.failed())?;
                let hidden = self.hidden(row_idx, chunk.len()).map_err(self.failed())?;
                row(Row { token_idx, logits: &logits, hidden });
                token_idx += 1;
            }
        }
        Ok(())
    }

    fn n_positions(&self) -> usize {
        self.kv_cache.n_positions()
    }

    fn rewind(&mut self, n_positions: usize) -> Result<(), RewindError> {
        let n_seen = self.kv_cache.n_positions();
        if n_seen < n_positions {
            return Err(RewindError::Ahead { n_asked: n_positions, n_positions: n_seen });
        }
        let refused = |reason| RewindError::Unsupported { backend: NAME, reason };
        if !self.fixed_states.is_empty() && n_positions != n_seen {
            if n_positions != 0 {
                return Err(refused("its states hold all that was seen and cannot give it back"));
            }
            self.fixed_states.clear().map_err(|_| refused("its states cannot be cleared"))?;
        }
        let went = self.kv_cache.rewind(n_positions);
        went.map_err(|_| refused("there is no memory for the shorter cache"))
    }

    fn last_inference(&self) -> Duration {
        self.inference
    }
}
