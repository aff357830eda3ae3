use std::arch::x86_64::{
    __m512d, __mmask8, _CMP_LT_OQ, _mm512_abs_pd, _mm512_add_pd, _mm512_cmp_pd_mask,
    _mm512_mask_add_pd, _mm512_mul_pd, _mm512_set1_pd, _mm512_setzero_pd, _mm512_sub_pd,
};

use super::{N_BLOCKS_PER_LOOK, N_SUMS, Partial};
use crate::lanes::avx512::{load_wide, store_f64};

#[target_feature(enable = "avx512f")]
pub(super) fn finite_sum(blocks: &[[f32; N_SUMS]]) -> Partial {
    sum_terms(blocks, |x| x)
}

#[target_feature(enable = "avx512f")]
pub(super) fn finite_squares(blocks: &[[f32; N_SUMS]], mean: f32) -> Partial {
    let mean = _mm512_set1_pd(f64::from(mean));
    sum_terms(blocks, |x| {
        let difference = _mm512_sub_pd(x, mean);
        _mm512_mul_pd(difference, difference)
    })
}

#[inline]
#[target_feature(enable = "avx512f")]
fn sum_terms(blocks: &[[f32; N_SUMS]], term: impl Fn(__m512d) -> __m512d) -> Partial {
    let mut sums = [_mm512_setzero_pd(); N_SUMS / 8];
    let mut n_finite = 0;
    for group in blocks.chunks(N_BLOCKS_PER_LOOK) {
        // Without a look at each entry; what is not finite shows in the sums.
        let mut plain = sums;
        for block in group {
            let (parts, _) = block.as_chunks::<8>();
            for (sum, part) in plain.iter_mut().zip(parts) {
                *sum = _mm512_add_pd(*sum, term(load_wide(part)));
            }
        }
        let all = plain.into_iter().fold(_mm512_setzero_pd(), |all, sum| _mm512_add_pd(all, sum));
        if is_finite(all) == __mmask8::MAX {
            sums = plain;
            n_finite += group.len() * N_SUMS;
            continue;
        }
        for block in group {
            let (parts, _) = block.as_chunks::<8>();
            for (sum, part) in sums.iter_mut().zip(parts) {
                let x = load_wide(part);
                let finite = is_finite(x);
                n_finite += finite.count_ones() as usize;
                *sum = _mm512_mask_add_pd(*sum, finite, *sum, term(x));
            }
        }
    }
    let mut partial = Partial { sums: [0.0; N_SUMS], n_finite };
    let (parts, _) = partial.sums.as_chunks_mut::<8>();
    for (part, sum) in parts.iter_mut().zip(sums) {
        *part = store_f64(sum);
    }
    partial
}

#[inline]
#[target_feature(enable = "avx512f")]
fn is_finite(x: __m512d) -> __mmask8 {
    _mm512_cmp_pd_mask::<_CMP_LT_OQ>(_mm512_abs_pd(x), _mm512_set1_pd(f64::INFINITY))
}
