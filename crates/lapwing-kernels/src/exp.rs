//! The exponential of a number that is not positive, the same bits on every level.
//!
//! `x = n ln 2 + r` with a whole `n` and `|r| <= ln 2 / 2`, so that
//! `exp(x) = 2^n exp(r)`. Adding and subtracting [`ROUND`] rounds to a whole
//! number and leaves `n` in the low mantissa bits; `ln 2` is split in two
//! (Cody and Waite), so `n LN_2_HIGH` is exact; `exp(r)` is its Taylor
//! polynomial of degree 7, whose remainder (below 6e-9) is under half a unit
//! in the last place of `f32`. Only additions and products, each rounded: no
//! level may fuse them.

use crate::lanes::{EXPONENT_BIAS, F32Lanes, Lanes, N_MANTISSA_BITS, ROUND};

/// Below this the result is zero: less than 2e-38 of the largest term.
const X_MIN: f32 = -87.0;
const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// 355 / 512: nine bits, so its product with `|n| < 2^15` is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
/// `ln 2 - LN_2_HIGH`.
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// `1 / 7!` down to `1 / 2!`: the Taylor coefficients above the first two.
const TAYLOR: [f32; 6] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];

/// `exp(x)` for `x <= 0`, the same bits on every machine and at every level.
///
/// Exactly 1 at 0, exactly 0 below -87 and for NaN; relative error below 2e-7
/// between. Not meant for positive `x`, where it is right up to 87 only.
#[must_use]
pub fn exp_nonpositive(x: f32) -> f32 {
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut sum = TAYLOR[0];
    for coefficient in &TAYLOR[1..] {
        sum = sum * r + coefficient;
    }
    let sum = sum * (r * r) + r + 1.0;
    let exponent = shifted.to_bits().wrapping_add_signed(EXPONENT_BIAS) << N_MANTISSA_BITS;
    // NaN fails the comparison, so it is zero as well.
    if x >= X_MIN { sum * f32::from_bits(exponent) } else { 0.0 }
}

/// [`exp_nonpositive`] of every lane, step by step the same.
#[inline(always)]
pub(crate) fn exp_nonpositive_lanes<L: Lanes>(l: L, x: L::F32) -> L::F32 {
    let round = l.splat(ROUND);
    let shifted = x * l.splat(LOG2_E) + round;
    let n = shifted - round;
    let r = x - n * l.splat(LN_2_HIGH) - n * l.splat(LN_2_LOW);
    let mut sum = l.splat(TAYLOR[0]);
    for &coefficient in &TAYLOR[1..] {
        sum = sum * r + l.splat(coefficient);
    }
    let sum = sum * (r * r) + r + l.splat(1.0);
    (sum * shifted.power_of_two()).keep(x.ge(l.splat(X_MIN)))
}

#[cfg(test)]
mod tests {
    use super::exp_nonpositive;

    #[test]
    fn is_close_to_the_f64_exponential() {
        let mut worst = 0.0f64;
        for i in 0..=870_000 {
            let x = -(i as f32) / 10_000.0;
            let expected = f64::from(x).exp();
            worst = worst.max((f64::from(exp_nonpositive(x)) - expected).abs() / expected);
        }
        assert!(worst < 2e-7, "{worst:e}");
    }

    #[test]
    fn has_exact_ends() {
        let check = |x: f32, expected: f32| assert_eq!(exp_nonpositive(x), expected, "{x}");
        check(0.0, 1.0);
        check(-0.0, 1.0);
        check(-87.001, 0.0);
        check(-1e30, 0.0);
        check(f32::NEG_INFINITY, 0.0);
        check(f32::NAN, 0.0);
    }
}
