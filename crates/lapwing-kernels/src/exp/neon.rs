use std::arch::aarch64::{
    float32x4_t, vaddq_f32, vaddq_s32, vandq_u32, vcgeq_f32, vdupq_n_f32, vdupq_n_s32, vmulq_f32,
    vreinterpretq_f32_s32, vreinterpretq_f32_u32, vreinterpretq_s32_f32, vreinterpretq_u32_f32,
    vshlq_n_s32, vsubq_f32,
};

use super::{EXPONENT_BIAS, LN_2_HIGH, LN_2_LOW, LOG2_E, ROUND, TAYLOR, X_MIN};

/// Step by step [`super::exp_nonpositive`].
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn exp_nonpositive(x: float32x4_t) -> float32x4_t {
    let round = vdupq_n_f32(ROUND);
    let shifted = vaddq_f32(vmulq_f32(x, vdupq_n_f32(LOG2_E)), round);
    let n = vsubq_f32(shifted, round);
    let r = vsubq_f32(x, vmulq_f32(n, vdupq_n_f32(LN_2_HIGH)));
    let r = vsubq_f32(r, vmulq_f32(n, vdupq_n_f32(LN_2_LOW)));
    let mut sum = vdupq_n_f32(TAYLOR[0]);
    for coefficient in &TAYLOR[1..] {
        sum = vaddq_f32(vmulq_f32(sum, r), vdupq_n_f32(*coefficient));
    }
    let sum = vaddq_f32(vmulq_f32(sum, vmulq_f32(r, r)), r);
    let sum = vaddq_f32(sum, vdupq_n_f32(1.0));
    let exponent = vaddq_s32(vreinterpretq_s32_f32(shifted), vdupq_n_s32(EXPONENT_BIAS));
    let power = vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent));
    let keep = vcgeq_f32(x, vdupq_n_f32(X_MIN));
    vreinterpretq_f32_u32(vandq_u32(keep, vreinterpretq_u32_f32(vmulq_f32(sum, power))))
}
