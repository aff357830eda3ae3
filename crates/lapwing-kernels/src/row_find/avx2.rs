use std::arch::x86_64::{
    __m256, _CMP_EQ_OQ, _CMP_UNORD_Q, _mm256_cmp_ps, _mm256_movemask_ps, _mm256_or_ps,
    _mm256_set1_ps, _mm256_setzero_ps,
};

use super::scalar;
use crate::lanes::avx2::load;

#[target_feature(enable = "avx2,fma")]
pub(super) fn row_find_equal(logits: &[f32], value: f32) -> Option<usize> {
    let wanted = _mm256_set1_ps(value);
    let block_idx = find_block(logits, |lanes| _mm256_cmp_ps::<_CMP_EQ_OQ>(lanes, wanted));
    let start_idx = block_idx * N_BLOCK;
    scalar::row_find_equal(&logits[start_idx..], value).map(|idx| start_idx + idx)
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn row_find_nan(logits: &[f32]) -> Option<usize> {
    let block_idx = find_block(logits, |lanes| _mm256_cmp_ps::<_CMP_UNORD_Q>(lanes, lanes));
    let start_idx = block_idx * N_BLOCK;
    scalar::row_find_nan(&logits[start_idx..]).map(|idx| start_idx + idx)
}

const N_BLOCK: usize = 32;

/// The first whole block with a hit, else their number: where the plain search starts.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn find_block(logits: &[f32], hits: impl Fn(__m256) -> __m256) -> usize {
    let (blocks, _) = logits.as_chunks::<N_BLOCK>();
    let found = blocks.iter().position(|block| {
        let (chunks, _) = block.as_chunks::<8>();
        let mut any = _mm256_setzero_ps();
        for chunk in chunks {
            any = _mm256_or_ps(any, hits(load(chunk)));
        }
        _mm256_movemask_ps(any) != 0
    });
    found.unwrap_or(blocks.len())
}
