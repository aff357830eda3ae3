use std::arch::aarch64::{
    float32x4_t, uint32x4_t, vaddq_f64, vandq_u32, vbicq_u32, vceqq_f32, vcgtq_f32, vdupq_n_f32,
    vdupq_n_f64, vdupq_n_u32, vmaxvq_u32, vmulq_f64, vorrq_u32, vreinterpretq_f32_u32,
    vreinterpretq_u32_f32, vsubq_f32, vsubq_f64,
};

use super::{N_SUMS, Partial};
use crate::exp::neon::exp_nonpositive;
use crate::lanes::neon::{load, store_f64, widen};

#[target_feature(enable = "neon")]
pub(super) fn kl_divergence(p: &[[f32; N_SUMS]], q: &[[f32; N_SUMS]], max: f32) -> Partial {
    let max = vdupq_n_f32(max);
    let minus_infinity = vdupq_n_f32(f32::NEG_INFINITY);
    let mut weights = [[vdupq_n_f64(0.0); 2]; 4];
    let mut weighted = [[vdupq_n_f64(0.0); 2]; 4];
    let mut excluded = vdupq_n_u32(0);
    for (p, q) in p.iter().zip(q) {
        let (p_quarters, _) = p.as_chunks::<4>();
        let (q_quarters, _) = q.as_chunks::<4>();
        for (quarter_idx, (p, q)) in p_quarters.iter().zip(q_quarters).enumerate() {
            let (p, q) = (load(p), load(q));
            // Bit clear: what `q` excludes without what `p` excludes as well.
            let both = vceqq_f32(p, minus_infinity);
            excluded = vorrq_u32(excluded, vbicq_u32(vceqq_f32(q, minus_infinity), both));
            let weight = exp_nonpositive(vsubq_f32(p, max));
            // A weight of zero may come with an infinite difference.
            let has_weight = vcgtq_f32(weight, vdupq_n_f32(0.0));
            let w = widen(weight);
            let p = widen(keep(has_weight, p));
            let q = widen(keep(has_weight, q));
            for half in 0..2 {
                let sum = &mut weights[quarter_idx][half];
                *sum = vaddq_f64(*sum, w[half]);
                let sum = &mut weighted[quarter_idx][half];
                *sum = vaddq_f64(*sum, vmulq_f64(w[half], vsubq_f64(p[half], q[half])));
            }
        }
    }
    let is_excluded = vmaxvq_u32(excluded) != 0;
    let mut partial = Partial { weights: [0.0; N_SUMS], weighted: [0.0; N_SUMS], is_excluded };
    let (weight_parts, _) = partial.weights.as_chunks_mut::<2>();
    for (part, &sum) in weight_parts.iter_mut().zip(weights.as_flattened()) {
        *part = store_f64(sum);
    }
    let (weighted_parts, _) = partial.weighted.as_chunks_mut::<2>();
    for (part, &sum) in weighted_parts.iter_mut().zip(weighted.as_flattened()) {
        *part = store_f64(sum);
    }
    partial
}

/// Zero in the lanes that are not in the mask.
#[inline]
#[target_feature(enable = "neon")]
fn keep(mask: uint32x4_t, lanes: float32x4_t) -> float32x4_t {
    vreinterpretq_f32_u32(vandq_u32(mask, vreinterpretq_u32_f32(lanes)))
}
