use std::arch::aarch64::{
    vaddlvq_u32, vcgeq_f32, vdupq_n_f32, vdupq_n_u32, vmaxnmq_f32, vmaxvq_u32, vorrq_u32, vsubq_u32,
};

use super::{Candidates, N_COLUMNS, scalar};
use crate::lanes::neon::{load, store};

const N_BLOCK: usize = 16;

#[target_feature(enable = "neon")]
pub(super) fn column_maxima(table: &[[f32; N_COLUMNS]], maxima: &mut [f32; N_COLUMNS]) {
    let mut best = [vdupq_n_f32(f32::NEG_INFINITY); N_COLUMNS / 4];
    for entries in table {
        let (chunks, _) = entries.as_chunks::<4>();
        for (best, chunk) in best.iter_mut().zip(chunks) {
            // `maxnm` ignores NaN.
            *best = vmaxnmq_f32(load(chunk), *best);
        }
    }
    let (chunks, _) = maxima.as_chunks_mut::<4>();
    for (chunk, best) in chunks.iter_mut().zip(best) {
        *chunk = store(best);
    }
}

#[target_feature(enable = "neon")]
pub(super) fn scan_at_least(
    row: &[f32],
    threshold: f32,
    mut next_idx: usize,
    candidates: &mut Candidates,
) -> usize {
    let at_least = vdupq_n_f32(threshold);
    let (blocks, _) = row[next_idx..].as_chunks::<N_BLOCK>();
    for block in blocks {
        let (chunks, _) = block.as_chunks::<4>();
        let mut any = vdupq_n_u32(0);
        for chunk in chunks {
            any = vorrq_u32(any, vcgeq_f32(load(chunk), at_least));
        }
        let block_end = next_idx + N_BLOCK;
        if vmaxvq_u32(any) == 0 {
            next_idx = block_end;
            continue;
        }
        // NEON has no mask register: a block with a hit is rare, so look at it plainly.
        next_idx = scalar::scan_at_least(&row[..block_end], threshold, next_idx, candidates);
        if next_idx < block_end {
            return next_idx;
        }
    }
    // The tail.
    scalar::scan_at_least(row, threshold, next_idx, candidates)
}

#[target_feature(enable = "neon")]
pub(super) fn count_at_least(values: &[f32], bound: f32) -> usize {
    let at_least = vdupq_n_f32(bound);
    let (chunks, tail) = values.as_chunks::<4>();
    let mut n_reached = vdupq_n_u32(0);
    for chunk in chunks {
        // All ones is minus one.
        n_reached = vsubq_u32(n_reached, vcgeq_f32(load(chunk), at_least));
    }
    vaddlvq_u32(n_reached) as usize + scalar::count_at_least(tail, bound)
}
