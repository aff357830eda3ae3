use super::scalar;
use crate::lanes::{Block, F32Lanes, Lanes, MaskLanes, N_BLOCK, N_LANES};

#[inline(always)]
pub(super) fn row_find_equal<L: Lanes>(l: L, logits: &[f32], value: f32) -> Option<usize> {
    let (wanted, wanted_in_block) = (l.splat(value), Block::<L>::splat(l, value));
    let start_idx = start_of_search(
        l,
        logits,
        #[inline(always)]
        |block| block.eq(wanted_in_block).any(),
        #[inline(always)]
        |group| group.eq(wanted).any(),
    );
    scalar::row_find_equal(&logits[start_idx..], value).map(|idx| start_idx + idx)
}

#[inline(always)]
pub(super) fn row_find_nan<L: Lanes>(l: L, logits: &[f32]) -> Option<usize> {
    let start_idx = start_of_search(
        l,
        logits,
        #[inline(always)]
        |block| block.ne(block).any(),
        #[inline(always)]
        |group| group.ne(group).any(),
    );
    scalar::row_find_nan(&logits[start_idx..]).map(|idx| start_idx + idx)
}

/// The first group of lanes with a hit, else the tail: where the plain search starts.
#[inline(always)]
fn start_of_search<L: Lanes>(
    l: L,
    logits: &[f32],
    is_in_block: impl Fn(Block<L>) -> bool,
    is_in_group: impl Fn(L::F32) -> bool,
) -> usize {
    let mut start_idx = 0;
    let (blocks, _) = logits.as_chunks::<N_BLOCK>();
    for block in blocks {
        if is_in_block(Block::<L>::load(l, block)) {
            break;
        }
        start_idx += N_BLOCK;
    }
    let (groups, _) = logits[start_idx..].as_chunks::<N_LANES>();
    for group in groups {
        if is_in_group(l.load(group)) {
            break;
        }
        start_idx += N_LANES;
    }
    start_idx
}
