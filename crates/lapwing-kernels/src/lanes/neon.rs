//! NEON: four `f32` or two `f64` in a register.

use std::arch::aarch64::{
    float32x4_t, float64x2_t, uint32x4_t, vabsq_f32, vaddlvq_u32, vaddq_f32, vaddq_f64, vaddq_s32,
    vaddvq_u32, vandq_u32, vbslq_f32, vcaltq_f32, vcaltq_f64, vceqq_f32, vcgeq_f32, vcgtq_f32,
    vcombine_u32, vcreate_u16, vcreate_u32, vcvt_f64_f32, vcvt_high_f64_f32, vcvtq_s32_f32,
    vdivq_f32, vdupq_n_f32, vdupq_n_f64, vdupq_n_s32, vdupq_n_u32, vfmaq_f32, vget_low_f32,
    vld1_f32, vld1q_f32, vmaxnmq_f32, vmaxnmvq_f32, vmaxvq_u32, vminvq_u32, vmulq_f32, vmulq_f64,
    vmvnq_u32, vorrq_u32, vreinterpretq_f32_s32, vreinterpretq_f32_u32, vreinterpretq_s32_f32,
    vreinterpretq_u32_f32, vreinterpretq_u32_u64, vshlq_n_s32, vst1q_f32, vst1q_f64, vst1q_s32,
    vsubq_f32, vsubq_f64, vsubq_u32,
};
use std::arch::asm;

use super::{
    EXPONENT_BIAS, F32Lanes, F64Lanes, Lanes, MaskLanes, Pair, arithmetic, logic, operations,
};

/// The proof that the running CPU has NEON.
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

impl Neon {
    /// For code that is compiled for these instructions: nothing else can call it safely.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(crate) fn here() -> Neon {
        Neon(())
    }
}

impl Lanes for Neon {
    type Register = F32x4;
    type F32 = Pair<Pair<F32x4>>;
    type F64 = Pair<Pair<Pair<F64x2>>>;
    type Mask = Pair<Pair<Mask4>>;
}

#[derive(Clone, Copy)]
pub(crate) struct F32x4(pub(crate) float32x4_t);

#[derive(Clone, Copy)]
pub(crate) struct F64x2(float64x2_t);

/// All ones in the lanes that say yes.
#[derive(Clone, Copy)]
pub(crate) struct Mask4(uint32x4_t);

/// A `u32` for each lane.
#[derive(Clone, Copy)]
pub(crate) struct Tally4(uint32x4_t);

arithmetic! { F32x4: vaddq_f32, vsubq_f32, vmulq_f32 }
arithmetic! { F64x2: vaddq_f64, vsubq_f64, vmulq_f64 }
logic! { Mask4: vandq_u32, vorrq_u32 }

impl F32Lanes for F32x4 {
    type Proof = Neon;
    type F64 = Pair<F64x2>;
    type Mask = Mask4;
    const N: usize = 4;

    operations! {
        fn splat(_proof: Neon, x: f32) -> Self = F32x4(vdupq_n_f32(x));
        fn load(_proof: Neon, from: &[f32]) -> Self = load(from);
        fn store(self, to: &mut [f32]) = store(self, to);
        fn load_f16(_proof: Neon, from: &[[u8; 2]]) -> Self = load_f16(from);
        fn store_i8(self, to: &mut [i8]) = store_i8(self, to);
        fn mul_add(self, factor: Self, term: Self) -> Self =
            F32x4(vfmaq_f32(term.0, self.0, factor.0));
        fn div(self, other: Self) -> Self = F32x4(vdivq_f32(self.0, other.0));
        fn abs(self) -> Self = F32x4(vabsq_f32(self.0));
        // `maxnm` gives the other one for NaN.
        fn max(self, other: Self) -> Self = F32x4(vmaxnmq_f32(self.0, other.0));
        fn largest(self) -> f32 = vmaxnmvq_f32(self.0);
        fn power_of_two(self) -> Self = power_of_two(self);
        fn gt(self, other: Self) -> Mask4 = Mask4(vcgtq_f32(self.0, other.0));
        fn ge(self, other: Self) -> Mask4 = Mask4(vcgeq_f32(self.0, other.0));
        fn eq(self, other: Self) -> Mask4 = Mask4(vceqq_f32(self.0, other.0));
        fn ne(self, other: Self) -> Mask4 = ne(self, other);
        fn is_finite(self) -> Mask4 = is_finite(self);
        fn select(mask: Mask4, yes: Self, no: Self) -> Self =
            F32x4(vbslq_f32(mask.0, yes.0, no.0));
        fn keep(self, mask: Mask4) -> Self = keep(self, mask);
        fn widen(self) -> Pair<F64x2> = widen(self);
    }
}

impl F64Lanes for F64x2 {
    type Proof = Neon;
    const N: usize = 2;

    operations! {
        fn splat(_proof: Neon, x: f64) -> Self = F64x2(vdupq_n_f64(x));
        fn load_wide(_proof: Neon, from: &[f32]) -> Self = load_wide(from);
        fn store(self, to: &mut [f64]) = store_f64(self, to);
        fn is_all_finite(self) -> bool = is_all_finite(self);
    }
}

