use crate::lanes::{Block, F32Lanes, Lanes, N_BLOCK, N_LANES, Pair};

#[inline(always)]
pub(super) fn row_max<L: Lanes>(l: L, logits: &[f32]) -> f32 {
    // A block has several accumulators: one `max` every cycle instead of one every four.
    let (blocks, rest) = logits.as_chunks::<N_BLOCK>();
    let mut best = Block::<L>::splat(l, f32::NEG_INFINITY);
    for block in blocks {
        best = Block::<L>::load(l, block).max(best);
    }
    let (groups, tail) = rest.as_chunks::<N_LANES>();
    let mut best_of_rest = l.splat(f32::NEG_INFINITY);
    for group in groups {
        best_of_rest = l.load(group).max(best_of_rest);
    }
    let Pair(Pair(a, b), Pair(c, d)) = best;
    let best = a.max(b).max(c.max(d)).max(best_of_rest);
    tail.iter().copied().fold(best.largest(), f32::max)
}
