use std::arch::x86_64::{
    _CMP_GT_OQ, _mm512_add_pd, _mm512_cmp_ps_mask, _mm512_maskz_mov_ps, _mm512_mul_pd,
    _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_pd, _mm512_setzero_ps, _mm512_sub_ps,
};

use super::{N_SUMS, Partial};
use crate::exp::avx512::exp_nonpositive;
use crate::lanes::avx512::{load, store_f64, widen};

#[target_feature(enable = "avx512f")]
pub(super) fn exp_moments(chunks: &[[f32; N_SUMS]], max: f32, scale: f32) -> Partial {
    let max = _mm512_set1_ps(max);
    let scale = _mm512_set1_ps(scale);
    let mut sums = [_mm512_setzero_pd(); 2];
    let mut weighted = [_mm512_setzero_pd(); 2];
    for chunk in chunks {
        let distance = _mm512_sub_ps(load(chunk), max);
        let term = exp_nonpositive(_mm512_mul_ps(distance, scale));
        // A term of zero may come with an infinite distance, or NaN.
        let has_weight = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(term, _mm512_setzero_ps());
        let terms = widen(term);
        let distances = widen(_mm512_maskz_mov_ps(has_weight, distance));
        for half in 0..2 {
            sums[half] = _mm512_add_pd(sums[half], terms[half]);
            let product = _mm512_mul_pd(terms[half], distances[half]);
            weighted[half] = _mm512_add_pd(weighted[half], product);
        }
    }
    let mut partial = Partial { sums: [0.0; N_SUMS], weighted: [0.0; N_SUMS] };
    let (sum_parts, _) = partial.sums.as_chunks_mut::<8>();
    let (weighted_parts, _) = partial.weighted.as_chunks_mut::<8>();
    for half in 0..2 {
        sum_parts[half] = store_f64(sums[half]);
        weighted_parts[half] = store_f64(weighted[half]);
    }
    partial
}
