use super::{Candidates, N_COLUMNS, bisect, scalar};
use crate::lanes::{Block, F32Lanes, Lanes, MaskLanes, N_LANES};

#[inline(always)]
pub(super) fn column_maxima<L: Lanes>(
    l: L,
    table: &[[f32; N_COLUMNS]],
    maxima: &mut [f32; N_COLUMNS],
) {
    let mut best = Block::<L>::splat(l, f32::NEG_INFINITY);
    for entries in table {
        best = Block::<L>::load(l, entries).max(best);
    }
    best.store(maxima);
}

#[inline(always)]
pub(super) fn scan_at_least<L: Lanes>(
    l: L,
    row: &[f32],
    threshold: f32,
    mut next_idx: usize,
    candidates: &mut Candidates,
) -> usize {
    let at_least = Block::<L>::splat(l, threshold);
    let (blocks, _) = row[next_idx..].as_chunks::<N_COLUMNS>();
    for block in blocks {
        let is_hit = Block::<L>::load(l, block).ge(at_least);
        // The bits are made only where there are some: seldom, in a long row.
        let hits = is_hit.bits_if_any();
        if hits != 0 && !candidates.push_hits(next_idx, block, hits) {
            break;
        }
        next_idx += N_COLUMNS;
    }
    // The tail, or the block that does not fit.
    scalar::scan_at_least(row, threshold, next_idx, candidates)
}

#[inline(always)]
pub(super) fn kth_largest<L: Lanes>(l: L, values: &[f32], k: usize, n_slack: usize) -> f32 {
    bisect(
        k,
        n_slack,
        #[inline(always)]
        |bound| count_at_least(l, values, bound),
    )
}

#[inline(always)]
pub(super) fn count_at_least<L: Lanes>(l: L, values: &[f32], bound: f32) -> usize {
    let (groups, tail) = values.as_chunks::<N_LANES>();
    let at_least = l.splat(bound);
    let mut reached = L::Mask::no_tally(l);
    for group in groups {
        reached = l.load(group).ge(at_least).add_to(reached);
    }
    L::Mask::total(reached) + scalar::count_at_least(tail, bound)
}
