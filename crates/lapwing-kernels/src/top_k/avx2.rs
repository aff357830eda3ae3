use std::arch::x86_64::{_CMP_GT_OQ, _mm256_cmp_ps, _mm256_movemask_ps, _mm256_set1_ps};

use super::{Candidate, Scan, scalar};
use crate::lanes::avx2::load;

const N_BLOCK: usize = 32;

#[target_feature(enable = "avx2,fma")]
pub(super) fn scan_above(
    logits: &[f32],
    threshold: f32,
    mut scan: Scan,
    buffer: &mut [Candidate],
) -> Scan {
    let above = _mm256_set1_ps(threshold);
    let (blocks, _) = logits[scan.next_idx..].as_chunks::<N_BLOCK>();
    for block in blocks {
        let (chunks, _) = block.as_chunks::<8>();
        let mut hits = 0u32;
        for (chunk_idx, chunk) in chunks.iter().enumerate() {
            let mask = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(load(chunk), above));
            hits |= mask.cast_unsigned() << (chunk_idx * 8);
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
