use std::arch::aarch64::{vcgtq_f32, vdupq_n_f32, vdupq_n_u32, vmaxvq_u32, vorrq_u32};

use super::{Candidate, Scan, scalar};
use crate::lanes::neon::load;

const N_BLOCK: usize = 16;

#[target_feature(enable = "neon")]
pub(super) fn scan_above(
    logits: &[f32],
    threshold: f32,
    mut scan: Scan,
    buffer: &mut [Candidate],
) -> Scan {
    let above = vdupq_n_f32(threshold);
    let (blocks, _) = logits[scan.next_idx..].as_chunks::<N_BLOCK>();
    for block in blocks {
        let (chunks, _) = block.as_chunks::<4>();
        let mut any = vdupq_n_u32(0);
        for chunk in chunks {
            any = vorrq_u32(any, vcgtq_f32(load(chunk), above));
        }
        let block_end = scan.next_idx + N_BLOCK;
        if vmaxvq_u32(any) == 0 {
            scan.next_idx = block_end;
            continue;
        }
        // NEON has no mask register: a block with a hit is rare, so look at it plainly.
        scan = scalar::scan_above(&logits[..block_end], threshold, scan, buffer);
        if scan.next_idx < block_end {
            return scan;
        }
    }
    // The tail.
    scalar::scan_above(logits, threshold, scan, buffer)
}
