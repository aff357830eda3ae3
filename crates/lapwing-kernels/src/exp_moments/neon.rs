use std::arch::aarch64::{
    vaddq_f64, vandq_u32, vcgtq_f32, vdupq_n_f32, vdupq_n_f64, vmulq_f32, vmulq_f64,
    vreinterpretq_f32_u32, vreinterpretq_u32_f32, vsubq_f32,
};

use super::{N_SUMS, Partial};
use crate::exp::neon::exp_nonpositive;
use crate::lanes::neon::{load, store_f64, widen};

#[target_feature(enable = "neon")]
pub(super) fn exp_moments(chunks: &[[f32; N_SUMS]], max: f32, scale: f32) -> Partial {
    let max = vdupq_n_f32(max);
    let scale = vdupq_n_f32(scale);
    let mut sums = [[vdupq_n_f64(0.0); 2]; 4];
    let mut weighted = [[vdupq_n_f64(0.0); 2]; 4];
    for chunk in chunks {
        let (quarters, _) = chunk.as_chunks::<4>();
        for (quarter_idx, quarter) in quarters.iter().enumerate() {
            let distance = vsubq_f32(load(quarter), max);
            let term = exp_nonpositive(vmulq_f32(distance, scale));
            // A term of zero may come with an infinite distance, or NaN.
            let has_weight = vcgtq_f32(term, vdupq_n_f32(0.0));
            let kept = vandq_u32(has_weight, vreinterpretq_u32_f32(distance));
            let terms = widen(term);
            let distances = widen(vreinterpretq_f32_u32(kept));
            for half in 0..2 {
                let sum = &mut sums[quarter_idx][half];
                *sum = vaddq_f64(*sum, terms[half]);
                let sum = &mut weighted[quarter_idx][half];
                *sum = vaddq_f64(*sum, vmulq_f64(terms[half], distances[half]));
            }
        }
    }
    let mut partial = Partial { sums: [0.0; N_SUMS], weighted: [0.0; N_SUMS] };
    let (sum_parts, _) = partial.sums.as_chunks_mut::<2>();
    for (part, &sum) in sum_parts.iter_mut().zip(sums.as_flattened()) {
        *part = store_f64(sum);
    }
    let (weighted_parts, _) = partial.weighted.as_chunks_mut::<2>();
    for (part, &sum) in weighted_parts.iter_mut().zip(weighted.as_flattened()) {
        *part = store_f64(sum);
    }
    partial
}
