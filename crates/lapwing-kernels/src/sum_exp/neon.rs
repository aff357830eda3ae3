use std::arch::aarch64::{
    vaddq_f64, vcvt_f64_f32, vcvt_high_f64_f32, vdupq_n_f32, vdupq_n_f64, vget_low_f32, vmulq_f32,
    vsubq_f32,
};

use super::N_SUMS;
use crate::exp::neon::exp_nonpositive;
use crate::lanes::neon::{load, store_f64};

#[target_feature(enable = "neon")]
pub(super) fn sum_exp(chunks: &[[f32; N_SUMS]], max: f32, scale: f32) -> [f64; N_SUMS] {
    let max = vdupq_n_f32(max);
    let scale = vdupq_n_f32(scale);
    let mut sums = [vdupq_n_f64(0.0); 8];
    for chunk in chunks {
        let (quarters, _) = chunk.as_chunks::<4>();
        let (pairs, _) = sums.as_chunks_mut::<2>();
        for (pair, quarter) in pairs.iter_mut().zip(quarters) {
            let x = vmulq_f32(vsubq_f32(load(quarter), max), scale);
            let terms = exp_nonpositive(x);
            pair[0] = vaddq_f64(pair[0], vcvt_f64_f32(vget_low_f32(terms)));
            pair[1] = vaddq_f64(pair[1], vcvt_high_f64_f32(terms));
        }
    }
    let mut out = [0.0; N_SUMS];
    let (pairs, _) = out.as_chunks_mut::<2>();
    for (pair, sum) in pairs.iter_mut().zip(sums) {
        *pair = store_f64(sum);
    }
    out
}
