use std::arch::x86_64::{
    __m512, __m512d, _mm256_castpd_ps, _mm256_loadu_ps, _mm512_castps_pd, _mm512_castps512_ps256,
    _mm512_cvtps_pd, _mm512_extractf64x4_pd, _mm512_loadu_ps, _mm512_storeu_pd, _mm512_storeu_ps,
};

#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load(chunk: &[f32; 16]) -> __m512 {
    // SAFETY: `chunk` is sixteen readable f32; `loadu` needs no alignment.
    unsafe { _mm512_loadu_ps(chunk.as_ptr()) }
}

/// The eight as `f64`: cheaper than the halves of a whole vector.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_wide(chunk: &[f32; 8]) -> __m512d {
    // SAFETY: `chunk` is eight readable f32; `loadu` needs no alignment.
    let lanes = unsafe { _mm256_loadu_ps(chunk.as_ptr()) };
    _mm512_cvtps_pd(lanes)
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store(lanes: __m512) -> [f32; 16] {
    let mut out = [0.0; 16];
    // SAFETY: `out` is sixteen writable f32; `storeu` needs no alignment.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), lanes) };
    out
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store_f64(lanes: __m512d) -> [f64; 8] {
    let mut out = [0.0; 8];
    // SAFETY: `out` is eight writable f64; `storeu` needs no alignment.
    unsafe { _mm512_storeu_pd(out.as_mut_ptr(), lanes) };
    out
}

/// The low and the high half as `f64`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn widen(lanes: __m512) -> [__m512d; 2] {
    let low = _mm512_castps512_ps256(lanes);
    let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(lanes)));
    [_mm512_cvtps_pd(low), _mm512_cvtps_pd(high)]
}
