//! AVX2: eight `f32` or four `f64` in a register.

use std::arch::x86_64::{
    __m256, __m256d, __m256i, _CMP_EQ_OQ, _CMP_GE_OQ, _CMP_GT_OQ, _CMP_LT_OQ, _CMP_NEQ_UQ,
    _mm_cvtsi128_si64, _mm_loadu_ps, _mm_loadu_si128, _mm_packs_epi16, _mm_packs_epi32,
    _mm256_add_epi32, _mm256_add_pd, _mm256_add_ps, _mm256_and_ps, _mm256_andnot_pd,
    _mm256_andnot_ps, _mm256_blendv_ps, _mm256_castps_si256, _mm256_castps256_ps128,
    _mm256_castsi256_ps, _mm256_castsi256_si128, _mm256_cmp_pd, _mm256_cmp_ps, _mm256_cvtph_ps,
    _mm256_cvtps_epi32, _mm256_cvtps_pd, _mm256_div_ps, _mm256_extractf128_ps,
    _mm256_extracti128_si256, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_movemask_pd,
    _mm256_movemask_ps, _mm256_mul_pd, _mm256_mul_ps, _mm256_or_ps, _mm256_set1_epi32,
    _mm256_set1_pd, _mm256_set1_ps, _mm256_setzero_si256, _mm256_slli_epi32, _mm256_storeu_pd,
    _mm256_storeu_ps, _mm256_storeu_si256, _mm256_sub_epi32, _mm256_sub_pd, _mm256_sub_ps,
};

use super::{
    EXPONENT_BIAS, F32Lanes, F64Lanes, Lanes, MaskLanes, Pair, arithmetic, logic, operations,
};

/// The proof that the running CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// For code that is compiled for these instructions: nothing else can call it safely.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(crate) fn here() -> Avx2 {
        Avx2(())
    }
}

impl Lanes for Avx2 {
    type Register = F32x8;
    type F32 = Pair<F32x8>;
    type F64 = Pair<Pair<F64x4>>;
    type Mask = Pair<Mask8>;
}

#[derive(Clone, Copy)]
pub(crate) struct F32x8(pub(crate) __m256);

#[derive(Clone, Copy)]
pub(crate) struct F64x4(__m256d);

/// All ones in the lanes that say yes.
#[derive(Clone, Copy)]
pub(crate) struct Mask8(__m256);

/// A `u32` for each lane.
#[derive(Clone, Copy)]
pub(crate) struct Tally8(__m256i);

arithmetic! { F32x8: _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps }
arithmetic! { F64x4: _mm256_add_pd, _mm256_sub_pd, _mm256_mul_pd }
logic! { Mask8: _mm256_and_ps, _mm256_or_ps }

impl F32Lanes for F32x8 {
    type Proof = Avx2;
    type F64 = Pair<F64x4>;
    type Mask = Mask8;
    const N: usize = 8;

    operations! {
        fn splat(_proof: Avx2, x: f32) -> Self = F32x8(_mm256_set1_ps(x));
        fn load(_proof: Avx2, from: &[f32]) -> Self = load(from);
        fn store(self, to: &mut [f32]) = store(self, to);
        fn load_f16(_proof: Avx2, from: &[[u8; 2]]) -> Self = load_f16(from);
        fn store_i8(self, to: &mut [i8]) = store_i8(self, to);
        fn mul_add(self, factor: Self, term: Self) -> Self =
            F32x8(_mm256_fmadd_ps(self.0, factor.0, term.0));
        fn div(self, other: Self) -> Self = F32x8(_mm256_div_ps(self.0, other.0));
        fn abs(self) -> Self = F32x8(_mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0));
        // The second operand is what `max_ps` gives for NaN.
        fn max(self, other: Self) -> Self = F32x8(_mm256_max_ps(self.0, other.0));
        fn largest(self) -> f32 = largest(self);
        fn power_of_two(self) -> Self = power_of_two(self);
        fn gt(self, other: Self) -> Mask8 = Mask8(_mm256_cmp_ps::<_CMP_GT_OQ>(self.0, other.0));
        fn ge(self, other: Self) -> Mask8 = Mask8(_mm256_cmp_ps::<_CMP_GE_OQ>(self.0, other.0));
        fn eq(self, other: Self) -> Mask8 = Mask8(_mm256_cmp_ps::<_CMP_EQ_OQ>(self.0, other.0));
        fn ne(self, other: Self) -> Mask8 = Mask8(_mm256_cmp_ps::<_CMP_NEQ_UQ>(self.0, other.0));
        fn is_finite(self) -> Mask8 = is_finite(self);
        fn select(mask: Mask8, yes: Self, no: Self) -> Self =
            F32x8(_mm256_blendv_ps(no.0, yes.0, mask.0));
        fn keep(self, mask: Mask8) -> Self = F32x8(_mm256_and_ps(self.0, mask.0));
        fn widen(self) -> Pair<F64x4> = widen(self);
    }
}

