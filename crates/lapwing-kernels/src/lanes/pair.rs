//! Two vectors as one, twice as wide: the first has the lower lanes.

use std::ops::{Add, BitAnd, BitOr, Mul, Sub};

use super::{F32Lanes, F64Lanes, MaskLanes};

#[derive(Clone, Copy)]
pub(crate) struct Pair<V>(pub(crate) V, pub(crate) V);

/// Methods of one expression.
macro_rules! inlined {
    ($(fn $name:ident($($arg:tt)*) $(-> $output:ty)? = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name($($arg)*) $(-> $output)? {
            $body
        }
    )*};
}

impl<V: F32Lanes> F32Lanes for Pair<V> {
    type Proof = V::Proof;
    type F64 = Pair<V::F64>;
    type Mask = Pair<V::Mask>;
    const N: usize = 2 * V::N;

    inlined! {
        fn splat(proof: V::Proof, x: f32) -> Self = Pair(V::splat(proof, x), V::splat(proof, x));
        fn load(proof: V::Proof, from: &[f32]) -> Self = {
            let (low, high) = from.split_at(V::N);
            Pair(V::load(proof, low), V::load(proof, high))
        };
        fn store(self, to: &mut [f32]) = {
            let (low, high) = to.split_at_mut(V::N);
            self.0.store(low);
            self.1.store(high);
        };
        fn load_f16(proof: V::Proof, from: &[[u8; 2]]) -> Self = {
            let (low, high) = from.split_at(V::N);
            Pair(V::load_f16(proof, low), V::load_f16(proof, high))
        };
        fn store_i8(self, to: &mut [i8]) = {
            let (low, high) = to.split_at_mut(V::N);
            self.0.store_i8(low);
            self.1.store_i8(high);
        };
        fn mul_add(self, factor: Self, term: Self) -> Self =
            Pair(self.0.mul_add(factor.0, term.0), self.1.mul_add(factor.1, term.1));
        fn div(self, other: Self) -> Self = Pair(self.0.div(other.0), self.1.div(other.1));
        fn abs(self) -> Self = Pair(self.0.abs(), self.1.abs());
        fn max(self, other: Self) -> Self = Pair(self.0.max(other.0), self.1.max(other.1));
        fn largest(self) -> f32 = self.0.max(self.1).largest();
        fn power_of_two(self) -> Self = Pair(self.0.power_of_two(), self.1.power_of_two());
        fn gt(self, other: Self) -> Self::Mask = Pair(self.0.gt(other.0), self.1.gt(other.1));
        fn ge(self, other: Self) -> Self::Mask = Pair(self.0.ge(other.0), self.1.ge(other.1));
        fn eq(self, other: Self) -> Self::Mask = Pair(self.0.eq(other.0), self.1.eq(other.1));
        fn ne(self, other: Self) -> Self::Mask = Pair(self.0.ne(other.0), self.1.ne(other.1));
        fn is_finite(self) -> Self::Mask = Pair(self.0.is_finite(), self.1.is_finite());
        fn select(mask: Self::Mask, yes: Self, no: Self) -> Self =
            Pair(V::select(mask.0, yes.0, no.0), V::select(mask.1, yes.1, no.1));
        fn keep(self, mask: Self::Mask) -> Self = Pair(self.0.keep(mask.0), self.1.keep(mask.1));
        fn widen(self) -> Self::F64 = Pair(self.0.widen(), self.1.widen());
    }
}

impl<V: F64Lanes> F64Lanes for Pair<V> {
    type Proof = V::Proof;
    const N: usize = 2 * V::N;

    inlined! {
        fn splat(proof: V::Proof, x: f64) -> Self = Pair(V::splat(proof, x), V::splat(proof, x));
        fn load_wide(proof: V::Proof, from: &[f32]) -> Self = {
            let (low, high) = from.split_at(V::N);
            Pair(V::load_wide(proof, low), V::load_wide(proof, high))
        };
        fn store(self, to: &mut [f64]) = {
            let (low, high) = to.split_at_mut(V::N);
            self.0.store(low);
            self.1.store(high);
        };
        fn is_all_finite(self) -> bool = (self.0 + self.1).is_all_finite();
    }
}

impl<V: MaskLanes> MaskLanes for Pair<V> {
    type Proof = V::Proof;
    type Tally = V::Tally;
    const N: usize = 2 * V::N;
    const IS_BITS: bool = V::IS_BITS;

    inlined! {
        fn all(self) -> bool = (self.0 & self.1).all();
        fn any(self) -> bool = (self.0 | self.1).any();
        fn bits(self) -> u64 = self.0.bits() | self.1.bits() << V::N;
        fn no_tally(proof: V::Proof) -> V::Tally = V::no_tally(proof);
        fn add_to(self, tally: V::Tally) -> V::Tally = self.1.add_to(self.0.add_to(tally));
        fn total(tally: V::Tally) -> usize = V::total(tally);
    }
}

impl<V: Add<Output = V>> Add for Pair<V> {
    type Output = Self;
    inlined! { fn add(self, other: Self) -> Self = Pair(self.0 + other.0, self.1 + other.1); }
}

impl<V: Sub<Output = V>> Sub for Pair<V> {
    type Output = Self;
    inlined! { fn sub(self, other: Self) -> Self = Pair(self.0 - other.0, self.1 - other.1); }
}

impl<V: Mul<Output = V>> Mul for Pair<V> {
    type Output = Self;
    inlined! { fn mul(self, other: Self) -> Self = Pair(self.0 * other.0, self.1 * other.1); }
}

impl<V: BitAnd<Output = V>> BitAnd for Pair<V> {
    type Output = Self;
    inlined! { fn bitand(self, other: Self) -> Self = Pair(self.0 & other.0, self.1 & other.1); }
}

impl<V: BitOr<Output = V>> BitOr for Pair<V> {
    type Output = Self;
    inlined! { fn bitor(self, other: Self) -> Self = Pair(self.0 | other.0, self.1 | other.1); }
}
