use std::arch::x86_64::{
    __m256, _CMP_GE_OQ, _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps, _mm256_castps_si256,
    _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_mul_ps, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_slli_epi32, _mm256_sub_ps,
};

use super::{EXPONENT_BIAS, LN_2_HIGH, LN_2_LOW, LOG2_E, ROUND, TAYLOR, X_MIN};

/// Step by step [`super::exp_nonpositive`].
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn exp_nonpositive(x: __m256) -> __m256 {
    let round = _mm256_set1_ps(ROUND);
    let shifted = _mm256_add_ps(_mm256_mul_ps(x, _mm256_set1_ps(LOG2_E)), round);
    let n = _mm256_sub_ps(shifted, round);
    let r = _mm256_sub_ps(x, _mm256_mul_ps(n, _mm256_set1_ps(LN_2_HIGH)));
    let r = _mm256_sub_ps(r, _mm256_mul_ps(n, _mm256_set1_ps(LN_2_LOW)));
    let mut sum = _mm256_set1_ps(TAYLOR[0]);
    for coefficient in &TAYLOR[1..] {
        sum = _mm256_add_ps(_mm256_mul_ps(sum, r), _mm256_set1_ps(*coefficient));
    }
    let sum = _mm256_add_ps(_mm256_mul_ps(sum, _mm256_mul_ps(r, r)), r);
    let sum = _mm256_add_ps(sum, _mm256_set1_ps(1.0));
    let exponent = _mm256_add_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(EXPONENT_BIAS));
    let power = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent));
    let keep = _mm256_cmp_ps::<_CMP_GE_OQ>(x, _mm256_set1_ps(X_MIN));
    _mm256_and_ps(keep, _mm256_mul_ps(sum, power))
}
