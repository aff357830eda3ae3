use std::arch::x86_64::{_mm256_max_ps, _mm256_set1_ps};

use crate::lanes::avx2::{load, store};

#[target_feature(enable = "avx2,fma")]
pub(super) fn row_max(logits: &[f32]) -> f32 {
    // Four accumulators: one `max` every cycle instead of one every four.
    let (blocks, tail) = logits.as_chunks::<32>();
    let mut best = [_mm256_set1_ps(f32::NEG_INFINITY); 4];
    for block in blocks {
        let (chunks, _) = block.as_chunks::<8>();
        for (best, chunk) in best.iter_mut().zip(chunks) {
            // The accumulator goes second: `max_ps` returns its second operand on NaN.
            *best = _mm256_max_ps(load(chunk), *best);
        }
    }
    let best = _mm256_max_ps(_mm256_max_ps(best[0], best[1]), _mm256_max_ps(best[2], best[3]));
    let best = store(best).into_iter().fold(f32::NEG_INFINITY, f32::max);
    tail.iter().copied().fold(best, f32::max)
}
