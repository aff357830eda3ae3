use std::arch::aarch64::{float32x4_t, float64x2_t, vld1q_f32, vst1q_f64};

#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn load(chunk: &[f32; 4]) -> float32x4_t {
    // SAFETY: `chunk` is four readable f32.
    unsafe { vld1q_f32(chunk.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
pub(crate) fn store_f64(lanes: float64x2_t) -> [f64; 2] {
    let mut out = [0.0; 2];
    // SAFETY: `out` is two writable f64.
    unsafe { vst1q_f64(out.as_mut_ptr(), lanes) };
    out
}
