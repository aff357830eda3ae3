use std::arch::x86_64::{_mm512_mask_add_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_sub_ps};

use super::scalar;
use crate::finite::avx512::is_finite;
use crate::lanes::avx512::{load, store};

#[target_feature(enable = "avx512f")]
pub(super) fn add_offset(row: &mut [f32], offset: &[f32]) {
    let (row_chunks, row_tail) = row.as_chunks_mut::<16>();
    let (offset_chunks, offset_tail) = offset.as_chunks::<16>();
    for (chunk, offset) in row_chunks.iter_mut().zip(offset_chunks) {
        let x = load(chunk);
        *chunk = store(_mm512_mask_add_ps(x, is_finite(x), x, load(offset)));
    }
    scalar::add_offset(row_tail, offset_tail);
}

#[target_feature(enable = "avx512f")]
pub(super) fn affine_in_place(row: &mut [f32], from_mean: f32, scale: f32, to_mean: f32) {
    let (chunks, tail) = row.as_chunks_mut::<16>();
    let (from, factor) = (_mm512_set1_ps(from_mean), _mm512_set1_ps(scale));
    let to = _mm512_set1_ps(to_mean);
    for chunk in chunks {
        let x = load(chunk);
        let scaled = _mm512_mul_ps(_mm512_sub_ps(x, from), factor);
        *chunk = store(_mm512_mask_add_ps(x, is_finite(x), scaled, to));
    }
    scalar::affine_in_place(tail, from_mean, scale, to_mean);
}
