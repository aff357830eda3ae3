//! One sequence on a device of the plugin: a session that keeps its state itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use half::f16;
use lapwing_backend::{Decoder, RewindError, Row, Source, StepError};
use lapwing_model::TokenId;
use ort::memory::Allocator;
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session, SessionInputValue};
use ort::value::{DynTensor, TensorElementType};

use super::shared::Shared;
use crate::NAME;
use crate::contract::Integers;
use crate::input::Input;

/// A sequence with its session and its inputs.
pub(super) struct PluginDecoder {
    shared: Arc<Shared>,
    session: Session,
    /// The logits are asked for, and no present is.
    run_options: RunOptions<HasSelectedOutputs>,
    input_ids: Input,
    attention_mask: Option<Input>,
    position_ids: Option<Input>,
    n_logits: Option<Input>,
    /// Empty ones: ONNX Runtime asks for them, the plugin does not read them.
    pasts: Vec<DynTensor>,
    n_positions: usize,
    inference: Duration,
}

impl PluginDecoder {
    /// A sequence without positions, on a session whose state is empty.
    pub(super) fn new(shared: Arc<Shared>, session: Session) -> ort::Result<PluginDecoder> {
        let contract = &shared.contract;
        let input = |spec: &Integers| Input::new(spec.clone());
        let past = |state: &crate::state::KvState| {
            let element = match state.is_f16 {
                true => TensorElementType::Float16,
                false => TensorElementType::Float32,
            };
            let shape = [1, state.n_heads, 0, state.head_size];
            DynTensor::new(&Allocator::default(), element, shape)
        };
        let logits = OutputSelector::no_default().with(&contract.logits);
        Ok(PluginDecoder {
            run_options: RunOptions::new()?.with_outputs(logits),
            input_ids: input(&contract.input_ids),
            attention_mask: contract.attention_mask.as_ref().map(input),
            position_ids: contract.position_ids.as_ref().map(input),
            n_logits: contract.n_logits.as_ref().map(input),
            pasts: contract.states.kv.iter().map(past).collect::<ort::Result<_>>()?,
            n_positions: 0,
            inference: Duration::ZERO,
            session,
            shared,
        })
    }

    fn check(&self, tokens: &[TokenId]) -> Result<(), StepError> {
        assert!(!tokens.is_empty(), "a step needs at least one token");
        let (n_positions, n_max) = (self.n_positions, self.shared.n_positions_max);
        if n_max < n_positions + tokens.len() {
            return Err(StepError::ContextFull { n_positions, n_new: tokens.len(), n_max });
        }
        let n_vocab = self.shared.contract.n_vocab;
        match tokens.iter().find(|&&token| n_vocab <= token as usize) {
            Some(&token) => Err(StepError::NoSuchToken { token, n_vocab }),
            None => Ok(()),
        }
    }

    /// Run tokens that may go in together, and write the last one's logits to `row`.
    fn run(&mut self, tokens: &[TokenId], row: &mut [f32]) -> Result<(), StepError> {
        let n_positions = self.n_positions;
        let failed = |source: Source| StepError::Library { backend: NAME, n_positions, source };
        self.write(tokens).map_err(|error| failed(error.into()))?;
        self.infer(row).map_err(failed)?;
        self.n_positions += tokens.len();
        Ok(())
    }

    fn write(&mut self, tokens: &[TokenId]) -> ort::Result<()> {
        let (n_past, n_new) = (self.n_positions, tokens.len());
        let n_seen = n_past + n_new;
        self.input_ids.write(&[1, n_new], tokens.iter().map(|&id| i64::from(id)))?;
        if let Some(mask) = &mut self.attention_mask {
            mask.write(&[1, n_seen], std::iter::repeat_n(1, n_seen))?;
        }
        if let Some(positions) = &mut self.position_ids {
            positions.write(&[1, n_new], (n_past..n_seen).map(|position| position as i64))?;
        }
        if let Some(n_logits) = &mut self.n_logits {
            n_logits.write(n_logits.shape_of_one(), std::iter::once(1))?;
        }
        Ok(())
    }

