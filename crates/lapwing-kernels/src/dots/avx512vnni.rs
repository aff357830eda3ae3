//! AVX-512 with `vpdpbusd`: a vector is one register.

use std::arch::x86_64::{
    __m512i, _mm_loadu_si128, _mm512_add_epi32, _mm512_and_si512, _mm512_cvtepi32_ps,
    _mm512_cvtepu8_epi32, _mm512_dpbusd_epi32, _mm512_dpwssd_epi32, _mm512_loadu_si512,
    _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_slli_epi32,
    _mm512_srli_epi32, _mm512_storeu_si512, _mm512_sub_epi32,
};

use super::{Dots, operations, pair, quad};
use crate::lanes::avx512::{Avx512, F32x16};
use crate::tiles::N_TILE_ROWS;

/// The proof that the running CPU has the foundation of AVX-512 and its VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Avx512Vnni(Avx512);

impl Avx512Vnni {
    /// For code that is compiled for these instructions: nothing else can call it safely.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(crate) fn here() -> Avx512Vnni {
        Avx512Vnni(Avx512::here())
    }
}

impl Dots for Avx512Vnni {
    type Lanes = Avx512;
    type Bytes = __m512i;
    type Chain = __m512i;
    type Sums = __m512i;
    /// Twice in each lane, as 16 bits.
    type Zeros = __m512i;
    const U8_ZERO: i16 = 0;
    const IS_WIDE: bool = true;

    #[inline(always)]
    fn lanes(self) -> Avx512 {
        self.0
    }

    operations! {
        fn load(self, from: &[u8; 64]) -> __m512i = load(from);
        fn store(self, bytes: __m512i, to: &mut [u8; 64]) = store(bytes, to);
        fn nibbles(self, bytes: __m512i) -> (__m512i, __m512i) = nibbles(bytes);
        fn chain(self) -> __m512i = _mm512_setzero_si512();
        fn add_u4(self, chain: __m512i, codes: __m512i, x: [i8; 4]) -> __m512i = dot(chain, codes, x);
        fn merge(self, a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi32(a, b);
        fn add_chain(self, sums: __m512i, chain: __m512i) -> __m512i = _mm512_add_epi32(sums, chain);
        fn add_u8(self, sums: __m512i, codes: __m512i, x: [i8; 4]) -> __m512i = dot(sums, codes, x);
        fn add(self, a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi32(a, b);
        fn splat(self, x: i32) -> __m512i = _mm512_set1_epi32(x);
        fn zeros(self, from: i16, zeros: &[u8; N_TILE_ROWS]) -> __m512i = self::zeros(from, zeros);
        fn start(self, zeros: __m512i, x: [i16; 2]) -> __m512i = start(zeros, x);
        fn to_f32(self, sums: __m512i) -> F32x16 = F32x16(_mm512_cvtepi32_ps(sums));
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn load(from: &[u8; 64]) -> __m512i {
    // SAFETY: `from` is 64 readable bytes; `loadu` needs no alignment.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn store(bytes: __m512i, to: &mut [u8; 64]) {
    // SAFETY: `to` is 64 writable bytes; `storeu` needs no alignment.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), bytes) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn nibbles(bytes: __m512i) -> (__m512i, __m512i) {
    let low = _mm512_set1_epi8(15);
    (_mm512_and_si512(bytes, low), _mm512_and_si512(_mm512_srli_epi32::<4>(bytes), low))
}

#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn dot(sums: __m512i, codes: __m512i, x: [i8; 4]) -> __m512i {
    _mm512_dpbusd_epi32(sums, codes, _mm512_set1_epi32(quad(x)))
}

#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn zeros(from: i16, zeros: &[u8; N_TILE_ROWS]) -> __m512i {
    // SAFETY: `zeros` is sixteen readable bytes; `loadu` needs no alignment.
    let zeros = unsafe { _mm_loadu_si128(zeros.as_ptr().cast()) };
    let zeros = _mm512_sub_epi32(_mm512_set1_epi32(from.into()), _mm512_cvtepu8_epi32(zeros));
    let low = _mm512_and_si512(zeros, _mm512_set1_epi32(0xffff));
    _mm512_or_si512(low, _mm512_slli_epi32::<16>(zeros))
}

#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn start(zeros: __m512i, x: [i16; 2]) -> __m512i {
    _mm512_dpwssd_epi32(_mm512_setzero_si512(), zeros, _mm512_set1_epi32(pair(x)))
}
