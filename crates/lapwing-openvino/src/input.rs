//! Integers into a request, numbers out of it.

use std::borrow::Cow;

use half::{bf16, f16};

use crate::graph::Integers;
use crate::native::{Element, InferRequest, NativeError, Tensor};

/// An integer input and its tensor.
pub(crate) struct Input {
    spec: Integers,
    tensor: Tensor,
}

impl Input {
    pub(crate) fn new(spec: &Integers) -> Result<Input, NativeError> {
        let tensor = match spec.is_i32 {
            true => Tensor::new::<i32>(&[0])?,
            false => Tensor::new::<i64>(&[0])?,
        };
        Ok(Input { spec: spec.clone(), tensor })
    }

    pub(crate) fn set(
        &mut self,
        request: &mut InferRequest,
        shape: &[usize],
        values: impl Iterator<Item = i64>,
    ) -> Result<(), NativeError> {
        self.tensor.set_shape(shape)?;
        match self.spec.is_i32 {
            true => self.tensor.write(values.map(|value| value as i32))?,
            false => self.tensor.write(values)?,
        }
        request.set_input(&self.spec.name, &self.tensor)
    }
}

/// The last `n_rows` rows of an output of floats of any width; `what` is their name.
///
/// # Errors
///
/// When its rows are not `n_row` long, as the graph claims, or fewer.
pub(crate) fn last_rows<'a>(
    output: &'a Tensor,
    what: &str,
    n_rows: usize,
    n_row: usize,
) -> Result<Cow<'a, [f32]>, NativeError> {
    let n_found = output.last_dim()?;
    if n_found != n_row {
        let message = format!("expected {n_row} {what} in a row, found {n_found}");
        return Err(NativeError { call: "reading an output", message });
    }
    let n_wanted = n_rows.saturating_mul(n_row);
    let refused = match last::<f32>(output, what, n_wanted) {
        Ok(floats) => return Ok(Cow::Borrowed(floats)),
        Err(refused) => refused,
    };
    // A tensor of another type is no error of the library's: only reading it as f32 was.
    if let Ok(halves) = last::<f16>(output, what, n_wanted) {
        return Ok(halves.iter().map(|half| half.to_f32()).collect());
    }
    match last::<bf16>(output, what, n_wanted) {
        Ok(halves) => Ok(halves.iter().map(|half| half.to_f32()).collect()),
        Err(_) => Err(refused),
    }
}

/// The last `n_wanted` elements of an output; `what` is their name.
fn last<'a, T: Element>(
    output: &'a Tensor,
    what: &str,
    n_wanted: usize,
) -> Result<&'a [T], NativeError> {
    let values = output.read::<T>()?;
    match values.len().checked_sub(n_wanted) {
        Some(start) => Ok(&values[start..]),
        None => {
            let message = format!("expected {n_wanted} {what}, found {}", values.len());
            Err(NativeError { call: "reading an output", message })
        }
    }
}