impl F64Lanes for F64x4 {
    type Proof = Avx2;
    const N: usize = 4;

    operations! {
        fn splat(_proof: Avx2, x: f64) -> Self = F64x4(_mm256_set1_pd(x));
        fn load_wide(_proof: Avx2, from: &[f32]) -> Self = load_wide(from);
        fn store(self, to: &mut [f64]) = store_f64(self, to);
        fn is_all_finite(self) -> bool = is_all_finite(self);
    }
}

impl MaskLanes for Mask8 {
    type Proof = Avx2;
    type Tally = Tally8;
    const N: usize = 8;
    const IS_BITS: bool = false;

    operations! {
        fn all(self) -> bool = _mm256_movemask_ps(self.0) == 0xff;
        fn any(self) -> bool = _mm256_movemask_ps(self.0) != 0;
        fn bits(self) -> u64 = u64::from(_mm256_movemask_ps(self.0).cast_unsigned());
        fn no_tally(_proof: Avx2) -> Tally8 = Tally8(_mm256_setzero_si256());
        fn add_to(self, tally: Tally8) -> Tally8 = add_to(self, tally);
        fn total(tally: Tally8) -> usize = total(tally);
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load(from: &[f32]) -> F32x8 {
    let from: &[f32; 8] = from.try_into().expect("eight lanes");
    // SAFETY: `from` is eight readable f32; `loadu` needs no alignment.
    F32x8(unsafe { _mm256_loadu_ps(from.as_ptr()) })
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_f16(from: &[[u8; 2]]) -> F32x8 {
    let from: &[[u8; 2]; 8] = from.try_into().expect("eight lanes");
    // SAFETY: `from` is sixteen readable bytes; `loadu` needs no alignment.
    F32x8(_mm256_cvtph_ps(unsafe { _mm_loadu_si128(from.as_ptr().cast()) }))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store_i8(lanes: F32x8, to: &mut [i8]) {
    let to: &mut [i8; 8] = to.try_into().expect("eight lanes");
    let wide = _mm256_cvtps_epi32(lanes.0);
    let narrow = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256::<1>(wide));
    let bytes = _mm_packs_epi16(narrow, narrow);
    *to = _mm_cvtsi128_si64(bytes).to_le_bytes().map(u8::cast_signed);
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_wide(from: &[f32]) -> F64x4 {
    let from: &[f32; 4] = from.try_into().expect("four lanes");
    // SAFETY: `from` is four readable f32; `loadu` needs no alignment.
    let lanes = unsafe { _mm_loadu_ps(from.as_ptr()) };
    F64x4(_mm256_cvtps_pd(lanes))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store(lanes: F32x8, to: &mut [f32]) {
    let to: &mut [f32; 8] = to.try_into().expect("eight lanes");
    // SAFETY: `to` is eight writable f32; `storeu` needs no alignment.
    unsafe { _mm256_storeu_ps(to.as_mut_ptr(), lanes.0) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store_f64(lanes: F64x4, to: &mut [f64]) {
    let to: &mut [f64; 4] = to.try_into().expect("four lanes");
    // SAFETY: `to` is four writable f64; `storeu` needs no alignment.
    unsafe { _mm256_storeu_pd(to.as_mut_ptr(), lanes.0) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn largest(lanes: F32x8) -> f32 {
    let mut out = [0.0; 8];
    store(lanes, &mut out);
    out.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn power_of_two(shifted: F32x8) -> F32x8 {
    let bias = _mm256_set1_epi32(EXPONENT_BIAS);
    let exponent = _mm256_add_epi32(_mm256_castps_si256(shifted.0), bias);
    F32x8(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn is_finite(x: F32x8) -> Mask8 {
    let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), x.0);
    Mask8(_mm256_cmp_ps::<_CMP_LT_OQ>(magnitude, _mm256_set1_ps(f32::INFINITY)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn is_all_finite(x: F64x4) -> bool {
    let magnitude = _mm256_andnot_pd(_mm256_set1_pd(-0.0), x.0);
    let is_finite = _mm256_cmp_pd::<_CMP_LT_OQ>(magnitude, _mm256_set1_pd(f64::INFINITY));
    _mm256_movemask_pd(is_finite) == 0b1111
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn widen(x: F32x8) -> Pair<F64x4> {
    let low = _mm256_cvtps_pd(_mm256_castps256_ps128(x.0));
    let high = _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(x.0));
    Pair(F64x4(low), F64x4(high))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_to(mask: Mask8, tally: Tally8) -> Tally8 {
    // All ones is minus one.
    Tally8(_mm256_sub_epi32(tally.0, _mm256_castps_si256(mask.0)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn total(tally: Tally8) -> usize {
    let mut out = [0u32; 8];
    // SAFETY: `out` is eight writable u32; `storeu` needs no alignment.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), tally.0) }
    out.into_iter().sum::<u32>() as usize
}
