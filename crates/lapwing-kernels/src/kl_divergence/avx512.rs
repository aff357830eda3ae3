use std::arch::x86_64::{
    _CMP_EQ_OQ, _CMP_GT_OQ, _CMP_NEQ_OQ, _mm512_add_pd, _mm512_cmp_ps_mask, _mm512_maskz_mov_ps,
    _mm512_mul_pd, _mm512_set1_ps, _mm512_setzero_pd, _mm512_setzero_ps, _mm512_sub_pd,
    _mm512_sub_ps,
};

use super::{N_SUMS, Partial};
use crate::exp::avx512::exp_nonpositive;
use crate::lanes::avx512::{load, store_f64, widen};

#[target_feature(enable = "avx512f")]
pub(super) fn kl_divergence(p: &[[f32; N_SUMS]], q: &[[f32; N_SUMS]], max: f32) -> Partial {
    let max = _mm512_set1_ps(max);
    let minus_infinity = _mm512_set1_ps(f32::NEG_INFINITY);
    let mut weights = [_mm512_setzero_pd(); 2];
    let mut weighted = [_mm512_setzero_pd(); 2];
    let mut excluded = 0;
    for (p, q) in p.iter().zip(q) {
        let (p, q) = (load(p), load(q));
        excluded |= _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(q, minus_infinity)
            & _mm512_cmp_ps_mask::<_CMP_NEQ_OQ>(p, minus_infinity);
        let weight = exp_nonpositive(_mm512_sub_ps(p, max));
        // A weight of zero may come with an infinite difference.
        let has_weight = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(weight, _mm512_setzero_ps());
        let w = widen(weight);
        let p = widen(_mm512_maskz_mov_ps(has_weight, p));
        let q = widen(_mm512_maskz_mov_ps(has_weight, q));
        for half in 0..2 {
            weights[half] = _mm512_add_pd(weights[half], w[half]);
            let product = _mm512_mul_pd(w[half], _mm512_sub_pd(p[half], q[half]));
            weighted[half] = _mm512_add_pd(weighted[half], product);
        }
    }
    let mut partial =
        Partial { weights: [0.0; N_SUMS], weighted: [0.0; N_SUMS], is_excluded: excluded != 0 };
    let (weight_parts, _) = partial.weights.as_chunks_mut::<8>();
    let (weighted_parts, _) = partial.weighted.as_chunks_mut::<8>();
    for half in 0..2 {
        weight_parts[half] = store_f64(weights[half]);
        weighted_parts[half] = store_f64(weighted[half]);
    }
    partial
}
