use std::arch::aarch64::{
    float64x2_t, uint64x2_t, vaddq_f64, vaddvq_u64, vandq_u64, vcaltq_f64, vdupq_n_f64, vmulq_f64,
    vreinterpretq_f64_u64, vreinterpretq_u64_f64, vshrq_n_u64, vsubq_f64,
};

use super::{N_BLOCKS_PER_LOOK, N_SUMS, Partial};
use crate::lanes::neon::{load_wide, store_f64};

#[target_feature(enable = "neon")]
pub(super) fn finite_sum(blocks: &[[f32; N_SUMS]]) -> Partial {
    sum_terms(blocks, |x| x)
}

#[target_feature(enable = "neon")]
pub(super) fn finite_squares(blocks: &[[f32; N_SUMS]], mean: f32) -> Partial {
    let mean = vdupq_n_f64(f64::from(mean));
    sum_terms(blocks, |x| {
        let difference = vsubq_f64(x, mean);
        vmulq_f64(difference, difference)
    })
}

#[inline]
#[target_feature(enable = "neon")]
fn sum_terms(blocks: &[[f32; N_SUMS]], term: impl Fn(float64x2_t) -> float64x2_t) -> Partial {
    let mut sums = [vdupq_n_f64(0.0); N_SUMS / 2];
    let mut n_finite = 0;
    for group in blocks.chunks(N_BLOCKS_PER_LOOK) {
        // Without a look at each entry; what is not finite shows in the sums.
        let mut plain = sums;
        for block in group {
            let (parts, _) = block.as_chunks::<2>();
            for (sum, part) in plain.iter_mut().zip(parts) {
                *sum = vaddq_f64(*sum, term(load_wide(part)));
            }
        }
        let all = plain.into_iter().fold(vdupq_n_f64(0.0), |all, sum| vaddq_f64(all, sum));
        if n_lanes(is_finite(all)) == 2 {
            sums = plain;
            n_finite += group.len() * N_SUMS;
            continue;
        }
        for block in group {
            let (parts, _) = block.as_chunks::<2>();
            for (sum, part) in sums.iter_mut().zip(parts) {
                let x = load_wide(part);
                let finite = is_finite(x);
                n_finite += n_lanes(finite);
                // Adding zero does not change a sum that started at zero.
                let kept = vandq_u64(finite, vreinterpretq_u64_f64(term(x)));
                *sum = vaddq_f64(*sum, vreinterpretq_f64_u64(kept));
            }
        }
    }
    let mut partial = Partial { sums: [0.0; N_SUMS], n_finite };
    let (parts, _) = partial.sums.as_chunks_mut::<2>();
    for (part, sum) in parts.iter_mut().zip(sums) {
        *part = store_f64(sum);
    }
    partial
}

#[inline]
#[target_feature(enable = "neon")]
fn is_finite(x: float64x2_t) -> uint64x2_t {
    vcaltq_f64(x, vdupq_n_f64(f64::INFINITY))
}

/// How many lanes of a mask are set.
#[inline]
#[target_feature(enable = "neon")]
fn n_lanes(mask: uint64x2_t) -> usize {
    vaddvq_u64(vshrq_n_u64::<63>(mask)) as usize
}