impl MaskLanes for Mask4 {
    type Proof = Neon;
    type Tally = Tally4;
    const N: usize = 4;
    const IS_BITS: bool = false;

    operations! {
        fn all(self) -> bool = vminvq_u32(self.0) == u32::MAX;
        fn any(self) -> bool = vmaxvq_u32(self.0) != 0;
        fn bits(self) -> u64 = bits(self);
        fn no_tally(_proof: Neon) -> Tally4 = Tally4(vdupq_n_u32(0));
        // All ones is minus one.
        fn add_to(self, tally: Tally4) -> Tally4 = Tally4(vsubq_u32(tally.0, self.0));
        fn total(tally: Tally4) -> usize = vaddlvq_u32(tally.0) as usize;
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn load(from: &[f32]) -> F32x4 {
    let from: &[f32; 4] = from.try_into().expect("four lanes");
    // SAFETY: `from` is four readable f32.
    F32x4(unsafe { vld1q_f32(from.as_ptr()) })
}

#[inline]
#[target_feature(enable = "neon")]
fn load_f16(from: &[[u8; 2]]) -> F32x4 {
    let from: &[[u8; 2]; 4] = from.try_into().expect("four lanes");
    // The type of the intrinsics is not stable, so the instruction itself.
    let packed = vcreate_u16(u64::from_le_bytes(*from.as_flattened().first_chunk().expect("8")));
    let wide: float32x4_t;
    // SAFETY: one instruction of NEON on registers.
    unsafe {
        asm!("fcvtl {wide:v}.4s, {packed:v}.4h", wide = out(vreg) wide, packed = in(vreg) packed,
            options(pure, nomem, nostack, preserves_flags));
    }
    F32x4(wide)
}

#[inline]
#[target_feature(enable = "neon")]
fn store_i8(lanes: F32x4, to: &mut [i8]) {
    let to: &mut [i8; 4] = to.try_into().expect("four lanes");
    let mut wide = [0; 4];
    // SAFETY: `wide` is four writable i32.
    unsafe { vst1q_s32(wide.as_mut_ptr(), vcvtq_s32_f32(lanes.0)) }
    *to = wide.map(|x: i32| x as i8);
}

#[inline]
#[target_feature(enable = "neon")]
fn load_wide(from: &[f32]) -> F64x2 {
    let from: &[f32; 2] = from.try_into().expect("two lanes");
    // SAFETY: `from` is two readable f32.
    let lanes = unsafe { vld1_f32(from.as_ptr()) };
    F64x2(vcvt_f64_f32(lanes))
}

#[inline]
#[target_feature(enable = "neon")]
fn store(lanes: F32x4, to: &mut [f32]) {
    let to: &mut [f32; 4] = to.try_into().expect("four lanes");
    // SAFETY: `to` is four writable f32.
    unsafe { vst1q_f32(to.as_mut_ptr(), lanes.0) }
}

#[inline]
#[target_feature(enable = "neon")]
fn store_f64(lanes: F64x2, to: &mut [f64]) {
    let to: &mut [f64; 2] = to.try_into().expect("two lanes");
    // SAFETY: `to` is two writable f64.
    unsafe { vst1q_f64(to.as_mut_ptr(), lanes.0) }
}

#[inline]
#[target_feature(enable = "neon")]
fn power_of_two(shifted: F32x4) -> F32x4 {
    let exponent = vaddq_s32(vreinterpretq_s32_f32(shifted.0), vdupq_n_s32(EXPONENT_BIAS));
    F32x4(vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent)))
}

#[inline]
#[target_feature(enable = "neon")]
fn ne(a: F32x4, b: F32x4) -> Mask4 {
    Mask4(vmvnq_u32(vceqq_f32(a.0, b.0)))
}

#[inline]
#[target_feature(enable = "neon")]
fn is_finite(x: F32x4) -> Mask4 {
    // Less than, of magnitudes.
    Mask4(vcaltq_f32(x.0, vdupq_n_f32(f32::INFINITY)))
}

#[inline]
#[target_feature(enable = "neon")]
fn is_all_finite(x: F64x2) -> bool {
    let is_finite = vcaltq_f64(x.0, vdupq_n_f64(f64::INFINITY));
    vminvq_u32(vreinterpretq_u32_u64(is_finite)) == u32::MAX
}

#[inline]
#[target_feature(enable = "neon")]
fn keep(x: F32x4, mask: Mask4) -> F32x4 {
    F32x4(vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x.0), mask.0)))
}

#[inline]
#[target_feature(enable = "neon")]
fn widen(x: F32x4) -> Pair<F64x2> {
    Pair(F64x2(vcvt_f64_f32(vget_low_f32(x.0))), F64x2(vcvt_high_f64_f32(x.0)))
}

#[inline]
#[target_feature(enable = "neon")]
fn bits(mask: Mask4) -> u64 {
    // There is no instruction for it: a bit for each lane, added.
    let lane_bits = vcombine_u32(vcreate_u32(1 | 2 << 32), vcreate_u32(4 | 8 << 32));
    u64::from(vaddvq_u32(vandq_u32(mask.0, lane_bits)))
}
