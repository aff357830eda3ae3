use std::arch::x86_64::{__m256, _CMP_LT_OQ, _mm256_andnot_ps, _mm256_cmp_ps, _mm256_set1_ps};

/// All ones in the lanes that are finite.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn is_finite(x: __m256) -> __m256 {
    let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), x);
    _mm256_cmp_ps::<_CMP_LT_OQ>(magnitude, _mm256_set1_ps(f32::INFINITY))
}
