#![allow(clippy::needless_range_loop, reason = "several arrays of registers side by side")]

use std::ops::Range;

use super::{AttendPart, N_BLOCK_POSITIONS, scalar};
use crate::exp::exp_nonpositive_lanes;
use crate::floats::Float;
use crate::lanes::{F32Lanes, Lanes, N_LANES};
use crate::prefetch::prefetch_behind;

/// Whether there are registers for twice as much.
const fn is_wide<L: Lanes>() -> bool {
    <L::Register as F32Lanes>::N == N_LANES
}

#[inline(always)]
pub(super) fn scores<L: Lanes, F: Float>(
    l: L,
    queries: &[f32],
    keys: &[F],
    tiles: Range<usize>,
    scores: &mut [[f32; N_BLOCK_POSITIONS]],
) {
    let n_tile = keys.len() / N_BLOCK_POSITIONS * N_LANES;
    let mut tile = tiles.start;
    while tile < tiles.end {
        let (keys, _) = keys[tile * n_tile..].as_chunks::<N_LANES>();
        if is_wide::<L>() && tile + 1 < tiles.end {
            of_tiles::<L, F, 2>(l, queries, keys, tile, scores);
            tile += 2;
        } else {
            of_tiles::<L, F, 1>(l, queries, keys, tile, scores);
            tile += 1;
        }
    }
}

/// The next `T` tiles with all queries. `keys` begin with the first tile.
#[inline(always)]
fn of_tiles<L: Lanes, F: Float, const T: usize>(
    l: L,
    queries: &[f32],
    keys: &[[F; N_LANES]],
    tile: usize,
    mut scores: &mut [[f32; N_BLOCK_POSITIONS]],
) {
    let head_dim = queries.len() / scores.len().max(1);
    let mut queries = queries;
    while !scores.is_empty() {
        let n = match scores.len() {
            1 => of_queries::<L, F, T, 1>(l, queries, head_dim, keys, tile, scores),
            2 => of_queries::<L, F, T, 2>(l, queries, head_dim, keys, tile, scores),
            3 => of_queries::<L, F, T, 3>(l, queries, head_dim, keys, tile, scores),
            _ => of_queries::<L, F, T, 4>(l, queries, head_dim, keys, tile, scores),
        };
        queries = &queries[n * head_dim..];
        scores = &mut scores[n..];
    }
}

/// The first `R` queries with the next `T` tiles. Returns `R`.
#[inline(always)]
fn of_queries<L: Lanes, F: Float, const T: usize, const R: usize>(
    l: L,
    queries: &[f32],
    head_dim: usize,
    keys: &[[F; N_LANES]],
    tile: usize,
    scores: &mut [[f32; N_BLOCK_POSITIONS]],
) -> usize {
    let mut sums = [[l.splat(0.0); T]; R];
    let mut query = [&queries[..head_dim]; R];
    for r in 1..R {
        query[r] = &queries[r * head_dim..][..head_dim];
    }
    let mut tiles = [&keys[..head_dim]; T];
    for t in 1..T {
        tiles[t] = &keys[t * head_dim..][..head_dim];
    }
    for channel in 0..head_dim {
        for t in 0..T {
            prefetch_behind(&tiles[t][channel]);
            let key = F::load::<L::F32>(l, &tiles[t][channel]);
            for r in 0..R {
                sums[r][t] = key.mul_add(l.splat(query[r][channel]), sums[r][t]);
            }
        }
    }
    for r in 0..R {
        for t in 0..T {
            sums[r][t].store(&mut scores[r][(tile + t) * N_LANES..][..N_LANES]);
        }
    }
    R
}

#[inline(always)]
pub(super) fn softmax<L: Lanes>(
    l: L,
    scores: &mut [f32; N_BLOCK_POSITIONS],
) -> (f32, [f32; N_LANES]) {
    let (groups, _) = scores.as_chunks_mut::<N_LANES>();
    let mut largest = l.splat(f32::NEG_INFINITY);
    for group in groups.iter() {
        largest = l.load(group).max(largest);
    }
    let max = largest.largest();
    let mut sums = l.splat(0.0);
    for group in groups {
        let weights = exp_nonpositive_lanes(l, l.load(group) - l.splat(max));
        weights.store(group);
        sums = sums + weights;
    }
    let mut out = [0.0; N_LANES];
    sums.store(&mut out);
    (max, out)
}

