#![allow(clippy::needless_range_loop, reason = "several arrays of registers side by side")]

use super::N_SUMS;
use crate::floats::Float;
use crate::lanes::{F32Lanes, Lanes, N_LANES};

#[inline(always)]
pub(super) fn matmul<L: Lanes, F: Float>(
    l: L,
    weights: &[F],
    n_columns: usize,
    rows: &[f32],
    out: &mut [f32],
) {
    let n_rows = rows.len() / n_columns;
    let n_out = weights.len() / n_columns;
    let (vectors, _) = weights.as_chunks::<N_LANES>();
    for (tile_idx, tile) in vectors.chunks_exact(n_columns).enumerate() {
        let mut first = 0;
        while first < n_rows {
            let rows = &rows[first * n_columns..];
            let out = &mut out[first * n_out + tile_idx * N_LANES..];
            first += match n_rows - first {
                1 => of_rows::<L, F, 1>(l, tile, rows, out, n_out),
                2.. if <L::Register as F32Lanes>::N != N_LANES => {
                    of_rows::<L, F, 2>(l, tile, rows, out, n_out)
                }
                2 => of_rows::<L, F, 2>(l, tile, rows, out, n_out),
                3 => of_rows::<L, F, 3>(l, tile, rows, out, n_out),
                _ => of_rows::<L, F, 4>(l, tile, rows, out, n_out),
            };
        }
    }
}

/// The first `R` rows with one tile. Returns `R`.
#[inline(always)]
fn of_rows<L: Lanes, F: Float, const R: usize>(
    l: L,
    tile: &[[F; N_LANES]],
    rows: &[f32],
    out: &mut [f32],
    n_out: usize,
) -> usize {
    let n_columns = tile.len();
    let mut xs = [&rows[..n_columns]; R];
    for r in 1..R {
        xs[r] = &rows[r * n_columns..][..n_columns];
    }
    let mut sums = [[l.splat(0.0); N_SUMS]; R];
    let (blocks, tail) = tile.as_chunks::<N_SUMS>();
    for (block_idx, block) in blocks.iter().enumerate() {
        for s in 0..N_SUMS {
            let weights = F::load::<L::F32>(l, &block[s]);
            for r in 0..R {
                let x = l.splat(xs[r][block_idx * N_SUMS + s]);
                sums[r][s] = weights.mul_add(x, sums[r][s]);
            }
        }
    }
    for s in 0..tail.len() {
        let weights = F::load::<L::F32>(l, &tail[s]);
        for r in 0..R {
            let x = l.splat(xs[r][blocks.len() * N_SUMS + s]);
            sums[r][s] = weights.mul_add(x, sums[r][s]);
        }
    }
    for r in 0..R {
        let sum = (sums[r][0] + sums[r][1]) + (sums[r][2] + sums[r][3]);
        sum.store(&mut out[r * n_out..][..N_LANES]);
    }
    R
}
