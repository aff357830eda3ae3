use std::arch::aarch64::{
    float32x4_t, float64x2_t, vcvt_f64_f32, vcvt_high_f64_f32, vget_low_f32, vld1_f32, vld1q_f32,
    vst1q_f32, vst1q_f64,
};

#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn load(chunk: &[f32; 4]) -> float32x4_t {
    // SAFETY: `chunk` is four readable f32.
    unsafe { vld1q_f32(chunk.as_ptr()) }
}

/// The two as `f64`.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn load_wide(chunk: &[f32; 2]) -> float64x2_t {
    // SAFETY: `chunk` is two readable f32.
    let lanes = unsafe { vld1_f32(chunk.as_ptr()) };
    vcvt_f64_f32(lanes)
}

#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn store(lanes: float32x4_t) -> [f32; 4] {
    let mut out = [0.0; 4];
    // SAFETY: `out` is four writable f32.
    unsafe { vst1q_f32(out.as_mut_ptr(), lanes) };
    out
}

#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn store_f64(lanes: float64x2_t) -> [f64; 2] {
    let mut out = [0.0; 2];
    // SAFETY: `out` is two writable f64.
    unsafe { vst1q_f64(out.as_mut_ptr(), lanes) };
    out
}

/// The low and the high half as `f64`.
#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn widen(lanes: float32x4_t) -> [float64x2_t; 2] {
    [vcvt_f64_f32(vget_low_f32(lanes)), vcvt_high_f64_f32(lanes)]
}
