//! Sixteen lanes at a time: what the loops of the kernels are written over.
//!
//! A loop takes an `L: Lanes` and works on vectors of sixteen `f32`. How many
//! registers that takes is the level's affair: one of AVX-512, a [`Pair`] of
//! AVX2, a pair of pairs of NEON. So there is one algorithm, and one order of
//! additions, for all levels. Pairs go on upwards: a [`Block`] is four vectors,
//! for loops that would leave the CPU's pipelines empty. And where entries have
//! nothing to do with each other but much is done to each, a loop takes
//! [`Lanes::Register`], so that all of it stays in registers.
//!
//! A value of `L` is the proof that the running CPU has the instructions: only
//! code compiled for them can make one (see `dispatch!`), and every vector is
//! made with one. Operations, loops and closures over lanes are
//! `#[inline(always)]`: what ends up outside of such code would be calls.
//!
//! No operation is fused but [`F32Lanes::mul_add`], and all of them say what they
//! do with NaN: the same lanes give the same bits on every level.
//!
//! One more operation: a line in its trait, in `pair.rs` and in the file of each
//! level; `tests.rs` compares them all with plain code. One more type of lanes:
//! a trait beside [`F32Lanes`] and a type of [`Lanes`]. One more level: its
//! file, with registers of a width that divides sixteen, and its arms in
//! `level.rs`. An instruction that changes the algorithm (a dot product) is an
//! operation that other levels do in steps; only where that costs too much
//! does a kernel get a loop for one level.

use std::ops::{Add, BitAnd, BitOr, Mul, Sub};
use std::slice::{ChunksExact, ChunksExactMut};

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(test)]
pub(crate) mod emulated;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
mod pair;
#[cfg(test)]
mod tests;

pub(crate) use pair::Pair;

/// How many lanes a vector has, on every level.
pub(crate) const N_LANES: usize = 16;

/// Four vectors as one.
pub(crate) type Block<L> = Pair<Pair<<L as Lanes>::F32>>;

/// How many lanes a [`Block`] has.
pub(crate) const N_BLOCK: usize = 4 * N_LANES;

/// 1.5 * 2^23: the sum with a number below 2^22 has no fraction bits left, and
/// has that number, rounded, in its low mantissa bits.
pub(crate) const ROUND: f32 = 12_582_912.0;
pub(crate) const EXPONENT_BIAS: i32 = 127;
pub(crate) const N_MANTISSA_BITS: u32 = 23;

/// The vectors of a level, and the proof that the CPU has it.
pub(crate) trait Lanes: Copy {
    /// What one register holds.
    type Register: F32Lanes<Proof = Self>;
    type F32: F32Lanes<Proof = Self, F64 = Self::F64, Mask = Self::Mask>;
    type F64: F64Lanes<Proof = Self>;
    type Mask: MaskLanes<Proof = Self>;

    /// `x` in every lane.
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F32 {
        Self::F32::splat(self, x)
    }

    #[inline(always)]
    fn load(self, from: &[f32; N_LANES]) -> Self::F32 {
        Self::F32::load(self, from)
    }

    /// `x` in every lane.
    #[inline(always)]
    fn splat_f64(self, x: f64) -> Self::F64 {
        Self::F64::splat(self, x)
    }

    #[inline(always)]
    fn to_array(self, lanes: Self::F64) -> [f64; N_LANES] {
        let mut out = [0.0; N_LANES];
        lanes.store(&mut out);
        out
    }
}

/// A row in parts that fill a vector `V`, and what is left of it.
#[inline(always)]
pub(crate) fn whole<V: F32Lanes>(row: &[f32]) -> (ChunksExact<'_, f32>, &[f32]) {
    let (whole, tail) = row.split_at(row.len() - row.len() % V::N);
    (whole.chunks_exact(V::N), tail)
}

/// [`whole`], to write.
#[inline(always)]
pub(crate) fn whole_mut<V: F32Lanes>(row: &mut [f32]) -> (ChunksExactMut<'_, f32>, &mut [f32]) {
    let (whole, tail) = row.split_at_mut(row.len() - row.len() % V::N);
    (whole.chunks_exact_mut(V::N), tail)
}

/// `f32` side by side; arithmetic is lane by lane, each result rounded.
pub(crate) trait F32Lanes:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self>
{
    type Proof: Copy;
    type F64: F64Lanes<Proof = Self::Proof>;
    type Mask: MaskLanes<Proof = Self::Proof>;
    const N: usize;