    fn infer(&mut self, row: &mut [f32]) -> Result<(), Source> {
        let contract = &self.shared.contract;
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> = Vec::new();
        let integers = [Some(&self.input_ids), self.attention_mask.as_ref()];
        let integers =
            integers.into_iter().chain([&self.position_ids, &self.n_logits].map(Option::as_ref));
        for input in integers.flatten() {
            let tensor = input.tensor().ok_or("an input was not written")?;
            inputs.push((input.name(), tensor.into()));
        }
        for (state, past) in contract.states.kv.iter().zip(&self.pasts) {
            inputs.push((&state.past, past.into()));
        }
        let started = Instant::now();
        let outcome = self.session.run_with_options(inputs, &self.run_options);
        self.inference += started.elapsed();
        let outputs = outcome?;
        let logits = outputs.get(&contract.logits).ok_or("no logits came")?;
        if contract.logits_are_f16 {
            let last = last(logits.try_extract_tensor::<f16>()?.1, row.len())?;
            row.iter_mut().zip(last).for_each(|(to, from)| *to = from.to_f32());
        } else {
            row.copy_from_slice(last(logits.try_extract_tensor::<f32>()?.1, row.len())?);
        }
        Ok(())
    }
}

/// The last of the rows that came: the plugin gives one, a graph that it cannot cut gives all.
fn last<T>(values: &[T], n_vocab: usize) -> Result<&[T], String> {
    let is_rows = !values.is_empty() && values.len().is_multiple_of(n_vocab);
    match is_rows {
        true => Ok(&values[values.len() - n_vocab..]),
        false => Err(format!("{} logits came: expected rows of {n_vocab}", values.len())),
    }
}

impl Decoder for PluginDecoder {
    fn step(&mut self, tokens: &[TokenId], logits: &mut [f32]) -> Result<(), StepError> {
        assert_eq!(logits.len(), self.shared.contract.n_vocab, "one logit a token");
        self.check(tokens)?;
        self.inference = Duration::ZERO;
        let n_first = if self.n_positions == 0 { self.shared.n_first_tokens_max } else { 1 };
        let (first, behind) = tokens.split_at(n_first.min(tokens.len()));
        self.run(first, logits)?;
        for token in behind {
            self.run(std::slice::from_ref(token), logits)?;
        }
        Ok(())
    }

    fn score(&mut self, tokens: &[TokenId], row: &mut dyn FnMut(Row<'_>)) -> Result<(), StepError> {
        self.check(tokens)?;
        self.inference = Duration::ZERO;
        let mut logits = vec![0.0; self.shared.contract.n_vocab];
        for (token_idx, token) in tokens.iter().enumerate() {
            self.run(std::slice::from_ref(token), &mut logits)?;
            row(Row { token_idx, logits: &logits, hidden: None });
        }
        Ok(())
    }

    fn n_positions(&self) -> usize {
        self.n_positions
    }

    /// Only to nothing, by a new session.
    fn rewind(&mut self, n_positions: usize) -> Result<(), RewindError> {
        let n_seen = self.n_positions;
        if n_seen < n_positions {
            return Err(RewindError::Ahead { n_asked: n_positions, n_positions: n_seen });
        }
        let refused = |reason| Err(RewindError::Unsupported { backend: NAME, reason });
        if n_positions == n_seen {
            return Ok(());
        }
        if n_positions != 0 {
            return refused("the OpenVINO plugin keeps the state and does not give it back");
        }
        let shared = Arc::clone(&self.shared);
        let fresh = shared.session().ok().and_then(|new| PluginDecoder::new(shared, new).ok());
        match fresh {
            Some(fresh) => {
                *self = fresh;
                Ok(())
            }
            None => refused("the OpenVINO plugin makes no new session"),
        }
    }

    fn last_inference(&self) -> Duration {
        self.inference
    }
}

#[cfg(test)]
mod tests {
    use super::last;

    #[test]
    fn the_last_row_is_taken_and_broken_rows_are_refused() {
        assert_eq!(last(&[1, 2, 3, 4], 2).expect("rows"), [3, 4]);
        assert_eq!(last(&[3, 4], 2).expect("a row"), [3, 4]);
        assert!(last::<u8>(&[], 2).expect_err("nothing").contains("0 logits"));
        assert!(last(&[1, 2, 3], 2).expect_err("half a row").contains("3 logits"));
    }
}
