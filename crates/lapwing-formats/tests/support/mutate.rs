//! Deterministic mutations of the bytes of a file.
//!
//! Included by `hostile.rs` beside it and, by path, from the tests of the program.
#![allow(dead_code, reason = "every test binary uses a part of it")]

/// Mutation number `mutation_idx` of `seed_file`: always the same.
pub(crate) fn mutate(seed_file: &[u8], mutation_idx: usize) -> Vec<u8> {
    let mut random = SplitMix(mutation_idx as u64);
    let mut bytes = seed_file.to_vec();
    // Now and then two or three at once, so that one check does not always hide the next.
    for _ in 0..=random.below(8).saturating_sub(5) {
        mutate_once(&mut bytes, &mut random, mutation_idx);
    }
    bytes
}

fn mutate_once(bytes: &mut Vec<u8>, random: &mut SplitMix, mutation_idx: usize) {
    if bytes.is_empty() {
        return;
    }
    let at = position(bytes.len(), random);
    match mutation_idx % 8 {
        0 | 1 => {
            for _ in 0..=random.below(4) {
                let at = position(bytes.len(), random);
                bytes[at] ^= 1 << random.below(8);
            }
        }
        2 => bytes.truncate(at),
        3 => {
            // Splice: a piece of the file copied over or into another place.
            let from = position(bytes.len(), random);
            let n = 1 + random.below((bytes.len() - from).min(64));
            let piece = bytes[from..from + n].to_vec();
            let n_replaced = random.below(2) * n.min(bytes.len() - at);
            bytes.splice(at..at + n_replaced, piece);
        }
        4 => {
            let end = (at + 1 + random.below(32)).min(bytes.len());
            bytes.drain(at..end);
        }
        5 => {
            let value = large_number(bytes.len(), random);
            let width = [1, 2, 4, 8][random.below(4)];
            overwrite(bytes, at, &value.to_le_bytes()[..width]);
        }
        6 => {
            // A varint that claims a huge length, or digits that do.
            let varint: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
            let piece = if random.below(2) == 0 { varint } else { b"99999999999999999999" };
            overwrite(bytes, at, &piece[..1 + random.below(piece.len())]);
        }
        _ => {
            let at_digit = (at..bytes.len()).find(|&at| bytes[at].is_ascii_digit()).unwrap_or(at);
            let large = large_number(bytes.len(), random).to_string();
            bytes.splice(at_digit..at_digit + 1, large.into_bytes());
        }
    }
}

/// Half of all positions lie in the first kilobyte, where headers are.
fn position(n_bytes: usize, random: &mut SplitMix) -> usize {
    let n_bytes = if random.below(2) == 0 { n_bytes.min(1024) } else { n_bytes };
    random.below(n_bytes)
}

fn large_number(n_bytes: usize, random: &mut SplitMix) -> u64 {
    let near = n_bytes as u64;
    let values =
        [u64::MAX, 1 << 63, i64::MAX as u64, u64::from(u32::MAX), 1 << 31, 1 << 40, 0, near];
    values[random.below(values.len())].wrapping_add(random.below(3) as u64).wrapping_sub(1)
}

fn overwrite(bytes: &mut [u8], at: usize, piece: &[u8]) {
    let n = piece.len().min(bytes.len() - at);
    bytes[at..at + n].copy_from_slice(&piece[..n]);
}

/// SplitMix64. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators".
pub(crate) struct SplitMix(u64);

impl SplitMix {
    pub(crate) fn new(seed: u64) -> SplitMix {
        SplitMix(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 on, less than `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn choose<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}
