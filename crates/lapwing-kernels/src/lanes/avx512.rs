use std::arch::x86_64::{__m512, __m512d, _mm512_loadu_ps, _mm512_storeu_pd};

#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load(chunk: &[f32; 16]) -> __m512 {
    // SAFETY: `chunk` is sixteen readable f32; `loadu` needs no alignment.
    unsafe { _mm512_loadu_ps(chunk.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store_f64(lanes: __m512d) -> [f64; 8] {
    let mut out = [0.0; 8];
    // SAFETY: `out` is eight writable f64; `storeu` needs no alignment.
    unsafe { _mm512_storeu_pd(out.as_mut_ptr(), lanes) };
    out
}