    /// `x` in every lane.
    fn splat(proof: Self::Proof, x: f32) -> Self;
    /// The slice has as many entries as there are lanes, or this panics.
    fn load(proof: Self::Proof, from: &[f32]) -> Self;
    /// The slice has as many entries as there are lanes, or this panics.
    fn store(self, to: &mut [f32]);
    /// Sixteen bits a lane, as their two bytes: see `f16.rs`. The slice has as many
    /// entries as there are lanes, or this panics.
    fn load_f16(proof: Self::Proof, from: &[[u8; 2]]) -> Self;
    /// Lanes that are whole numbers from -128 to 127. The slice has as many entries
    /// as there are lanes, or this panics.
    fn store_i8(self, to: &mut [i8]);
    /// `self * factor + term`, rounded once.
    fn mul_add(self, factor: Self, term: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn abs(self) -> Self;
    /// The larger; `other`, which is never NaN, where `self` is NaN. Of two zeros either.
    fn max(self, other: Self) -> Self;
    /// The largest of the lanes, none of which is NaN.
    fn largest(self) -> f32;
    /// `2^n` where a lane is `n + ROUND`, with a whole `n`.
    fn power_of_two(self) -> Self;
    /// `self > other`; not where one is NaN.
    fn gt(self, other: Self) -> Self::Mask;
    /// `self >= other`; not where one is NaN.
    fn ge(self, other: Self) -> Self::Mask;
    /// `self == other`; not where one is NaN.
    fn eq(self, other: Self) -> Self::Mask;
    /// `self != other`, also where one is NaN.
    fn ne(self, other: Self) -> Self::Mask;
    /// Neither NaN nor an infinity.
    fn is_finite(self) -> Self::Mask;
    /// `yes` in the lanes of the mask, `no` in the others.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    /// 0.0 in the lanes outside of the mask.
    fn keep(self, mask: Self::Mask) -> Self;
    /// The same numbers as `f64`.
    fn widen(self) -> Self::F64;
}

/// `f64` side by side; arithmetic is lane by lane, each result rounded.
pub(crate) trait F64Lanes:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self>
{
    type Proof: Copy;
    const N: usize;

    /// `x` in every lane.
    fn splat(proof: Self::Proof, x: f64) -> Self;
    /// Load and widen in one: cheaper than [`F32Lanes::widen`]. The slice has as
    /// many entries as there are lanes, or this panics.
    fn load_wide(proof: Self::Proof, from: &[f32]) -> Self;
    /// The slice has as many entries as there are lanes, or this panics.
    fn store(self, to: &mut [f64]);
    /// Whether no lane is NaN or an infinity. The lanes may be added to find
    /// out, so finite ones whose sum overflows may count as well.
    fn is_all_finite(self) -> bool;
}

/// Yes or no for every lane.
pub(crate) trait MaskLanes: Copy + BitAnd<Output = Self> + BitOr<Output = Self> {
    type Proof: Copy;
    /// How many lanes said yes, in a counter of 32 bits for each.
    type Tally: Copy;
    const N: usize;

    /// Whether the level has its masks as bits anyway.
    const IS_BITS: bool;

    fn all(self) -> bool;
    fn any(self) -> bool;
    /// Bit `i` is lane `i`.
    fn bits(self) -> u64;
    /// [`MaskLanes::bits`], cheaper where there seldom are any.
    #[inline(always)]
    fn bits_if_any(self) -> u64 {
        if Self::IS_BITS || self.any() { self.bits() } else { 0 }
    }
    fn no_tally(proof: Self::Proof) -> Self::Tally;
    /// The tally with the lanes of this mask that say yes.
    fn add_to(self, tally: Self::Tally) -> Self::Tally;
    /// It is below 2^32.
    fn total(tally: Self::Tally) -> usize;
}

/// Methods that are one call of what only this level's CPUs have.
#[allow(unused_macros, reason = "an architecture without levels has no use for it")]
macro_rules! operations {
    ($(fn $name:ident($($arg:tt)*) $(-> $output:ty)? = $call:expr;)*) => {$(
        #[inline(always)]
        fn $name($($arg)*) $(-> $output)? {
            // SAFETY: there is the level's proof among the arguments, or a vector
            // that was made with one, so the CPU has the instructions.
            unsafe { $call }
        }
    )*};
}

/// The operators of a vector of numbers.
#[allow(unused_macros, reason = "an architecture without levels has no use for it")]
macro_rules! arithmetic {
    ($vector:ident: $add:ident, $sub:ident, $mul:ident) => {
        impl std::ops::Add for $vector {
            type Output = Self;
            operations! { fn add(self, other: Self) -> Self = $vector($add(self.0, other.0)); }
        }
        impl std::ops::Sub for $vector {
            type Output = Self;
            operations! { fn sub(self, other: Self) -> Self = $vector($sub(self.0, other.0)); }
        }
        impl std::ops::Mul for $vector {
            type Output = Self;
            operations! { fn mul(self, other: Self) -> Self = $vector($mul(self.0, other.0)); }
        }
    };
}

/// The operators of a mask.
#[allow(unused_macros, reason = "an architecture without levels has no use for it")]
macro_rules! logic {
    ($mask:ident: $and:ident, $or:ident) => {
        impl std::ops::BitAnd for $mask {
            type Output = Self;
            operations! { fn bitand(self, other: Self) -> Self = $mask($and(self.0, other.0)); }
        }
        impl std::ops::BitOr for $mask {
            type Output = Self;
            operations! { fn bitor(self, other: Self) -> Self = $mask($or(self.0, other.0)); }
        }
    };
}

#[allow(unused_imports, reason = "an architecture without levels has no use for them")]
use {arithmetic, logic, operations};
