use std::arch::x86_64::{
    _CMP_EQ_OQ, _CMP_GT_OQ, _CMP_NEQ_OQ, _mm256_add_pd, _mm256_and_ps, _mm256_cmp_ps,
    _mm256_movemask_ps, _mm256_mul_pd, _mm256_or_ps, _mm256_set1_ps, _mm256_setzero_pd,
    _mm256_setzero_ps, _mm256_sub_pd, _mm256_sub_ps,
};

use super::{N_SUMS, Partial};
use crate::exp::avx2::exp_nonpositive;
use crate::lanes::avx2::{load, store_f64, widen};

#[target_feature(enable = "avx2,fma")]
pub(super) fn kl_divergence(p: &[[f32; N_SUMS]], q: &[[f32; N_SUMS]], max: f32) -> Partial {
    let max = _mm256_set1_ps(max);
    let minus_infinity = _mm256_set1_ps(f32::NEG_INFINITY);
    let mut weights = [[_mm256_setzero_pd(); 2]; 2];
    let mut weighted = [[_mm256_setzero_pd(); 2]; 2];
    let mut excluded = _mm256_setzero_ps();
    for (p, q) in p.iter().zip(q) {
        let (p_halves, _) = p.as_chunks::<8>();
        let (q_halves, _) = q.as_chunks::<8>();
        for (half_idx, (p, q)) in p_halves.iter().zip(q_halves).enumerate() {
            let (p, q) = (load(p), load(q));
            let excludes = _mm256_cmp_ps::<_CMP_EQ_OQ>(q, minus_infinity);
            let allows = _mm256_cmp_ps::<_CMP_NEQ_OQ>(p, minus_infinity);
            excluded = _mm256_or_ps(excluded, _mm256_and_ps(excludes, allows));
            let weight = exp_nonpositive(_mm256_sub_ps(p, max));
            // A weight of zero may come with an infinite difference.
            let has_weight = _mm256_cmp_ps::<_CMP_GT_OQ>(weight, _mm256_setzero_ps());
            let w = widen(weight);
            let p = widen(_mm256_and_ps(has_weight, p));
            let q = widen(_mm256_and_ps(has_weight, q));
            for quarter in 0..2 {
                let sum = &mut weights[half_idx][quarter];
                *sum = _mm256_add_pd(*sum, w[quarter]);
                let product = _mm256_mul_pd(w[quarter], _mm256_sub_pd(p[quarter], q[quarter]));
                let sum = &mut weighted[half_idx][quarter];
                *sum = _mm256_add_pd(*sum, product);
            }
        }
    }
    let is_excluded = _mm256_movemask_ps(excluded) != 0;
    let mut partial = Partial { weights: [0.0; N_SUMS], weighted: [0.0; N_SUMS], is_excluded };
    let (weight_parts, _) = partial.weights.as_chunks_mut::<4>();
    for (part, &sum) in weight_parts.iter_mut().zip(weights.as_flattened()) {
        *part = store_f64(sum);
    }
    let (weighted_parts, _) = partial.weighted.as_chunks_mut::<4>();
    for (part, &sum) in weighted_parts.iter_mut().zip(weighted.as_flattened()) {
        *part = store_f64(sum);
    }
    partial
}
