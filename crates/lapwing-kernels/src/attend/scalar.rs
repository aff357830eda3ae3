use std::ops::Range;

use super::{AttendPart, N_BLOCK_POSITIONS};
use crate::exp::exp_nonpositive;
use crate::floats::Float;
use crate::lanes::N_LANES;

pub(super) fn scores<F: Float>(
    queries: &[f32],
    keys: &[F],
    tiles: Range<usize>,
    scores: &mut [[f32; N_BLOCK_POSITIONS]],
) {
    let head_dim = keys.len() / N_BLOCK_POSITIONS;
    for (query, scores) in queries.chunks_exact(head_dim).zip(scores) {
        for position in tiles.start * N_LANES..tiles.end * N_LANES {
            let tile = &keys[position / N_LANES * head_dim * N_LANES..];
            let mut score = 0.0f32;
            for (channel, &q) in query.iter().enumerate() {
                let key = tile[channel * N_LANES + position % N_LANES].to_f32();
                score = key.mul_add(q, score);
            }
            scores[position] = score;
        }
    }
}

pub(super) fn softmax(scores: &mut [f32; N_BLOCK_POSITIONS]) -> (f32, [f32; N_LANES]) {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0; N_LANES];
    for (position, score) in scores.iter_mut().enumerate() {
        *score = exp_nonpositive(*score - max);
        sums[position % N_LANES] += *score;
    }
    (max, sums)
}

pub(super) fn values<F: Float>(
    weights: &[[f32; N_BLOCK_POSITIONS]],
    values: &[F],
    positions: Range<usize>,
    out: &mut [f32],
) {
    let head_dim = values.len() / N_BLOCK_POSITIONS;
    for (weights, out) in weights.iter().zip(out.chunks_exact_mut(head_dim)) {
        out.fill(0.0);
        for position in positions.clone() {
            let values = &values[position * head_dim..][..head_dim];
            for (out, value) in out.iter_mut().zip(values) {
                *out = value.to_f32().mul_add(weights[position], *out);
            }
        }
    }
}

/// What each part counts, and the inverse of the sum of all weights.
pub(super) fn factors(parts: &[AttendPart]) -> (impl Iterator<Item = f32>, f32) {
    let max = parts.iter().fold(f32::NEG_INFINITY, |max, part| max.max(part.max));
    let factors = parts.iter().map(move |part| exp_nonpositive(part.max - max));
    let sum = factors
        .clone()
        .zip(parts)
        .fold(0.0f32, |sum, (factor, part)| factor.mul_add(part.sum, sum));
    (factors, 1.0 / sum)
}

pub(super) fn merge(parts: &[AttendPart], vectors: &[f32], out: &mut [f32]) {
    let (factors, inverse) = factors(parts);
    out.fill(0.0);
    let head_dim = out.len();
    for (factor, vector) in factors.zip(vectors.chunks_exact(head_dim)) {
        for (out, x) in out.iter_mut().zip(vector) {
            *out = x.mul_add(factor, *out);
        }
    }
    out.iter_mut().for_each(|out| *out *= inverse);
}
