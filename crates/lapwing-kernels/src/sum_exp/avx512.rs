use std::arch::x86_64::{
    _mm256_castpd_ps, _mm512_add_pd, _mm512_castps_pd, _mm512_castps512_ps256, _mm512_cvtps_pd,
    _mm512_extractf64x4_pd, _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_pd, _mm512_sub_ps,
};

use super::N_SUMS;
use crate::exp::avx512::exp_nonpositive;
use crate::lanes::avx512::{load, store_f64};

#[target_feature(enable = "avx512f")]
pub(super) fn sum_exp(chunks: &[[f32; N_SUMS]], max: f32, scale: f32) -> [f64; N_SUMS] {
    let max = _mm512_set1_ps(max);
    let scale = _mm512_set1_ps(scale);
    let mut sums = [_mm512_setzero_pd(); 2];
    for chunk in chunks {
        let x = _mm512_mul_ps(_mm512_sub_ps(load(chunk), max), scale);
        let terms = exp_nonpositive(x);
        let low = _mm512_castps512_ps256(terms);
        let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(terms)));
        sums[0] = _mm512_add_pd(sums[0], _mm512_cvtps_pd(low));
        sums[1] = _mm512_add_pd(sums[1], _mm512_cvtps_pd(high));
    }
    let mut out = [0.0; N_SUMS];
    let (halves, _) = out.as_chunks_mut::<8>();
    for (half, sum) in halves.iter_mut().zip(sums) {
        *half = store_f64(sum);
    }
    out
}
