use std::arch::x86_64::{
    _mm256_add_pd, _mm256_castps256_ps128, _mm256_cvtps_pd, _mm256_extractf128_ps, _mm256_mul_ps,
    _mm256_set1_ps, _mm256_setzero_pd, _mm256_sub_ps,
};

use super::N_SUMS;
use crate::exp::avx2::exp_nonpositive;
use crate::lanes::avx2::{load, store_f64};

#[target_feature(enable = "avx2,fma")]
pub(super) fn sum_exp(chunks: &[[f32; N_SUMS]], max: f32, scale: f32) -> [f64; N_SUMS] {
    let max = _mm256_set1_ps(max);
    let scale = _mm256_set1_ps(scale);
    let mut sums = [_mm256_setzero_pd(); 4];
    for chunk in chunks {
        let (halves, _) = chunk.as_chunks::<8>();
        let (pairs, _) = sums.as_chunks_mut::<2>();
        for (pair, half) in pairs.iter_mut().zip(halves) {
            let x = _mm256_mul_ps(_mm256_sub_ps(load(half), max), scale);
            let terms = exp_nonpositive(x);
            let low = _mm256_castps256_ps128(terms);
            let high = _mm256_extractf128_ps::<1>(terms);
            pair[0] = _mm256_add_pd(pair[0], _mm256_cvtps_pd(low));
            pair[1] = _mm256_add_pd(pair[1], _mm256_cvtps_pd(high));
        }
    }
    let mut out = [0.0; N_SUMS];
    let (quarters, _) = out.as_chunks_mut::<4>();
    for (quarter, sum) in quarters.iter_mut().zip(sums) {
        *quarter = store_f64(sum);
    }
    out
}
