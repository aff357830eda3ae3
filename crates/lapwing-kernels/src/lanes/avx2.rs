use std::arch::x86_64::{__m256, __m256d, _mm256_loadu_ps, _mm256_storeu_pd, _mm256_storeu_ps};

#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load(chunk: &[f32; 8]) -> __m256 {
    // SAFETY: `chunk` is eight readable f32; `loadu` needs no alignment.
    unsafe { _mm256_loadu_ps(chunk.as_ptr()) }
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
