use std::arch::aarch64::{
    float32x4_t, uint32x4_t, vceqq_f32, vdupq_n_f32, vdupq_n_u32, vmaxvq_u32, vmvnq_u32, vorrq_u32,
};

use super::scalar;
use crate::lanes::neon::load;

#[target_feature(enable = "neon")]
pub(super) fn row_find_equal(logits: &[f32], value: f32) -> Option<usize> {
    let wanted = vdupq_n_f32(value);
    let block_idx = find_block(logits, |lanes| vceqq_f32(lanes, wanted));
    let start_idx = block_idx * N_BLOCK;
    scalar::row_find_equal(&logits[start_idx..], value).map(|idx| start_idx + idx)
}

#[target_feature(enable = "neon")]
pub(super) fn row_find_nan(logits: &[f32]) -> Option<usize> {
    let block_idx = find_block(logits, |lanes| vmvnq_u32(vceqq_f32(lanes, lanes)));
    let start_idx = block_idx * N_BLOCK;
    scalar::row_find_nan(&logits[start_idx..]).map(|idx| start_idx + idx)
}

const N_BLOCK: usize = 16;

/// The first whole block with a hit, else their number: where the plain search starts.
#[inline]
#[target_feature(enable = "neon")]
fn find_block(logits: &[f32], hits: impl Fn(float32x4_t) -> uint32x4_t) -> usize {
    let (blocks, _) = logits.as_chunks::<N_BLOCK>();
    let found = blocks.iter().position(|block| {
        let (chunks, _) = block.as_chunks::<4>();
        let mut any = vdupq_n_u32(0);
        for chunk in chunks {
            any = vorrq_u32(any, hits(load(chunk)));
        }
        vmaxvq_u32(any) != 0
    });
    found.unwrap_or(blocks.len())
}
