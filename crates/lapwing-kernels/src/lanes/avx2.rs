use std::arch::x86_64::{
    __m256, __m256d, _mm_loadu_ps, _mm256_castps256_ps128, _mm256_cvtps_pd, _mm256_extractf128_ps,
    _mm256_loadu_ps, _mm256_storeu_pd, _mm256_storeu_ps,
};

#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load(chunk: &[f32; 8]) -> __m256 {
    // SAFETY: `chunk` is eight readable f32; `loadu` needs no alignment.
    unsafe { _mm256_loadu_ps(chunk.as_ptr()) }
}

/// The four as `f64`: cheaper than the halves of a whole vector.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_wide(chunk: &[f32; 4]) -> __m256d {
    // SAFETY: `chunk` is four readable f32; `loadu` needs no alignment.
    let lanes = unsafe { _mm_loadu_ps(chunk.as_ptr()) };
    _mm256_cvtps_pd(lanes)
}

#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn store(lanes: __m256) -> [f32; 8] {
    let mut out = [0.0; 8];
    // SAFETY: `out` is eight writable f32; `storeu` needs no alignment.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), lanes) };
    out
}

#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn store_f64(lanes: __m256d) -> [f64; 4] {
    let mut out = [0.0; 4];
    // SAFETY: `out` is four writable f64; `storeu` needs no alignment.
    unsafe { _mm256_storeu_pd(out.as_mut_ptr(), lanes) };
    out
}

/// The low and the high half as `f64`.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn widen(lanes: __m256) -> [__m256d; 2] {
    let low = _mm256_castps256_ps128(lanes);
    let high = _mm256_extractf128_ps::<1>(lanes);
    [_mm256_cvtps_pd(low), _mm256_cvtps_pd(high)]
}
