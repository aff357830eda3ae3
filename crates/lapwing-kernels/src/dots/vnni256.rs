//! `vpdpbusd` in 256 bits, in its two encodings: what is not a dot product is AVX2's.

use std::arch::x86_64::{
    _mm256_dpbusd_avx_epi32, _mm256_dpbusd_epi32, _mm256_set1_epi32, _mm256_setzero_si256,
};

use super::avx2::{self, Halves};
use super::{Dots, operations, quad};
use crate::lanes::Pair;
use crate::lanes::avx2::{Avx2, F32x8};
use crate::tiles::N_TILE_ROWS;

macro_rules! vnni256 {
    ($(#[$doc:meta])* $name:ident: $features:tt, $dot:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name(Avx2);

        impl $name {
            /// For code that is compiled for these instructions: nothing else can call it safely.
            #[inline]
            #[target_feature(enable = $features)]
            pub(crate) fn here() -> $name {
                $name(Avx2::here())
            }

            #[inline]
            #[target_feature(enable = $features)]
            fn dot(sums: Halves, codes: Halves, x: [i8; 4]) -> Halves {
                let x = _mm256_set1_epi32(quad(x));
                [$dot(sums[0], codes[0], x), $dot(sums[1], codes[1], x)]
            }
        }

        impl Dots for $name {
            type Lanes = Avx2;
            type Bytes = Halves;
            type Chain = Halves;
            type Sums = Halves;
            type Zeros = Halves;
            const U8_ZERO: i16 = 0;
            const IS_WIDE: bool = false;

            #[inline(always)]
            fn lanes(self) -> Avx2 {
                self.0
            }

            operations! {
                fn load(self, from: &[u8; 64]) -> Halves = avx2::load(from);
                fn store(self, bytes: Halves, to: &mut [u8; 64]) = avx2::store(bytes, to);
                fn nibbles(self, bytes: Halves) -> (Halves, Halves) = avx2::nibbles(bytes);
                fn chain(self) -> Halves = [_mm256_setzero_si256(); 2];
                fn add_u4(self, chain: Halves, codes: Halves, x: [i8; 4]) -> Halves =
                    Self::dot(chain, codes, x);
                fn merge(self, a: Halves, b: Halves) -> Halves = avx2::add(a, b);
                fn add_chain(self, sums: Halves, chain: Halves) -> Halves =
                    avx2::add(sums, chain);
                fn add_u8(self, sums: Halves, codes: Halves, x: [i8; 4]) -> Halves =
                    Self::dot(sums, codes, x);
                fn add(self, a: Halves, b: Halves) -> Halves = avx2::add(a, b);
                fn splat(self, x: i32) -> Halves = [_mm256_set1_epi32(x); 2];
                fn zeros(self, from: i16, zeros: &[u8; N_TILE_ROWS]) -> Halves =
                    avx2::zeros(from, zeros);
                fn start(self, zeros: Halves, x: [i16; 2]) -> Halves = avx2::start(zeros, x);
                fn to_f32(self, sums: Halves) -> Pair<F32x8> = avx2::to_f32(sums);
            }
        }
    };
}

vnni256! {
    /// The proof that the running CPU has AVX-VNNI, and AVX2, FMA and F16C.
    AvxVnni: "avx2,fma,f16c,avxvnni", _mm256_dpbusd_avx_epi32
}

vnni256! {
    /// The proof that the running CPU has AVX-512's VNNI in 256 bits, and AVX2, FMA and F16C.
    Avx512Vl: "avx2,fma,f16c,avx512vnni,avx512vl", _mm256_dpbusd_epi32
}
