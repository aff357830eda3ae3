use std::arch::aarch64::{float32x4_t, uint32x4_t, vcaltq_f32, vdupq_n_f32};

/// All ones in the lanes that are finite.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn is_finite(x: float32x4_t) -> uint32x4_t {
    vcaltq_f32(x, vdupq_n_f32(f32::INFINITY))
}
