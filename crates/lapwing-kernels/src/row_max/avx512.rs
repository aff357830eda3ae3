use std::arch::x86_64::{_mm512_max_ps, _mm512_reduce_max_ps, _mm512_set1_ps};

use crate::lanes::avx512::load;

#[target_feature(enable = "avx512f")]
pub(super) fn row_max(logits: &[f32]) -> f32 {
    // Four accumulators: one `max` every cycle instead of one every four.
    let (blocks, tail) = logits.as_chunks::<64>();
    let mut best = [_mm512_set1_ps(f32::NEG_INFINITY); 4];
    for block in blocks {
        let (chunks, _) = block.as_chunks::<16>();
        for (best, chunk) in best.iter_mut().zip(chunks) {
            // The accumulator goes second: `max_ps` returns its second operand on NaN.
            *best = _mm512_max_ps(load(chunk), *best);
        }
    }
    let best = _mm512_max_ps(_mm512_max_ps(best[0], best[1]), _mm512_max_ps(best[2], best[3]));
    tail.iter().copied().fold(_mm512_reduce_max_ps(best), f32::max)
}
