//! The keys and values of the positions seen, bound to the graph's past and present.
//!
//! Two ways, by what the graph does. *Shared*: one buffer is past and present at once, longer than
//! what is in it, and the graph writes new positions behind the old ones; it grows by doubling and
//! nothing is copied in a step. *Passed on*: the graph concatenates, so each run writes a new
//! present of exactly the right length, which is the next run's past.

use half::f16;
use ort::memory::Allocator;
use ort::session::IoBinding;
use ort::value::{DynTensor, PrimitiveTensorElementType, TensorElementType};

use crate::contract::Contract;
use crate::state::KvState;

/// Positions that a shared buffer starts with, and the step that it is rounded up to.
const N_POSITIONS_STEP: usize = 256;

/// The KV cache of one sequence.
pub(crate) struct KvCache {
    specs: Vec<KvState>,
    tensors: Vec<DynTensor>,
    /// The outputs of the run in progress, when states are passed on.
    presents: Vec<DynTensor>,
    shares_buffers: bool,
    /// Positions there is room for, when buffers are shared.
    n_capacity: usize,
    n_positions_max: usize,
    n_buffered_min: usize,
}

impl KvCache {
    pub(crate) fn new(contract: &Contract, n_positions_max: usize) -> ort::Result<KvCache> {
        let specs = contract.states.kv.clone();
        let tensors = specs.iter().map(|state| allocate(state, 0)).collect::<ort::Result<_>>()?;
        Ok(KvCache {
            specs,
            tensors,
            presents: Vec::new(),
            shares_buffers: contract.shares_buffers,
            n_capacity: 0,
            n_positions_max,
            n_buffered_min: contract.n_buffered_min,
        })
    }

    /// Make room for `n_new` positions behind `n_past`, and bind past and present for one run.
    pub(crate) fn prepare(
        &mut self,
        binding: &mut IoBinding,
        n_past: usize,
        n_new: usize,
    ) -> ort::Result<()> {
        let n_needed = n_past + n_new;
        if !self.shares_buffers {
            return self.bind_passed_on(binding, n_needed);
        }
        if self.n_capacity < n_needed {
            let doubled = n_needed.max(2 * self.n_capacity).next_multiple_of(N_POSITIONS_STEP);
            let n_allowed = self.n_positions_max.max(n_needed);
            self.resize(doubled.min(n_allowed).max(self.n_buffered_min), n_past)?;
            self.bind_shared(binding)?;
        }
        Ok(())
    }

    /// What a run that succeeded wrote is the next one's past.
    pub(crate) fn advance(&mut self) {
        if !self.shares_buffers {
            self.tensors = std::mem::take(&mut self.presents);
        }
    }

    /// Keep the first `n_positions` only; after an error nothing has changed.
    pub(crate) fn keep(&mut self, n_positions: usize) -> ort::Result<()> {
        // In a shared buffer the next run writes over what is behind them.
        if !self.shares_buffers {
            self.resize(n_positions, n_positions)?;
        }
        Ok(())
    }

    /// Buffers with room for `n_capacity` positions and the first `n_kept` in them.
    fn resize(&mut self, n_capacity: usize, n_kept: usize) -> ort::Result<()> {
        let mut resized = Vec::with_capacity(self.tensors.len());
        for (spec, tensor) in self.specs.iter().zip(&self.tensors) {
            let mut to = allocate(spec, n_capacity)?;
            copy(spec, tensor, shape_positions(tensor), &mut to, n_capacity, n_kept)?;
            resized.push(to);
        }
        self.tensors = resized;
        self.n_capacity = n_capacity;
        Ok(())
    }

    fn bind_shared(&mut self, binding: &mut IoBinding) -> ort::Result<()> {
        for (spec, tensor) in self.specs.iter().zip(&mut self.tensors) {
            binding.bind_input(&*spec.past, tensor)?;
            binding.bind_output(&*spec.present, tensor)?;
        }
        Ok(())
    }

    fn bind_passed_on(&mut self, binding: &mut IoBinding, n_needed: usize) -> ort::Result<()> {
        self.presents.clear();
        for (spec, past) in self.specs.iter().zip(&self.tensors) {
            let mut present = allocate(spec, n_needed)?;
            binding.bind_input(&*spec.past, past)?;
            binding.bind_output(&*spec.present, &mut present)?;
            self.presents.push(present);
        }
        Ok(())
    }
}

fn allocate(spec: &KvState, n_positions: usize) -> ort::Result<DynTensor> {
    let element = if spec.is_f16 { TensorElementType::Float16 } else { TensorElementType::Float32 };
    let shape = [1, spec.n_heads, n_positions, spec.head_size];
    DynTensor::new(&Allocator::default(), element, shape)
}

fn shape_positions(tensor: &DynTensor) -> usize {
    usize::try_from(tensor.shape()[2]).unwrap_or(0)
}

/// Copy the first `n_kept` positions of every head between buffers of other lengths.
fn copy(
    spec: &KvState,
    from: &DynTensor,
    n_from: usize,
    to: &mut DynTensor,
    n_to: usize,
    n_kept: usize,
) -> ort::Result<()> {
    if n_kept == 0 {
        return Ok(());
    }
    match spec.is_f16 {
        true => copy_heads::<f16>(spec, from, n_from, to, n_to, n_kept),
        false => copy_heads::<f32>(spec, from, n_from, to, n_to, n_kept),
    }
}

fn copy_heads<T: PrimitiveTensorElementType + Copy>(
    spec: &KvState,
    from: &DynTensor,
    n_from: usize,
    to: &mut DynTensor,
    n_to: usize,
    n_kept: usize,
) -> ort::Result<()> {
    let (_, from) = from.try_extract_tensor::<T>()?;
    let (_, to) = to.try_extract_tensor_mut::<T>()?;
    let n_elements = n_kept * spec.head_size;
    for head_idx in 0..spec.n_heads {
        let from_start = head_idx * n_from * spec.head_size;
        let to_start = head_idx * n_to * spec.head_size;
        to[to_start..to_start + n_elements]
            .copy_from_slice(&from[from_start..from_start + n_elements]);
    }
    Ok(())
}
