use std::arch::x86_64::{
    _CMP_GE_OQ, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_max_ps,
    _mm256_movemask_ps, _mm256_set1_ps, _mm256_setzero_si256, _mm256_sub_epi32,
};

use super::{Candidates, N_COLUMNS, scalar};
use crate::lanes::avx2::{load, store};

#[target_feature(enable = "avx2,fma")]
pub(super) fn column_maxima(table: &[[f32; N_COLUMNS]], maxima: &mut [f32; N_COLUMNS]) {
    let mut best = [_mm256_set1_ps(f32::NEG_INFINITY); N_COLUMNS / 8];
    for entries in table {
        let (chunks, _) = entries.as_chunks::<8>();
        for (best, chunk) in best.iter_mut().zip(chunks) {
            // The accumulator goes second: `max_ps` returns its second operand on NaN.
            *best = _mm256_max_ps(load(chunk), *best);
        }
    }
    let (chunks, _) = maxima.as_chunks_mut::<8>();
    for (chunk, best) in chunks.iter_mut().zip(best) {
        *chunk = store(best);
    }
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn scan_at_least(
    row: &[f32],
    threshold: f32,
    mut next_idx: usize,
    candidates: &mut Candidates,
) -> usize {
    let at_least = _mm256_set1_ps(threshold);
    let (blocks, _) = row[next_idx..].as_chunks::<N_COLUMNS>();
    for block in blocks {
        let (chunks, _) = block.as_chunks::<8>();
        let mut hits = 0u64;
        for (chunk_idx, chunk) in chunks.iter().enumerate() {
            let mask = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(load(chunk), at_least));
            hits |= u64::from(mask.cast_unsigned()) << (chunk_idx * 8);
        }
        if candidates.n_free() < N_COLUMNS {
            break;
        }
        while hits != 0 {
            let idx = hits.trailing_zeros() as usize;
            candidates.push(next_idx + idx, block[idx]);
            hits &= hits - 1;
        }
        next_idx += N_COLUMNS;
    }
    // The tail, or the block that does not fit.
    scalar::scan_at_least(row, threshold, next_idx, candidates)
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn count_at_least(values: &[f32], bound: f32) -> usize {
    let at_least = _mm256_set1_ps(bound);
    let (chunks, tail) = values.as_chunks::<8>();
    let mut n_reached = _mm256_setzero_si256();
    for chunk in chunks {
        let is_reached = _mm256_cmp_ps::<_CMP_GE_OQ>(load(chunk), at_least);
        // All ones is minus one.
        n_reached = _mm256_sub_epi32(n_reached, _mm256_castps_si256(is_reached));
    }
    let n_reached = store(_mm256_castsi256_ps(n_reached)).map(f32::to_bits);
    n_reached.iter().sum::<u32>() as usize + scalar::count_at_least(tail, bound)
}
