//! AVX-512: sixteen `f32` or eight `f64` in a register.

use std::arch::x86_64::{
    __m512, __m512d, __m512i, __mmask8, __mmask16, _CMP_EQ_OQ, _CMP_GE_OQ, _CMP_GT_OQ, _CMP_LT_OQ,
    _CMP_NEQ_UQ, _kand_mask16, _kor_mask16, _mm_storeu_si128, _mm256_castpd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm512_abs_pd, _mm512_abs_ps, _mm512_add_epi32, _mm512_add_pd,
    _mm512_add_ps, _mm512_castps_pd, _mm512_castps_si512, _mm512_castps512_ps256,
    _mm512_castsi512_ps, _mm512_cmp_pd_mask, _mm512_cmp_ps_mask, _mm512_cvtepi32_epi8,
    _mm512_cvtph_ps, _mm512_cvtps_epi32, _mm512_cvtps_pd, _mm512_div_ps, _mm512_extractf64x4_pd,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_add_epi32, _mm512_mask_mov_ps,
    _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_mul_pd, _mm512_mul_ps, _mm512_reduce_add_epi32,
    _mm512_reduce_max_ps, _mm512_set1_epi32, _mm512_set1_pd, _mm512_set1_ps, _mm512_setzero_si512,
    _mm512_slli_epi32, _mm512_storeu_pd, _mm512_storeu_ps, _mm512_sub_pd, _mm512_sub_ps,
};

use super::{
    EXPONENT_BIAS, F32Lanes, F64Lanes, Lanes, MaskLanes, Pair, arithmetic, logic, operations,
};

/// The proof that the running CPU has the foundation of AVX-512.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// For code that is compiled for these instructions: nothing else can call it safely.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn here() -> Avx512 {
        Avx512(())
    }
}

impl Lanes for Avx512 {
    type Register = F32x16;
    type F32 = F32x16;
    type F64 = Pair<F64x8>;
    type Mask = Mask16;
}

#[derive(Clone, Copy)]
pub(crate) struct F32x16(pub(crate) __m512);

#[derive(Clone, Copy)]
pub(crate) struct F64x8(__m512d);

#[derive(Clone, Copy)]
pub(crate) struct Mask16(__mmask16);

/// A `u32` for each lane.
#[derive(Clone, Copy)]
pub(crate) struct Tally16(__m512i);

arithmetic! { F32x16: _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps }
arithmetic! { F64x8: _mm512_add_pd, _mm512_sub_pd, _mm512_mul_pd }
logic! { Mask16: _kand_mask16, _kor_mask16 }

impl F32Lanes for F32x16 {
    type Proof = Avx512;
    type F64 = Pair<F64x8>;
    type Mask = Mask16;
    const N: usize = 16;

    operations! {
        fn splat(_proof: Avx512, x: f32) -> Self = F32x16(_mm512_set1_ps(x));
        fn load(_proof: Avx512, from: &[f32]) -> Self = load(from);
        fn store(self, to: &mut [f32]) = store(self, to);
        fn load_f16(_proof: Avx512, from: &[[u8; 2]]) -> Self = load_f16(from);
        fn store_i8(self, to: &mut [i8]) = store_i8(self, to);
        fn mul_add(self, factor: Self, term: Self) -> Self =
            F32x16(_mm512_fmadd_ps(self.0, factor.0, term.0));
        fn div(self, other: Self) -> Self = F32x16(_mm512_div_ps(self.0, other.0));
        fn abs(self) -> Self = F32x16(_mm512_abs_ps(self.0));
        // The second operand is what `max_ps` gives for NaN.
        fn max(self, other: Self) -> Self = F32x16(_mm512_max_ps(self.0, other.0));
        fn largest(self) -> f32 = _mm512_reduce_max_ps(self.0);
        fn power_of_two(self) -> Self = power_of_two(self);
        fn gt(self, other: Self) -> Mask16 =
            Mask16(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0));
        fn ge(self, other: Self) -> Mask16 =
            Mask16(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(self.0, other.0));
        fn eq(self, other: Self) -> Mask16 =
            Mask16(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, other.0));
        fn ne(self, other: Self) -> Mask16 =
            Mask16(_mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(self.0, other.0));
        fn is_finite(self) -> Mask16 = is_finite(self);
        fn select(mask: Mask16, yes: Self, no: Self) -> Self =
            F32x16(_mm512_mask_mov_ps(no.0, mask.0, yes.0));
        fn keep(self, mask: Mask16) -> Self = F32x16(_mm512_maskz_mov_ps(mask.0, self.0));
        fn widen(self) -> Pair<F64x8> = widen(self);
    }
}

