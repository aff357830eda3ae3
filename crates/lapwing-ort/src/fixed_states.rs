//! The states of one size of a sequence, bound to the graph's pasts and presents.
//!
//! Two tensors a state take turns: what one run reads another writes, for a graph need not have
//! read the whole past when it begins to write the present.

use half::f16;
use ort::memory::Allocator;
use ort::session::IoBinding;
use ort::value::{DynTensor, TensorElementType};

use crate::state::FixedState;

/// The states of one sequence that do not grow.
pub(crate) struct FixedStates {
    specs: Vec<FixedState>,
    pasts: Vec<DynTensor>,
    /// The outputs of the run in progress.
    presents: Vec<DynTensor>,
}

impl FixedStates {
    /// States of a sequence that has seen nothing.
    pub(crate) fn new(specs: &[FixedState]) -> ort::Result<FixedStates> {
        let tensors = || specs.iter().map(allocate).collect::<ort::Result<Vec<_>>>();
        let (pasts, presents) = (tensors()?, tensors()?);
        let mut states = FixedStates { specs: specs.to_vec(), pasts, presents };
        states.clear()?;
        Ok(states)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// Bind pasts and presents for one run.
    pub(crate) fn bind(&mut self, binding: &mut IoBinding) -> ort::Result<()> {
        let tensors = self.pasts.iter().zip(&mut self.presents);
        for (spec, (past, present)) in self.specs.iter().zip(tensors) {
            binding.bind_input(&*spec.past, past)?;
            binding.bind_output(&*spec.present, present)?;
        }
        Ok(())
    }

    /// What a run that succeeded wrote is the next one's past.
    pub(crate) fn advance(&mut self) {
        std::mem::swap(&mut self.pasts, &mut self.presents);
    }

    /// Forget everything.
    pub(crate) fn clear(&mut self) -> ort::Result<()> {
        for (spec, past) in self.specs.iter().zip(&mut self.pasts) {
            match spec.is_f16 {
                true => past.try_extract_tensor_mut::<f16>()?.1.fill(f16::ZERO),
                false => past.try_extract_tensor_mut::<f32>()?.1.fill(0.0),
            }
        }
        Ok(())
    }
}

fn allocate(spec: &FixedState) -> ort::Result<DynTensor> {
    let element = if spec.is_f16 { TensorElementType::Float16 } else { TensorElementType::Float32 };
    DynTensor::new(&Allocator::default(), element, spec.dims.clone())
}
