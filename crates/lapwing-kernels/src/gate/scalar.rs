use super::{GELU_CUBIC, GELU_LINEAR};
use crate::exp::exp_nonpositive;

pub(super) fn silu(gate: &mut [f32], up: &[f32]) {
    for (x, up) in gate.iter_mut().zip(up) {
        *x = *x * sigmoid(*x) * up;
    }
}

pub(super) fn gelu_tanh(gate: &mut [f32], up: &[f32]) {
    for (x, up) in gate.iter_mut().zip(up) {
        *x = *x * sigmoid(*x * (*x * *x * GELU_CUBIC + GELU_LINEAR)) * up;
    }
}

fn sigmoid(x: f32) -> f32 {
    let small = exp_nonpositive(0.0 - x.abs());
    if x >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) }
}
