//! Plain arrays, so that the loops over dots are tested on every machine. For tests only.

use super::Dots;
use crate::lanes::{F32Lanes, Lanes, emulated};
use crate::tiles::N_TILE_ROWS;

/// Every CPU has this, so it proves nothing.
#[derive(Clone, Copy)]
pub(crate) struct Emulated;

impl Dots for Emulated {
    type Lanes = emulated::Emulated;
    type Bytes = [u8; 64];
    type Chain = [i32; 16];
    type Sums = [i32; 16];
    type Zeros = [i16; 16];
    const U8_ZERO: i16 = 128;
    const IS_WIDE: bool = true;

    fn lanes(self) -> emulated::Emulated {
        emulated::Emulated
    }

    fn load(self, from: &[u8; 64]) -> [u8; 64] {
        *from
    }

    fn store(self, bytes: [u8; 64], to: &mut [u8; 64]) {
        *to = bytes;
    }

    fn nibbles(self, bytes: [u8; 64]) -> ([u8; 64], [u8; 64]) {
        (bytes.map(|byte| byte & 15), bytes.map(|byte| byte >> 4))
    }

    fn chain(self) -> [i32; 16] {
        [0; 16]
    }

    fn add_u4(self, chain: [i32; 16], codes: [u8; 64], x: [i8; 4]) -> [i32; 16] {
        dot(chain, codes, x, 0)
    }

    fn merge(self, a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        std::array::from_fn(|lane| a[lane] + b[lane])
    }

    fn add_chain(self, sums: [i32; 16], chain: [i32; 16]) -> [i32; 16] {
        self.merge(sums, chain)
    }

    fn add_u8(self, sums: [i32; 16], codes: [u8; 64], x: [i8; 4]) -> [i32; 16] {
        dot(sums, codes, x, Emulated::U8_ZERO)
    }

    fn add(self, a: [i32; 16], b: [i32; 16]) -> [i32; 16] {
        self.merge(a, b)
    }

    fn splat(self, x: i32) -> [i32; 16] {
        [x; 16]
    }

    fn zeros(self, from: i16, zeros: &[u8; N_TILE_ROWS]) -> [i16; 16] {
        zeros.map(|zero| from - i16::from(zero))
    }

    fn start(self, zeros: [i16; 16], x: [i16; 2]) -> [i32; 16] {
        let x = i32::from(x[0]) + i32::from(x[1]);
        zeros.map(|zero| i32::from(zero) * x)
    }

    fn to_f32(self, sums: [i32; 16]) -> <emulated::Emulated as Lanes>::F32 {
        F32Lanes::load(emulated::Emulated, &sums.map(|sum| sum as f32))
    }
}

fn dot(sums: [i32; 16], codes: [u8; 64], x: [i8; 4], zero: i16) -> [i32; 16] {
    let (quads, _) = codes.as_chunks::<4>();
    std::array::from_fn(|lane| {
        let product = |(code, x): (u8, i8)| (i32::from(code) - i32::from(zero)) * i32::from(x);
        sums[lane] + quads[lane].into_iter().zip(x).map(product).sum::<i32>()
    })
}
