use std::arch::x86_64::{
    __m512, __mmask16, _CMP_EQ_OQ, _CMP_UNORD_Q, _mm512_cmp_ps_mask, _mm512_set1_ps,
};

use super::scalar;
use crate::lanes::avx512::load;

#[target_feature(enable = "avx512f")]
pub(super) fn row_find_equal(logits: &[f32], value: f32) -> Option<usize> {
    let wanted = _mm512_set1_ps(value);
    let block_idx = find_block(logits, |lanes| _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(lanes, wanted));
    let start_idx = block_idx * N_BLOCK;
    scalar::row_find_equal(&logits[start_idx..], value).map(|idx| start_idx + idx)
}

#[target_feature(enable = "avx512f")]
pub(super) fn row_find_nan(logits: &[f32]) -> Option<usize> {
    let block_idx = find_block(logits, |lanes| _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(lanes, lanes));
    let start_idx = block_idx * N_BLOCK;
    scalar::row_find_nan(&logits[start_idx..]).map(|idx| start_idx + idx)
}

const N_BLOCK: usize = 64;

/// The first whole block with a hit, else their number: where the plain search starts.
#[inline]
#[target_feature(enable = "avx512f")]
fn find_block(logits: &[f32], hits: impl Fn(__m512) -> __mmask16) -> usize {
    let (blocks, _) = logits.as_chunks::<N_BLOCK>();
    let found = blocks.iter().position(|block| {
        let (chunks, _) = block.as_chunks::<16>();
        let mut any = 0;
        for chunk in chunks {
            any |= hits(load(chunk));
        }
        any != 0
    });
    found.unwrap_or(blocks.len())
}
