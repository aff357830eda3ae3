use super::{Candidate, Scan, scalar};
use crate::lanes::{Block, F32Lanes, Lanes, MaskLanes, N_BLOCK};

#[inline(always)]
pub(super) fn scan_above<L: Lanes>(
    l: L,
    logits: &[f32],
    threshold: f32,
    mut scan: Scan,
    buffer: &mut [Candidate],
) -> Scan {
    let above = Block::<L>::splat(l, threshold);
    let (blocks, _) = logits[scan.next_idx..].as_chunks::<N_BLOCK>();
    for block in blocks {
        let mut hits = Block::<L>::load(l, block).gt(above).bits_if_any();
        if hits != 0 && buffer.len() < scan.n_held + hits.count_ones() as usize {
            break;
        }
        while hits != 0 {
            let idx = hits.trailing_zeros() as usize;
            let token_idx = (scan.next_idx + idx) as u32;
            buffer[scan.n_held] = Candidate { token_idx, logit: block[idx] };
            scan.n_held += 1;
            hits &= hits - 1;
        }
        scan.next_idx += N_BLOCK;
    }
    // The tail, or the block that does not fit.
    scalar::scan_above(logits, threshold, scan, buffer)
}
