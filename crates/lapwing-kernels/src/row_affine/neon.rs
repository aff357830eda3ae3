use std::arch::aarch64::{vaddq_f32, vbslq_f32, vdupq_n_f32, vmulq_f32, vsubq_f32};

use super::scalar;
use crate::finite::neon::is_finite;
use crate::lanes::neon::{load, store};

#[target_feature(enable = "neon")]
pub(super) fn add_offset(row: &mut [f32], offset: &[f32]) {
    let (row_chunks, row_tail) = row.as_chunks_mut::<4>();
    let (offset_chunks, offset_tail) = offset.as_chunks::<4>();
    for (chunk, offset) in row_chunks.iter_mut().zip(offset_chunks) {
        let x = load(chunk);
        *chunk = store(vbslq_f32(is_finite(x), vaddq_f32(x, load(offset)), x));
    }
    scalar::add_offset(row_tail, offset_tail);
}

#[target_feature(enable = "neon")]
pub(super) fn affine_in_place(row: &mut [f32], from_mean: f32, scale: f32, to_mean: f32) {
    let (chunks, tail) = row.as_chunks_mut::<4>();
    let (from, factor) = (vdupq_n_f32(from_mean), vdupq_n_f32(scale));
    let to = vdupq_n_f32(to_mean);
    for chunk in chunks {
        let x = load(chunk);
        let scaled = vmulq_f32(vsubq_f32(x, from), factor);
        *chunk = store(vbslq_f32(is_finite(x), vaddq_f32(scaled, to), x));
    }
    scalar::affine_in_place(tail, from_mean, scale, to_mean);
}
