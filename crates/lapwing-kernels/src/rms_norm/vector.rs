use super::{N_SUMS, scalar};
use crate::lanes::{Block, F32Lanes, Lanes, N_LANES};

#[inline(always)]
pub(super) fn squares<L: Lanes>(l: L, blocks: &[[f32; N_SUMS]]) -> [f32; N_SUMS] {
    let mut sums = Block::<L>::splat(l, 0.0);
    for block in blocks {
        let x = Block::<L>::load(l, block);
        sums = x.mul_add(x, sums);
    }
    let mut out = [0.0; N_SUMS];
    sums.store(&mut out);
    out
}

#[inline(always)]
pub(super) fn scale<L: Lanes>(l: L, x: &[f32], weight: &[f32], factor: f32, out: &mut [f32]) {
    let (groups, tail) = x.as_chunks::<N_LANES>();
    let (weights, weight_tail) = weight.as_chunks::<N_LANES>();
    let (outs, out_tail) = out.as_chunks_mut::<N_LANES>();
    for ((x, weight), out) in groups.iter().zip(weights).zip(outs) {
        (l.load(x) * l.splat(factor) * l.load(weight)).store(out);
    }
    scalar::scale(tail, weight_tail, factor, out_tail);
}
