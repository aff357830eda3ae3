use std::arch::x86_64::{_CMP_GT_OQ, _mm512_cmp_ps_mask, _mm512_set1_ps};

use super::{Candidate, Scan, scalar};
use crate::lanes::avx512::load;

const N_BLOCK: usize = 64;

#[target_feature(enable = "avx512f")]
pub(super) fn scan_above(
    logits: &[f32],
    threshold: f32,
    mut scan: Scan,
    buffer: &mut [Candidate],
) -> Scan {
    let above = _mm512_set1_ps(threshold);
    let (blocks, _) = logits[scan.next_idx..].as_chunks::<N_BLOCK>();
    for block in blocks {
        let (chunks, _) = block.as_chunks::<16>();
        let mut hits = 0u64;
        for (chunk_idx, chunk) in chunks.iter().enumerate() {
            let mask = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(load(chunk), above);
            hits |= u64::from(mask) << (chunk_idx * 16);
        }
        if buffer.len() < scan.n_held + hits.count_ones() as usize {
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
