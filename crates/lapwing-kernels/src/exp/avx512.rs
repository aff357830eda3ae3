use std::arch::x86_64::{
    __m512, _CMP_GE_OQ, _mm512_add_epi32, _mm512_add_ps, _mm512_castps_si512, _mm512_castsi512_ps,
    _mm512_cmp_ps_mask, _mm512_maskz_mul_ps, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_slli_epi32, _mm512_sub_ps,
};

use super::{EXPONENT_BIAS, LN_2_HIGH, LN_2_LOW, LOG2_E, ROUND, TAYLOR, X_MIN};

/// Step by step [`super::exp_nonpositive`].
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn exp_nonpositive(x: __m512) -> __m512 {
    let round = _mm512_set1_ps(ROUND);
    let shifted = _mm512_add_ps(_mm512_mul_ps(x, _mm512_set1_ps(LOG2_E)), round);
    let n = _mm512_sub_ps(shifted, round);
    let r = _mm512_sub_ps(x, _mm512_mul_ps(n, _mm512_set1_ps(LN_2_HIGH)));
    let r = _mm512_sub_ps(r, _mm512_mul_ps(n, _mm512_set1_ps(LN_2_LOW)));
    let mut sum = _mm512_set1_ps(TAYLOR[0]);
    for coefficient in &TAYLOR[1..] {
        sum = _mm512_add_ps(_mm512_mul_ps(sum, r), _mm512_set1_ps(*coefficient));
    }
    let sum = _mm512_add_ps(_mm512_mul_ps(sum, _mm512_mul_ps(r, r)), r);
    let sum = _mm512_add_ps(sum, _mm512_set1_ps(1.0));
    let exponent = _mm512_add_epi32(_mm512_castps_si512(shifted), _mm512_set1_epi32(EXPONENT_BIAS));
    let power = _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent));
    let keep = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(x, _mm512_set1_ps(X_MIN));
    _mm512_maskz_mul_ps(keep, sum, power)
}
