use super::{GELU_CUBIC, GELU_LINEAR, scalar};
use crate::exp::exp_nonpositive_lanes;
use crate::lanes::{F32Lanes, Lanes, N_LANES};

#[inline(always)]
pub(super) fn silu<L: Lanes>(l: L, gate: &mut [f32], up: &[f32]) {
    let (groups, tail) = gate.as_chunks_mut::<N_LANES>();
    let (ups, up_tail) = up.as_chunks::<N_LANES>();
    for (group, up) in groups.iter_mut().zip(ups) {
        let x = l.load(group);
        (x * sigmoid(l, x) * l.load(up)).store(group);
    }
    scalar::silu(tail, up_tail);
}

#[inline(always)]
pub(super) fn gelu_tanh<L: Lanes>(l: L, gate: &mut [f32], up: &[f32]) {
    let (groups, tail) = gate.as_chunks_mut::<N_LANES>();
    let (ups, up_tail) = up.as_chunks::<N_LANES>();
    for (group, up) in groups.iter_mut().zip(ups) {
        let x = l.load(group);
        let inner = x * (x * x * l.splat(GELU_CUBIC) + l.splat(GELU_LINEAR));
        (x * sigmoid(l, inner) * l.load(up)).store(group);
    }
    scalar::gelu_tanh(tail, up_tail);
}

#[inline(always)]
fn sigmoid<L: Lanes>(l: L, x: L::F32) -> L::F32 {
    let (zero, one) = (l.splat(0.0), l.splat(1.0));
    let small = exp_nonpositive_lanes(l, zero - x.abs());
    L::F32::select(x.ge(zero), one, small).div(one + small)
}
