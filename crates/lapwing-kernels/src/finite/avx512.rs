use std::arch::x86_64::{
    __m512, __mmask16, _CMP_LT_OQ, _mm512_abs_ps, _mm512_cmp_ps_mask, _mm512_set1_ps,
};

/// The lanes that are finite.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn is_finite(x: __m512) -> __mmask16 {
    _mm512_cmp_ps_mask::<_CMP_LT_OQ>(_mm512_abs_ps(x), _mm512_set1_ps(f32::INFINITY))
}
