use super::scalar;
use crate::lanes::{F32Lanes, Lanes, N_LANES};

#[inline(always)]
pub(super) fn rotate_halves<L: Lanes>(l: L, head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (low, high) = head.split_at_mut(cos.len());
    let (lows, low_tail) = low.as_chunks_mut::<N_LANES>();
    let (highs, high_tail) = high.as_chunks_mut::<N_LANES>();
    let (coses, cos_tail) = cos.as_chunks::<N_LANES>();
    let (sins, sin_tail) = sin.as_chunks::<N_LANES>();
    for ((low, high), (cos, sin)) in lows.iter_mut().zip(highs).zip(coses.iter().zip(sins)) {
        let (a, b) = (l.load(low), l.load(high));
        let (cos, sin) = (l.load(cos), l.load(sin));
        (a * cos - b * sin).store(low);
        (b * cos + a * sin).store(high);
    }
    scalar::rotate(low_tail, high_tail, cos_tail, sin_tail);
}
