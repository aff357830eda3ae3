//! Attention of some queries over one block of positions, and the merging of blocks.
//!
//! A block has 256 positions of one KV head. Its keys lie in sixteen tiles
//! `[head_dim][16 positions]`, a position a lane, its values in rows
//! `[position][head_dim]`, a channel a lane: no sum goes across lanes but that of
//! the softmax. Blocks begin at multiples of 256 and are merged in their order, in
//! prompts as in decoding, so that the bits do not depend on how work is split.

use std::ops::Range;

use crate::floats::Floats;
use crate::lanes::N_LANES;
use crate::level::{Level, dispatch};

mod scalar;
mod vector;

/// How many positions a block has.
pub const N_BLOCK_POSITIONS: usize = 256;

/// What the weights of a block count from, and their sum: what [`attend_merge`] needs of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttendPart {
    /// The largest score; `-inf` where no position counts.
    pub max: f32,
    /// The sum of `exp(score - max)`.
    pub sum: f32,
}

/// The scores of queries with the keys of a block: `scores[q][p] = Σ key[d][p] * query[q][d]`,
/// from the first channel to the last, each product added with one rounding.
///
/// Shapes: `queries [n_queries][head_dim]`, already scaled; `keys [16][head_dim][16]`;
/// `scores [n_queries]`. Of positions outside of `positions` the score is `-inf`; tiles
/// without one of `positions` are not read.
///
/// # Panics
///
/// When the slices are not of these sizes or the range is beyond a block.
pub fn attend_scores(
    level: Level,
    queries: &[f32],
    keys: Floats<'_>,
    positions: Range<usize>,
    scores: &mut [[f32; N_BLOCK_POSITIONS]],
) {
    let head_dim = head_dim(keys, &positions);
    assert_eq!(queries.len(), scores.len() * head_dim, "channels of queries");
    let tiles = positions.start / N_LANES..positions.end.div_ceil(N_LANES);
    match keys {
        Floats::F16(keys) => dispatch!(
            level,
            scores(
                queries: &[f32],
                keys: &[[u8; 2]],
                tiles: Range<usize>,
                scores: &mut [[f32; N_BLOCK_POSITIONS]],
            )
        ),
        Floats::F32(keys) => dispatch!(
            level,
            scores(
                queries: &[f32],
                keys: &[f32],
                tiles: Range<usize>,
                scores: &mut [[f32; N_BLOCK_POSITIONS]],
            )
        ),
    }
    for scores in scores {
        scores[..positions.start].fill(f32::NEG_INFINITY);
        scores[positions.end..].fill(f32::NEG_INFINITY);
    }
}

/// Replace every score of one query by `exp(score - max)`.
///
/// The sum is that of sixteen partial sums, position `p` going to `p % 16`; of these
/// the upper half is added to the lower one until one is left. NaN weighs zero, and
/// so does everything where the largest score is not finite.
pub fn attend_softmax(level: Level, scores: &mut [f32; N_BLOCK_POSITIONS]) -> AttendPart {
    let (max, mut sums) =
        dispatch!(level, softmax(scores: &mut [f32; N_BLOCK_POSITIONS]) -> (f32, [f32; N_LANES]));
    let mut n = N_LANES / 2;
    while n != 0 {
        let (low, high) = sums.split_at_mut(n);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
        n /= 2;
    }
    // Of two zeros a level may have taken either.
    AttendPart { max: max + 0.0, sum: sums[0] }
}

/// The weighted sums of the values of a block: `out[q][c] = Σ value[p][c] * weights[q][p]`,
/// from the first position to the last, each product added with one rounding.
///
/// Shapes: `weights [n_queries]`, `values [256][head_dim]`, `out [n_queries][head_dim]`.
/// Only `positions` are read.
///
/// # Panics
///
/// When the slices are not of these sizes or the range is beyond a block.
pub fn attend_values(
    level: Level,
    weights: &[[f32; N_BLOCK_POSITIONS]],
    values: Floats<'_>,
    positions: Range<usize>,
    out: &mut [f32],
) {
    let head_dim = head_dim(values, &positions);
    assert_eq!(out.len(), weights.len() * head_dim, "channels of queries");
    match values {
        Floats::F16(values) => dispatch!(
            level,
            values(
                weights: &[[f32; N_BLOCK_POSITIONS]],
                values: &[[u8; 2]],
                positions: Range<usize>,
                out: &mut [f32],
            )
        ),
        Floats::F32(values) => dispatch!(
            level,
            values(
                weights: &[[f32; N_BLOCK_POSITIONS]],
                values: &[f32],
                positions: Range<usize>,
                out: &mut [f32],
            )
        ),
    }
}

/// The attention of one query from that of its blocks, in their order.
///
/// Shapes: `parts [n_parts]`, `vectors [n_parts][head_dim]` from [`attend_values`],
/// `out [head_dim]`. NaN where no position counts.
///
/// # Panics
///
/// When the slices are not of these sizes or `head_dim` is no multiple of 16.
pub fn attend_merge(level: Level, parts: &[AttendPart], vectors: &[f32], out: &mut [f32]) {
    assert!(out.len().is_multiple_of(N_LANES), "{} channels", out.len());
    assert_eq!(vectors.len(), parts.len() * out.len(), "channels of parts");
    dispatch!(level, merge(parts: &[AttendPart], vectors: &[f32], out: &mut [f32]));
}

fn head_dim(block: Floats<'_>, positions: &Range<usize>) -> usize {
    let head_dim = block.len() / N_BLOCK_POSITIONS;
    assert_eq!(block.len(), head_dim * N_BLOCK_POSITIONS, "channels of a block");
    let is_possible = head_dim != 0 && head_dim.is_multiple_of(N_LANES);
    assert!(is_possible, "{head_dim} channels");
    let is_within = positions.start <= positions.end && positions.end <= N_BLOCK_POSITIONS;
    assert!(is_within, "positions {positions:?} of a block");
    head_dim
}

#[cfg(test)]
mod tests;
