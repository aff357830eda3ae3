//! AVX2: a vector is two registers, and `vpmaddubsw` sums pairs of products in 16 bits.

use std::arch::x86_64::{
    __m256i, _mm_loadl_epi64, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32,
    _mm256_and_si256, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_or_si256, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_setzero_si256, _mm256_sign_epi8, _mm256_slli_epi32,
    _mm256_srli_epi32, _mm256_storeu_si256, _mm256_sub_epi32, _mm256_xor_si256,
};

use super::{Dots, operations, pair, quad};
use crate::lanes::Pair;
use crate::lanes::avx2::{Avx2, F32x8};
use crate::tiles::N_TILE_ROWS;

/// The lower eight lanes and the others.
pub(super) type Halves = [__m256i; 2];

/// The proof that the running CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2Dots(Avx2);

impl Avx2Dots {
    /// For code that is compiled for these instructions: nothing else can call it safely.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(crate) fn here() -> Avx2Dots {
        Avx2Dots(Avx2::here())
    }
}

impl Dots for Avx2Dots {
    type Lanes = Avx2;
    type Bytes = Halves;
    /// Two sums of 16 bits a lane: eight times `2 * 15 * 127` is 30 480.
    type Chain = Halves;
    type Sums = Halves;
    /// Twice in each lane, as 16 bits.
    type Zeros = Halves;
    /// Two products with a byte of 255 would be too large for 16 bits, with one of 128 not.
    const U8_ZERO: i16 = 128;
    const IS_WIDE: bool = false;

    #[inline(always)]
    fn lanes(self) -> Avx2 {
        self.0
    }

    operations! {
        fn load(self, from: &[u8; 64]) -> Halves = load(from);
        fn store(self, bytes: Halves, to: &mut [u8; 64]) = store(bytes, to);
        fn nibbles(self, bytes: Halves) -> (Halves, Halves) = nibbles(bytes);
        fn chain(self) -> Halves = [_mm256_setzero_si256(); 2];
        fn add_u4(self, chain: Halves, codes: Halves, x: [i8; 4]) -> Halves =
            add_u4(chain, codes, x);
        fn merge(self, a: Halves, b: Halves) -> Halves = merge(a, b);
        fn add_chain(self, sums: Halves, chain: Halves) -> Halves = add_pairs(sums, chain);
        fn add_u8(self, sums: Halves, codes: Halves, x: [i8; 4]) -> Halves =
            add_u8(sums, codes, x);
        fn add(self, a: Halves, b: Halves) -> Halves = add(a, b);
        fn splat(self, x: i32) -> Halves = [_mm256_set1_epi32(x); 2];
        fn zeros(self, from: i16, zeros: &[u8; N_TILE_ROWS]) -> Halves = self::zeros(from, zeros);
        fn start(self, zeros: Halves, x: [i16; 2]) -> Halves = start(zeros, x);
        fn to_f32(self, sums: Halves) -> Pair<F32x8> = to_f32(sums);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load(from: &[u8; 64]) -> Halves {
    let (halves, _) = from.as_chunks::<32>();
    // SAFETY: half of `from` is 32 readable bytes; `loadu` needs no alignment.
    let low = unsafe { _mm256_loadu_si256(halves[0].as_ptr().cast()) };
    // SAFETY: as the lower half.
    let high = unsafe { _mm256_loadu_si256(halves[1].as_ptr().cast()) };
    [low, high]
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store(bytes: Halves, to: &mut [u8; 64]) {
    let (halves, _) = to.as_chunks_mut::<32>();
    // SAFETY: half of `to` is 32 writable bytes; `storeu` needs no alignment.
    unsafe { _mm256_storeu_si256(halves[0].as_mut_ptr().cast(), bytes[0]) }
    // SAFETY: as the lower half.
    unsafe { _mm256_storeu_si256(halves[1].as_mut_ptr().cast(), bytes[1]) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn nibbles([a, b]: Halves) -> (Halves, Halves) {
    let low = _mm256_set1_epi8(15);
    (
        [_mm256_and_si256(a, low), _mm256_and_si256(b, low)],
        [
            _mm256_and_si256(_mm256_srli_epi32::<4>(a), low),
            _mm256_and_si256(_mm256_srli_epi32::<4>(b), low),
        ],
    )
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_u4(chain: Halves, codes: Halves, x: [i8; 4]) -> Halves {
    let x = _mm256_set1_epi32(quad(x));
    [
        _mm256_add_epi16(chain[0], _mm256_maddubs_epi16(codes[0], x)),
        _mm256_add_epi16(chain[1], _mm256_maddubs_epi16(codes[1], x)),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn merge(a: Halves, b: Halves) -> Halves {
    [_mm256_add_epi16(a[0], b[0]), _mm256_add_epi16(a[1], b[1])]
}

/// `sums` and both 16-bit numbers of each lane of `pairs`.
#[inline]
#[target_feature(enable = "avx2")]
fn add_pairs(sums: Halves, pairs: Halves) -> Halves {
    let one = _mm256_set1_epi16(1);
    [
        _mm256_add_epi32(sums[0], _mm256_madd_epi16(pairs[0], one)),
        _mm256_add_epi32(sums[1], _mm256_madd_epi16(pairs[1], one)),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_u8(sums: Halves, codes: Halves, x: [i8; 4]) -> Halves {
    let (x, middle) = (_mm256_set1_epi32(quad(x)), _mm256_set1_epi8(-128));
    // The sign of a code goes to the activation: two products are 32 512 at most.
    let signed = [_mm256_xor_si256(codes[0], middle), _mm256_xor_si256(codes[1], middle)];
    let pairs = [
        _mm256_maddubs_epi16(_mm256_abs_epi8(signed[0]), _mm256_sign_epi8(x, signed[0])),
        _mm256_maddubs_epi16(_mm256_abs_epi8(signed[1]), _mm256_sign_epi8(x, signed[1])),
    ];
    add_pairs(sums, pairs)
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn zeros(from: i16, zeros: &[u8; N_TILE_ROWS]) -> Halves {
    let (halves, _) = zeros.as_chunks::<8>();
    // SAFETY: half of `zeros` is eight readable bytes; the load needs no alignment.
    let low = unsafe { _mm_loadl_epi64(halves[0].as_ptr().cast()) };
    // SAFETY: as the lower half.
    let high = unsafe { _mm_loadl_epi64(halves[1].as_ptr().cast()) };
    let from = _mm256_set1_epi32(from.into());
    let low = _mm256_sub_epi32(from, _mm256_cvtepu8_epi32(low));
    let high = _mm256_sub_epi32(from, _mm256_cvtepu8_epi32(high));
    [twice(low), twice(high)]
}

/// The lower 16 bits of each lane in both of its halves.
#[inline]
#[target_feature(enable = "avx2")]
fn twice(lanes: __m256i) -> __m256i {
    let low = _mm256_and_si256(lanes, _mm256_set1_epi32(0xffff));
    _mm256_or_si256(low, _mm256_slli_epi32::<16>(lanes))
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn start(zeros: Halves, x: [i16; 2]) -> Halves {
    let x = _mm256_set1_epi32(pair(x));
    [_mm256_madd_epi16(zeros[0], x), _mm256_madd_epi16(zeros[1], x)]
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn to_f32(sums: Halves) -> Pair<F32x8> {
    Pair(F32x8(_mm256_cvtepi32_ps(sums[0])), F32x8(_mm256_cvtepi32_ps(sums[1])))
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn add(a: Halves, b: Halves) -> Halves {
    [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])]
}
