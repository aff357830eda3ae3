use std::arch::x86_64::{
    __m256d, _CMP_LT_OQ, _mm256_add_pd, _mm256_and_pd, _mm256_andnot_pd, _mm256_cmp_pd,
    _mm256_movemask_pd, _mm256_mul_pd, _mm256_set1_pd, _mm256_setzero_pd, _mm256_sub_pd,
};

use super::{N_BLOCKS_PER_LOOK, N_SUMS, Partial};
use crate::lanes::avx2::{load_wide, store_f64};

#[target_feature(enable = "avx2,fma")]
pub(super) fn finite_sum(blocks: &[[f32; N_SUMS]]) -> Partial {
    sum_terms(blocks, |x| x)
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn finite_squares(blocks: &[[f32; N_SUMS]], mean: f32) -> Partial {
    let mean = _mm256_set1_pd(f64::from(mean));
    sum_terms(blocks, |x| {
        let difference = _mm256_sub_pd(x, mean);
        _mm256_mul_pd(difference, difference)
    })
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn sum_terms(blocks: &[[f32; N_SUMS]], term: impl Fn(__m256d) -> __m256d) -> Partial {
    let mut sums = [_mm256_setzero_pd(); N_SUMS / 4];
    let mut n_finite = 0;
    for group in blocks.chunks(N_BLOCKS_PER_LOOK) {
        // Without a look at each entry; what is not finite shows in the sums.
        let mut plain = sums;
        for block in group {
            let (parts, _) = block.as_chunks::<4>();
            for (sum, part) in plain.iter_mut().zip(parts) {
                *sum = _mm256_add_pd(*sum, term(load_wide(part)));
            }
        }
        let all = plain.into_iter().fold(_mm256_setzero_pd(), |all, sum| _mm256_add_pd(all, sum));
        if _mm256_movemask_pd(is_finite(all)) == 0b1111 {
            sums = plain;
            n_finite += group.len() * N_SUMS;
            continue;
        }
        for block in group {
            let (parts, _) = block.as_chunks::<4>();
            for (sum, part) in sums.iter_mut().zip(parts) {
                let x = load_wide(part);
                let finite = is_finite(x);
                n_finite += _mm256_movemask_pd(finite).count_ones() as usize;
                // Adding zero does not change a sum that started at zero.
                *sum = _mm256_add_pd(*sum, _mm256_and_pd(finite, term(x)));
            }
        }
    }
    let mut partial = Partial { sums: [0.0; N_SUMS], n_finite };
    let (parts, _) = partial.sums.as_chunks_mut::<4>();
    for (part, sum) in parts.iter_mut().zip(sums) {
        *part = store_f64(sum);
    }
    partial
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn is_finite(x: __m256d) -> __m256d {
    let magnitude = _mm256_andnot_pd(_mm256_set1_pd(-0.0), x);
    _mm256_cmp_pd::<_CMP_LT_OQ>(magnitude, _mm256_set1_pd(f64::INFINITY))
}
