use super::{
    AttendPart, N_BLOCK_POSITIONS, attend_merge, attend_scores, attend_softmax, attend_values,
};
use crate::Level;
use crate::f16::{f16_from_f32, f16_to_f32};
use crate::floats::Floats;
use crate::oracle::{bits, spread_from};

const HEAD_DIMS: [usize; 6] = [16, 32, 48, 64, 128, 256];
const RANGES: [std::ops::Range<usize>; 7] =
    [0..256, 0..1, 0..17, 15..16, 16..240, 3..129, 255..256];

/// A block in both formats, with the same numbers in each.
struct Block {
    head_dim: usize,
    f16: Vec<[u8; 2]>,
    f32: Vec<f32>,
}

impl Block {
    fn new(head_dim: usize, seed: u32) -> Block {
        let f16: Vec<[u8; 2]> = spread_from(N_BLOCK_POSITIONS * head_dim, seed)
            .into_iter()
            .map(|x| f16_from_f32(x / 16.0))
            .collect();
        let f32 = f16.iter().map(|&x| f16_to_f32(x)).collect();
        Block { head_dim, f16, f32 }
    }

    fn formats(&self) -> [Floats<'_>; 2] {
        [Floats::F16(&self.f16), Floats::F32(&self.f32)]
    }

    fn key(&self, position: usize, channel: usize) -> f64 {
        self.f32[(position / 16 * self.head_dim + channel) * 16 + position % 16].into()
    }

    fn value(&self, position: usize, channel: usize) -> f64 {
        self.f32[position * self.head_dim + channel].into()
    }
}

/// The whole of it, for queries with one block each way.
fn attended(
    level: Level,
    queries: &[f32],
    [keys, values]: [Floats<'_>; 2],
    positions: std::ops::Range<usize>,
) -> (Vec<f32>, Vec<AttendPart>) {
    let head_dim = keys.len() / N_BLOCK_POSITIONS;
    let mut scores = vec![[f32::NAN; N_BLOCK_POSITIONS]; queries.len() / head_dim];
    attend_scores(level, queries, keys, positions.clone(), &mut scores);
    let parts = scores.iter_mut().map(|scores| attend_softmax(level, scores)).collect();
    let mut out = vec![f32::NAN; queries.len()];
    attend_values(level, &scores, values, positions, &mut out);
    (out, parts)
}

#[test]
fn every_level_and_both_formats_give_the_same_bits() {
    for head_dim in HEAD_DIMS {
        let (keys, values) = (Block::new(head_dim, 3), Block::new(head_dim, 5));
        for n_queries in [1, 2, 3, 4, 7, 9] {
            let queries = spread_from(n_queries * head_dim, 7);
            for positions in RANGES {
                let of = |level, format: usize| {
                    let block = [keys.formats()[format], values.formats()[format]];
                    let (out, parts) = attended(level, &queries, block, positions.clone());
                    let parts: Vec<[u32; 2]> =
                        parts.iter().map(|part| [part.max.to_bits(), part.sum.to_bits()]).collect();
                    (bits(&out), parts)
                };
                let expected = of(Level::SCALAR, 0);
                for level in Level::available_for_floats() {
                    for format in 0..2 {
                        let found = of(level, format);
                        assert!(
                            found == expected,
                            "{level:?} {head_dim} {n_queries} {positions:?}"
                        );
                    }
                }
            }
        }
    }
}

/// Three blocks, merged, against the definition in `f64`.
#[test]
fn is_close_to_the_definition_in_f64() {
    for head_dim in [64, 80] {
        let blocks =
            [11, 13, 17].map(|seed| [Block::new(head_dim, seed), Block::new(head_dim, seed + 1)]);
        let query: Vec<f32> = spread_from(head_dim, 19).iter().map(|q| q / 4.0).collect();
        let ranges = [100..256, 0..256, 0..77];
        let (mut parts, mut vectors) = (Vec::new(), Vec::new());
        let mut weighted = Vec::new();
        for (block, range) in blocks.iter().zip(ranges) {
            let formats = [block[0].formats()[0], block[1].formats()[0]];
            let (out, part) = attended(Level::detect(), &query, formats, range.clone());
            vectors.extend(out);
            parts.extend(part);
            for position in range {
                let score: f64 = query
                    .iter()
                    .enumerate()
                    .map(|(channel, &q)| f64::from(q) * block[0].key(position, channel))
                    .sum();
                weighted.push((score, &block[1], position));
            }
        }
        let sum: f64 = weighted.iter().map(|(score, ..)| score.exp()).sum();
        let mut expected = vec![0.0; head_dim];
        for (score, values, position) in weighted {
            for (channel, out) in expected.iter_mut().enumerate() {
                *out += score.exp() / sum * values.value(position, channel);
            }
        }
        for level in Level::available_for_floats() {
            let mut found = vec![f32::NAN; head_dim];
            attend_merge(level, &parts, &vectors, &mut found);
            let mut scalar = vec![f32::NAN; head_dim];
            attend_merge(Level::SCALAR, &parts, &vectors, &mut scalar);
            assert_eq!(bits(&found), bits(&scalar), "{level:?}");
            for (&found, expected) in found.iter().zip(&expected) {
                assert!((f64::from(found) - expected).abs() < 2e-6, "{level:?} {found} {expected}");
            }
        }
    }
}

#[test]
fn special_scores() {
    for level in Level::available_for_floats() {
        let mut none = [f32::NEG_INFINITY; N_BLOCK_POSITIONS];
        let part = attend_softmax(level, &mut none);
        assert_eq!(part, AttendPart { max: f32::NEG_INFINITY, sum: 0.0 }, "{level:?}");
        assert_eq!(none, [0.0; N_BLOCK_POSITIONS]);

        let mut zeros = [0.0; N_BLOCK_POSITIONS];
        zeros.iter_mut().skip(1).step_by(2).for_each(|score| *score = -0.0);
        let part = attend_softmax(level, &mut zeros);
        assert_eq!((part.max.to_bits(), part.sum), (0, 256.0), "{level:?}");

        let mut with_nan = [f32::NEG_INFINITY; N_BLOCK_POSITIONS];
        (with_nan[3], with_nan[200]) = (f32::NAN, -5.0);
        let part = attend_softmax(level, &mut with_nan);
        assert_eq!(part, AttendPart { max: -5.0, sum: 1.0 }, "{level:?}");

        // A block that does not count leaves the other one as it is.
        let parts =
            [AttendPart { max: f32::NEG_INFINITY, sum: 0.0 }, AttendPart { max: 2.0, sum: 1.0 }];
        let mut vectors = [7.0; 32];
        vectors[16..].fill(0.3);
        let mut out = [0.0; 16];
        attend_merge(level, &parts, &vectors, &mut out);
        assert_eq!(out, [0.3; 16], "{level:?}");
        attend_merge(level, &parts[..1], &vectors[..16], &mut out);
        assert!(out.iter().all(|x| x.is_nan()), "{level:?} {out:?}");
    }
}

#[test]
#[should_panic(expected = "of a block")]
fn positions_beyond_a_block_are_a_programmer_error() {
    let keys = vec![0.0; N_BLOCK_POSITIONS * 16];
    attend_scores(Level::SCALAR, &[0.0; 16], Floats::F32(&keys), 0..257, &mut [[0.0; 256]]);
}