#[inline(always)]
pub(super) fn values<L: Lanes, F: Float>(
    l: L,
    weights: &[[f32; N_BLOCK_POSITIONS]],
    values: &[F],
    positions: Range<usize>,
    out: &mut [f32],
) {
    let n_vectors = values.len() / N_BLOCK_POSITIONS / N_LANES;
    let (values, _) = values.as_chunks::<N_LANES>();
    let (outs, _) = out.as_chunks_mut::<N_LANES>();
    let mut first = 0;
    while first < weights.len() {
        let weights = &weights[first..];
        let outs = &mut outs[first * n_vectors..];
        let block = Block { values, n_vectors, positions: &positions };
        first += match weights.len() {
            1 => of_weights::<L, F, 1>(l, weights, block, outs),
            2 => of_weights::<L, F, 2>(l, weights, block, outs),
            3 => of_weights::<L, F, 3>(l, weights, block, outs),
            _ => of_weights::<L, F, 4>(l, weights, block, outs),
        };
    }
}

#[derive(Clone, Copy)]
struct Block<'a, F> {
    values: &'a [[F; N_LANES]],
    n_vectors: usize,
    positions: &'a Range<usize>,
}

/// The first `R` queries. Returns `R`.
#[inline(always)]
fn of_weights<L: Lanes, F: Float, const R: usize>(
    l: L,
    weights: &[[f32; N_BLOCK_POSITIONS]],
    block: Block<'_, F>,
    outs: &mut [[f32; N_LANES]],
) -> usize {
    let mut vector = 0;
    while vector < block.n_vectors {
        vector += match block.n_vectors - vector {
            4.. if is_wide::<L>() => of_vectors::<L, F, R, 4>(l, weights, block, vector, outs),
            2.. => of_vectors::<L, F, R, 2>(l, weights, block, vector, outs),
            _ => of_vectors::<L, F, R, 1>(l, weights, block, vector, outs),
        };
    }
    R
}

/// `C` vectors of channels of the first `R` queries. Returns `C`.
#[inline(always)]
fn of_vectors<L: Lanes, F: Float, const R: usize, const C: usize>(
    l: L,
    weights: &[[f32; N_BLOCK_POSITIONS]],
    block: Block<'_, F>,
    first: usize,
    outs: &mut [[f32; N_LANES]],
) -> usize {
    let weights: &[[f32; N_BLOCK_POSITIONS]; R] = weights.first_chunk().expect("so many queries");
    let mut sums = [[l.splat(0.0); C]; R];
    for position in block.positions.clone() {
        let values = &block.values[position * block.n_vectors + first..][..C];
        for c in 0..C {
            prefetch_behind(&values[c]);
            let value = F::load::<L::F32>(l, &values[c]);
            for r in 0..R {
                sums[r][c] = value.mul_add(l.splat(weights[r][position]), sums[r][c]);
            }
        }
    }
    for r in 0..R {
        for c in 0..C {
            sums[r][c].store(&mut outs[r * block.n_vectors + first + c]);
        }
    }
    C
}

#[inline(always)]
pub(super) fn merge<L: Lanes>(l: L, parts: &[AttendPart], vectors: &[f32], out: &mut [f32]) {
    let (factors, inverse) = scalar::factors(parts);
    out.fill(0.0);
    let head_dim = out.len();
    let (outs, _) = out.as_chunks_mut::<N_LANES>();
    for (factor, vector) in factors.zip(vectors.chunks_exact(head_dim)) {
        let (vector, _) = vector.as_chunks::<N_LANES>();
        for (out, x) in outs.iter_mut().zip(vector) {
            l.load(x).mul_add(l.splat(factor), l.load(out)).store(out);
        }
    }
    for out in outs {
        (l.load(out) * l.splat(inverse)).store(out);
    }
}
