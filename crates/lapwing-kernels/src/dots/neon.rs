//! NEON with `sdot`: a vector is four registers.

use std::arch::aarch64::{
    int8x16_t, int16x4_t, int32x4_t, uint8x16_t, vaddq_s32, vandq_u8, vcvtq_f32_s32, vdup_n_s16,
    vdupq_n_s32, vdupq_n_u8, veorq_u8, vget_high_u8, vget_high_u16, vget_low_u8, vget_low_u16,
    vld1q_u8, vmovl_u8, vmull_n_s16, vreinterpret_s16_u16, vreinterpretq_s8_s32,
    vreinterpretq_s8_u8, vshrq_n_u8, vst1q_u8, vsub_s16,
};
use std::arch::asm;

use super::{Dots, operations, quad};
use crate::lanes::Pair;
use crate::lanes::neon::{F32x4, Neon};
use crate::tiles::N_TILE_ROWS;

/// The proof that the running CPU has NEON and its dot products.
#[derive(Clone, Copy)]
pub(crate) struct NeonDots(Neon);

impl NeonDots {
    /// For code that is compiled for these instructions: nothing else can call it safely.
    #[inline]
    #[target_feature(enable = "neon,dotprod")]
    pub(crate) fn here() -> NeonDots {
        NeonDots(Neon::here())
    }
}

impl Dots for NeonDots {
    type Lanes = Neon;
    type Bytes = [uint8x16_t; 4];
    type Chain = [int32x4_t; 4];
    type Sums = [int32x4_t; 4];
    type Zeros = [int16x4_t; 4];
    /// `sdot` takes both factors signed.
    const U8_ZERO: i16 = 128;
    const IS_WIDE: bool = false;

    #[inline(always)]
    fn lanes(self) -> Neon {
        self.0
    }

    operations! {
        fn load(self, from: &[u8; 64]) -> [uint8x16_t; 4] = load(from);
        fn store(self, bytes: [uint8x16_t; 4], to: &mut [u8; 64]) = store(bytes, to);
        fn nibbles(self, bytes: [uint8x16_t; 4]) -> ([uint8x16_t; 4], [uint8x16_t; 4]) =
            nibbles(bytes);
        fn chain(self) -> [int32x4_t; 4] = [vdupq_n_s32(0); 4];
        fn add_u4(self, chain: [int32x4_t; 4], codes: [uint8x16_t; 4], x: [i8; 4])
            -> [int32x4_t; 4] = dot(chain, codes, x);
        fn merge(self, a: [int32x4_t; 4], b: [int32x4_t; 4]) -> [int32x4_t; 4] = add(a, b);
        fn add_chain(self, sums: [int32x4_t; 4], chain: [int32x4_t; 4]) -> [int32x4_t; 4] =
            add(sums, chain);
        fn add_u8(self, sums: [int32x4_t; 4], codes: [uint8x16_t; 4], x: [i8; 4])
            -> [int32x4_t; 4] = dot(sums, signed(codes), x);
        fn add(self, a: [int32x4_t; 4], b: [int32x4_t; 4]) -> [int32x4_t; 4] = add(a, b);
        fn splat(self, x: i32) -> [int32x4_t; 4] = [vdupq_n_s32(x); 4];
        fn zeros(self, from: i16, zeros: &[u8; N_TILE_ROWS]) -> [int16x4_t; 4] =
            self::zeros(from, zeros);
        fn start(self, zeros: [int16x4_t; 4], x: [i16; 2]) -> [int32x4_t; 4] = start(zeros, x);
        fn to_f32(self, sums: [int32x4_t; 4]) -> Pair<Pair<F32x4>> = to_f32(sums);
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn load(from: &[u8; 64]) -> [uint8x16_t; 4] {
    let (parts, _) = from.as_chunks::<16>();
    let mut out = [vdupq_n_u8(0); 4];
    for (out, part) in out.iter_mut().zip(parts) {
        // SAFETY: `part` is sixteen readable bytes.
        *out = unsafe { vld1q_u8(part.as_ptr()) };
    }
    out
}

#[inline]
#[target_feature(enable = "neon")]
fn store(bytes: [uint8x16_t; 4], to: &mut [u8; 64]) {
    let (parts, _) = to.as_chunks_mut::<16>();
    for (part, bytes) in parts.iter_mut().zip(bytes) {
        // SAFETY: `part` is sixteen writable bytes.
        unsafe { vst1q_u8(part.as_mut_ptr(), bytes) }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn nibbles(bytes: [uint8x16_t; 4]) -> ([uint8x16_t; 4], [uint8x16_t; 4]) {
    let (mut low, mut high) = (bytes, bytes);
    for (low, high) in low.iter_mut().zip(&mut high) {
        *low = vandq_u8(*low, vdupq_n_u8(15));
        *high = vshrq_n_u8::<4>(*high);
    }
    (low, high)
}

#[inline]
#[target_feature(enable = "neon")]
fn signed(mut codes: [uint8x16_t; 4]) -> [uint8x16_t; 4] {
    for codes in &mut codes {
        *codes = veorq_u8(*codes, vdupq_n_u8(128));
    }
    codes
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot(mut sums: [int32x4_t; 4], codes: [uint8x16_t; 4], x: [i8; 4]) -> [int32x4_t; 4] {
    let x = vreinterpretq_s8_s32(vdupq_n_s32(quad(x)));
    for (sums, codes) in sums.iter_mut().zip(codes) {
        *sums = sdot(*sums, vreinterpretq_s8_u8(codes), x);
    }
    sums
}

/// The intrinsic is not stable, so the instruction itself.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction of `dotprod` on registers.
    unsafe {
        asm!("sdot {sums:v}.4s, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    sums
}

#[inline]
#[target_feature(enable = "neon")]
fn add(mut a: [int32x4_t; 4], b: [int32x4_t; 4]) -> [int32x4_t; 4] {
    for (a, b) in a.iter_mut().zip(b) {
        *a = vaddq_s32(*a, b);
    }
    a
}

#[inline]
#[target_feature(enable = "neon")]
fn zeros(from: i16, zeros: &[u8; N_TILE_ROWS]) -> [int16x4_t; 4] {
    // SAFETY: `zeros` is sixteen readable bytes.
    let zeros = unsafe { vld1q_u8(zeros.as_ptr()) };
    let (low, high) = (vmovl_u8(vget_low_u8(zeros)), vmovl_u8(vget_high_u8(zeros)));
    let quarters = [vget_low_u16(low), vget_high_u16(low), vget_low_u16(high), vget_high_u16(high)];
    let mut out = [vdup_n_s16(from); 4];
    for (out, zeros) in out.iter_mut().zip(quarters) {
        *out = vsub_s16(*out, vreinterpret_s16_u16(zeros));
    }
    out
}

#[inline]
#[target_feature(enable = "neon")]
fn start(zeros: [int16x4_t; 4], x: [i16; 2]) -> [int32x4_t; 4] {
    let mut out = [vdupq_n_s32(0); 4];
    for (out, zeros) in out.iter_mut().zip(zeros) {
        *out = vmull_n_s16(zeros, x[0] + x[1]);
    }
    out
}

#[inline]
#[target_feature(enable = "neon")]
fn to_f32([a, b, c, d]: [int32x4_t; 4]) -> Pair<Pair<F32x4>> {
    Pair(
        Pair(F32x4(vcvtq_f32_s32(a)), F32x4(vcvtq_f32_s32(b))),
        Pair(F32x4(vcvtq_f32_s32(c)), F32x4(vcvtq_f32_s32(d))),
    )
}
