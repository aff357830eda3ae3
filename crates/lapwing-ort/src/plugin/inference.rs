//! One sequence on a device of the plugin: a session that keeps its state itself.

use std::sync::Arc;

use half::f16;
use lapwing_backend::{Chunk, Inference, Source};
use ort::memory::Allocator;
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session, SessionInputValue};
use ort::value::{DynTensor, TensorElementType};

use super::shared::Shared;
use crate::contract::Integers;
use crate::input::Input;

/// A sequence with its session and its inputs.
pub(super) struct PluginInference {
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
}

impl PluginInference {
    /// A sequence without positions, on a session whose state is empty.
    pub(super) fn new(shared: Arc<Shared>, session: Session) -> ort::Result<PluginInference> {
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
        Ok(PluginInference {
            run_options: RunOptions::new()?.with_outputs(logits),
            input_ids: input(contract.tokens.ids()),
            attention_mask: contract.attention_mask.as_ref().map(input),
            position_ids: contract.position_ids.as_ref().map(input),
            n_logits: contract.n_logits.as_ref().map(input),
            pasts: contract.states.kv.iter().map(past).collect::<ort::Result<_>>()?,
            session,
            shared,
        })
    }

    fn write(&mut self, chunk: &Chunk<'_>) -> ort::Result<()> {
        let Chunk { tokens, n_past, .. } = *chunk;
        let (n_new, n_seen) = (tokens.len(), n_past + tokens.len());
        self.input_ids.write(&[1, n_new], tokens.iter().map(|&id| i64::from(id)))?;
        if let Some(mask) = &mut self.attention_mask {
            mask.write(&[1, n_seen], std::iter::repeat_n(1, n_seen))?;
        }
        if let Some(positions) = &mut self.position_ids {
            positions.write(
                &positions.shape_of(n_new),
                (n_past..n_seen).map(|position| position as i64),
            )?;
        }
        if let Some(n_logits) = &mut self.n_logits {
            n_logits.write(n_logits.shape_of_one(), std::iter::once(1))?;
        }
        Ok(())
    }
}

impl Inference for PluginInference {
    /// The logits of one position come, so no more than that are asked for.
    fn run(&mut self, chunk: &mut Chunk<'_>) -> Result<(), Source> {
        self.write(chunk)?;
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
        let session = &mut self.session;
        let outputs = chunk.time(|| session.run_with_options(inputs, &self.run_options))?;
        let logits = outputs.get(&contract.logits).ok_or("no logits came")?;
        if contract.logits_are_f16 {
            let row = last(logits.try_extract_tensor::<f16>()?.1, contract.n_vocab)?;
            chunk.give(&row.iter().map(|logit| logit.to_f32()).collect::<Vec<f32>>(), None);
        } else {
            chunk.give(last(logits.try_extract_tensor::<f32>()?.1, contract.n_vocab)?, None);
        }
        Ok(())
    }

    /// Only everything, by a new session.
    fn forget(&mut self, n_positions: usize) -> Result<(), &'static str> {
        if n_positions != 0 {
            return Err("the OpenVINO plugin keeps the state and does not give it back");
        }
        let shared = Arc::clone(&self.shared);
        let fresh = shared.session().ok().and_then(|new| PluginInference::new(shared, new).ok());
        *self = fresh.ok_or("the OpenVINO plugin makes no new session")?;
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
