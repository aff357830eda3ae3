//! Plain arrays in NEON's widths, so that the loops over lanes are tested in
//! those on every machine. For tests only: the compiler makes slow code of it.

use std::array::from_fn;
use std::ops::{Add, BitAnd, BitOr, Mul, Sub};

use super::{EXPONENT_BIAS, F32Lanes, F64Lanes, Lanes, MaskLanes, N_MANTISSA_BITS, Pair};
use crate::f16::f16_to_f32;

/// Every CPU has this, so it proves nothing.
#[derive(Clone, Copy)]
pub(crate) struct Emulated;

impl Lanes for Emulated {
    type Register = F32x4;
    type F32 = Pair<Pair<F32x4>>;
    type F64 = Pair<Pair<Pair<F64x2>>>;
    type Mask = Pair<Pair<Mask4>>;
}

#[derive(Clone, Copy)]
pub(crate) struct F32x4([f32; 4]);

#[derive(Clone, Copy)]
pub(crate) struct F64x2([f64; 2]);

#[derive(Clone, Copy)]
pub(crate) struct Mask4([bool; 4]);

impl F32Lanes for F32x4 {
    type Proof = Emulated;
    type F64 = Pair<F64x2>;
    type Mask = Mask4;
    const N: usize = 4;

    fn splat(_proof: Emulated, x: f32) -> Self {
        F32x4([x; 4])
    }

    fn load(_proof: Emulated, from: &[f32]) -> Self {
        F32x4(from.try_into().expect("four lanes"))
    }

    fn store(self, to: &mut [f32]) {
        to.copy_from_slice(&self.0);
    }

    fn load_f16(_proof: Emulated, from: &[[u8; 2]]) -> Self {
        let from: [[u8; 2]; 4] = from.try_into().expect("four lanes");
        F32x4(from.map(f16_to_f32))
    }

    fn store_i8(self, to: &mut [i8]) {
        to.copy_from_slice(&self.0.map(|x| x as i8));
    }

    fn mul_add(self, factor: Self, term: Self) -> Self {
        F32x4(from_fn(|i| self.0[i].mul_add(factor.0[i], term.0[i])))
    }

    fn div(self, other: Self) -> Self {
        F32x4(zip(self.0, other.0, |a, b| a / b))
    }

    fn abs(self) -> Self {
        F32x4(self.0.map(f32::abs))
    }

    fn max(self, other: Self) -> Self {
        F32x4(zip(self.0, other.0, f32::max))
    }

    fn largest(self) -> f32 {
        self.0.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    fn power_of_two(self) -> Self {
        F32x4(self.0.map(|shifted| {
            let exponent = shifted.to_bits().wrapping_add_signed(EXPONENT_BIAS);
            f32::from_bits(exponent << N_MANTISSA_BITS)
        }))
    }

    fn gt(self, other: Self) -> Mask4 {
        Mask4(zip(self.0, other.0, |a, b| a > b))
    }

    fn ge(self, other: Self) -> Mask4 {
        Mask4(zip(self.0, other.0, |a, b| a >= b))
    }

    fn eq(self, other: Self) -> Mask4 {
        Mask4(zip(self.0, other.0, |a, b| a == b))
    }

    fn ne(self, other: Self) -> Mask4 {
        Mask4(zip(self.0, other.0, |a, b| a != b))
    }

    fn is_finite(self) -> Mask4 {
        Mask4(self.0.map(f32::is_finite))
    }

    fn select(mask: Mask4, yes: Self, no: Self) -> Self {
        F32x4(from_fn(|i| if mask.0[i] { yes.0[i] } else { no.0[i] }))
    }

    fn keep(self, mask: Mask4) -> Self {
        F32x4(zip(self.0, mask.0, |x, is_kept| if is_kept { x } else { 0.0 }))
    }

    fn widen(self) -> Pair<F64x2> {
        let [a, b, c, d] = self.0.map(f64::from);
        Pair(F64x2([a, b]), F64x2([c, d]))
    }
}

impl F64Lanes for F64x2 {
    type Proof = Emulated;
    const N: usize = 2;

    fn splat(_proof: Emulated, x: f64) -> Self {
        F64x2([x; 2])
    }

    fn load_wide(_proof: Emulated, from: &[f32]) -> Self {
        let from: [f32; 2] = from.try_into().expect("two lanes");
        F64x2(from.map(f64::from))
    }

    fn store(self, to: &mut [f64]) {
        to.copy_from_slice(&self.0);
    }

    fn is_all_finite(self) -> bool {
        self.0.into_iter().all(f64::is_finite)
    }
}

impl MaskLanes for Mask4 {
    type Proof = Emulated;
    type Tally = [u32; 4];
    const N: usize = 4;
    const IS_BITS: bool = false;

    fn all(self) -> bool {
        self.0 == [true; 4]
    }

    fn any(self) -> bool {
        self.0 != [false; 4]
    }

    fn bits(self) -> u64 {
        self.0.into_iter().rev().fold(0, |bits, is_set| bits << 1 | u64::from(is_set))
    }

    fn no_tally(_proof: Emulated) -> [u32; 4] {
        [0; 4]
    }

    fn add_to(self, tally: [u32; 4]) -> [u32; 4] {
        zip(self.0, tally, |is_set, n| n + u32::from(is_set))
    }

    fn total(tally: [u32; 4]) -> usize {
        tally.into_iter().map(|n| n as usize).sum()
    }
}

/// An operator, lane by lane.
macro_rules! lane_by_lane {
    ($($operator:ident for $vector:ident: $name:ident with $op:tt;)*) => {$(
        impl $operator for $vector {
            type Output = Self;
            fn $name(self, other: Self) -> Self {
                $vector(zip(self.0, other.0, |a, b| a $op b))
            }
        }
    )*};
}

lane_by_lane! {
    Add for F32x4: add with +;
    Sub for F32x4: sub with -;
    Mul for F32x4: mul with *;
    Add for F64x2: add with +;
    Sub for F64x2: sub with -;
    Mul for F64x2: mul with *;
    BitAnd for Mask4: bitand with &;
    BitOr for Mask4: bitor with |;
}

fn zip<const N: usize, A: Copy, B: Copy, C>(
    a: [A; N],
    b: [B; N],
    op: impl Fn(A, B) -> C,
) -> [C; N] {
    from_fn(|i| op(a[i], b[i]))
}