impl F64Lanes for F64x8 {
    type Proof = Avx512;
    const N: usize = 8;

    operations! {
        fn splat(_proof: Avx512, x: f64) -> Self = F64x8(_mm512_set1_pd(x));
        fn load_wide(_proof: Avx512, from: &[f32]) -> Self = load_wide(from);
        fn store(self, to: &mut [f64]) = store_f64(self, to);
        fn is_all_finite(self) -> bool = is_all_finite(self);
    }
}

impl MaskLanes for Mask16 {
    type Proof = Avx512;
    type Tally = Tally16;
    const N: usize = 16;
    const IS_BITS: bool = true;

    #[inline(always)]
    fn all(self) -> bool {
        self.0 == __mmask16::MAX
    }

    #[inline(always)]
    fn any(self) -> bool {
        self.0 != 0
    }

    #[inline(always)]
    fn bits(self) -> u64 {
        u64::from(self.0)
    }

    operations! {
        fn no_tally(_proof: Avx512) -> Tally16 = Tally16(_mm512_setzero_si512());
        fn add_to(self, tally: Tally16) -> Tally16 = add_to(self, tally);
        fn total(tally: Tally16) -> usize =
            _mm512_reduce_add_epi32(tally.0).cast_unsigned() as usize;
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(from: &[f32]) -> F32x16 {
    let from: &[f32; 16] = from.try_into().expect("sixteen lanes");
    // SAFETY: `from` is sixteen readable f32; `loadu` needs no alignment.
    F32x16(unsafe { _mm512_loadu_ps(from.as_ptr()) })
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_f16(from: &[[u8; 2]]) -> F32x16 {
    let from: &[[u8; 2]; 16] = from.try_into().expect("sixteen lanes");
    // SAFETY: `from` is 32 readable bytes; `loadu` needs no alignment.
    F32x16(_mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_i8(lanes: F32x16, to: &mut [i8]) {
    let to: &mut [i8; 16] = to.try_into().expect("sixteen lanes");
    let bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(lanes.0));
    // SAFETY: `to` is sixteen writable bytes; `storeu` needs no alignment.
    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), bytes) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_wide(from: &[f32]) -> F64x8 {
    let from: &[f32; 8] = from.try_into().expect("eight lanes");
    // SAFETY: `from` is eight readable f32; `loadu` needs no alignment.
    let lanes = unsafe { _mm256_loadu_ps(from.as_ptr()) };
    F64x8(_mm512_cvtps_pd(lanes))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(lanes: F32x16, to: &mut [f32]) {
    let to: &mut [f32; 16] = to.try_into().expect("sixteen lanes");
    // SAFETY: `to` is sixteen writable f32; `storeu` needs no alignment.
    unsafe { _mm512_storeu_ps(to.as_mut_ptr(), lanes.0) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_f64(lanes: F64x8, to: &mut [f64]) {
    let to: &mut [f64; 8] = to.try_into().expect("eight lanes");
    // SAFETY: `to` is eight writable f64; `storeu` needs no alignment.
    unsafe { _mm512_storeu_pd(to.as_mut_ptr(), lanes.0) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn power_of_two(shifted: F32x16) -> F32x16 {
    let bias = _mm512_set1_epi32(EXPONENT_BIAS);
    let exponent = _mm512_add_epi32(_mm512_castps_si512(shifted.0), bias);
    F32x16(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent)))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn is_finite(x: F32x16) -> Mask16 {
    let infinity = _mm512_set1_ps(f32::INFINITY);
    Mask16(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(_mm512_abs_ps(x.0), infinity))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn is_all_finite(x: F64x8) -> bool {
    let infinity = _mm512_set1_pd(f64::INFINITY);
    _mm512_cmp_pd_mask::<_CMP_LT_OQ>(_mm512_abs_pd(x.0), infinity) == __mmask8::MAX
}

#[inline]
#[target_feature(enable = "avx512f")]
fn widen(x: F32x16) -> Pair<F64x8> {
    let low = _mm512_castps512_ps256(x.0);
    let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x.0)));
    Pair(F64x8(_mm512_cvtps_pd(low)), F64x8(_mm512_cvtps_pd(high)))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add_to(mask: Mask16, tally: Tally16) -> Tally16 {
    Tally16(_mm512_mask_add_epi32(tally.0, mask.0, tally.0, _mm512_set1_epi32(1)))
}
