//! An integer input of a graph.

use ort::memory::Allocator;
use ort::session::IoBinding;
use ort::value::{DynTensor, TensorElementType};

use crate::contract::Integers;

/// An integer input and the tensor that holds its values.
pub(crate) struct Input {
    spec: Integers,
    tensor: Option<DynTensor>,
}

impl Input {
    pub(crate) fn new(spec: Integers) -> Input {
        Input { spec, tensor: None }
    }

    /// Its name in the graph.
    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// The shape of one number.
    pub(crate) fn shape_of_one(&self) -> &'static [usize] {
        if self.spec.rank == 0 { &[] } else { &[1] }
    }

    /// Rows of one number for each token.
    pub(crate) fn n_rows(&self) -> usize {
        self.spec.n_rows
    }

    /// The shape of these rows for `n_tokens`.
    pub(crate) fn shape_of(&self, n_tokens: usize) -> Vec<usize> {
        match self.spec.rank {
            3 => vec![self.spec.n_rows, 1, n_tokens],
            _ => vec![1, n_tokens],
        }
    }

    /// The tensor with the values that were written last.
    pub(crate) fn tensor(&self) -> Option<&DynTensor> {
        self.tensor.as_ref()
    }

    /// Write `values` to a tensor of `shape`, a new one only when the shape changed, and bind it.
    pub(crate) fn bind(
        &mut self,
        binding: &mut IoBinding,
        shape: &[usize],
        values: impl Iterator<Item = i64>,
    ) -> ort::Result<()> {
        let is_new = self.write(shape, values)?;
        if let (true, Some(tensor)) = (is_new, &self.tensor) {
            binding.bind_input(&*self.spec.name, tensor)?;
        }
        Ok(())
    }

    /// Write `values` to a tensor of `shape`; whether it is a new one, as the shape changed.
    pub(crate) fn write(
        &mut self,
        shape: &[usize],
        values: impl Iterator<Item = i64>,
    ) -> ort::Result<bool> {
        let is_fitting = |tensor: &DynTensor| {
            tensor.shape().iter().map(|&dim| dim as usize).eq(shape.iter().copied())
        };
        let is_new = !self.tensor.as_ref().is_some_and(is_fitting);
        if is_new {
            let element = match self.spec.is_i32 {
                true => TensorElementType::Int32,
                false => TensorElementType::Int64,
            };
            self.tensor = Some(DynTensor::new(&Allocator::default(), element, shape)?);
        }
        let tensor = self.tensor.as_mut().expect("made above");
        if self.spec.is_i32 {
            let (_, elements) = tensor.try_extract_tensor_mut::<i32>()?;
            elements.iter_mut().zip(values).for_each(|(to, from)| *to = from as i32);
        } else {
            let (_, elements) = tensor.try_extract_tensor_mut::<i64>()?;
            elements.iter_mut().zip(values).for_each(|(to, from)| *to = from);
        }
        Ok(is_new)
    }
}
