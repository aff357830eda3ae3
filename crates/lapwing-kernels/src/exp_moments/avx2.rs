use std::arch::x86_64::{
    _CMP_GT_OQ, _mm256_add_pd, _mm256_and_ps, _mm256_cmp_ps, _mm256_mul_pd, _mm256_mul_ps,
    _mm256_set1_ps, _mm256_setzero_pd, _mm256_setzero_ps, _mm256_sub_ps,
};

use super::{N_SUMS, Partial};
use crate::exp::avx2::exp_nonpositive;
use crate::lanes::avx2::{load, store_f64, widen};

#[target_feature(enable = "avx2,fma")]
pub(super) fn exp_moments(chunks: &[[f32; N_SUMS]], max: f32, scale: f32) -> Partial {
    let max = _mm256_set1_ps(max);
    let scale = _mm256_set1_ps(scale);
    let mut sums = [[_mm256_setzero_pd(); 2]; 2];
    let mut weighted = [[_mm256_setzero_pd(); 2]; 2];
    for chunk in chunks {
        let (halves, _) = chunk.as_chunks::<8>();
        for (half_idx, half) in halves.iter().enumerate() {
            let distance = _mm256_sub_ps(load(half), max);
            let term = exp_nonpositive(_mm256_mul_ps(distance, scale));
            // A term of zero may come with an infinite distance, or NaN.
            let has_weight = _mm256_cmp_ps::<_CMP_GT_OQ>(term, _mm256_setzero_ps());
            let terms = widen(term);
            let distances = widen(_mm256_and_ps(has_weight, distance));
            for quarter in 0..2 {
                let sum = &mut sums[half_idx][quarter];
                *sum = _mm256_add_pd(*sum, terms[quarter]);
                let sum = &mut weighted[half_idx][quarter];
                *sum = _mm256_add_pd(*sum, _mm256_mul_pd(terms[quarter], distances[quarter]));
            }
        }
    }
    let mut partial = Partial { sums: [0.0; N_SUMS], weighted: [0.0; N_SUMS] };
    let (sum_parts, _) = partial.sums.as_chunks_mut::<4>();
    for (part, &sum) in sum_parts.iter_mut().zip(sums.as_flattened()) {
        *part = store_f64(sum);
    }
    let (weighted_parts, _) = partial.weighted.as_chunks_mut::<4>();
    for (part, &sum) in weighted_parts.iter_mut().zip(weighted.as_flattened()) {
        *part = store_f64(sum);
    }
    partial
}
