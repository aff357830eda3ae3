use std::arch::aarch64::{vdupq_n_f32, vmaxnmq_f32, vmaxnmvq_f32};

use crate::lanes::neon::load;

#[target_feature(enable = "neon")]
pub(super) fn row_max(logits: &[f32]) -> f32 {
    // Four accumulators hide the latency of `max`; `maxnm` ignores NaN.
    let (blocks, tail) = logits.as_chunks::<16>();
    let mut best = [vdupq_n_f32(f32::NEG_INFINITY); 4];
    for block in blocks {
        let (chunks, _) = block.as_chunks::<4>();
        for (best, chunk) in best.iter_mut().zip(chunks) {
            *best = vmaxnmq_f32(load(chunk), *best);
        }
    }
    let best = vmaxnmq_f32(vmaxnmq_f32(best[0], best[1]), vmaxnmq_f32(best[2], best[3]));
    tail.iter().copied().fold(vmaxnmvq_f32(best), f32::max)
}
