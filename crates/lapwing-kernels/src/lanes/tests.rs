use super::{F32Lanes, F64Lanes, Lanes, MaskLanes, N_LANES, ROUND};
use crate::Level;
use crate::f16::{f16_from_f32, f16_to_f32};
use crate::level::dispatch;

const NAN: f32 = f32::NAN;
const INFINITY: f32 = f32::INFINITY;
const VALUES: [f32; N_LANES] = [
    1.5,
    NAN,
    -0.0,
    0.0,
    INFINITY,
    -INFINITY,
    3.0,
    -1e-40,
    -120.0,
    1.0,
    f32::MAX,
    f32::MIN,
    2.5,
    -NAN,
    1e-20,
    -3.0,
];

/// The name of an operation and what it gave, as bits; every NaN is the same.
type Outcome = (&'static str, Vec<u64>);

fn f32s(lanes: [f32; N_LANES]) -> Vec<u64> {
    lanes.map(|x| if x.is_nan() { NAN } else { x }.to_bits().into()).to_vec()
}

fn f64s(lanes: [f64; N_LANES]) -> Vec<u64> {
    lanes.map(|x| if x.is_nan() { f64::NAN } else { x }.to_bits()).to_vec()
}

/// What a mask says, in all the ways it can be asked.
fn mask(bits: u64, all: bool, any: bool, n_twice: usize) -> Vec<u64> {
    vec![bits, all.into(), any.into(), n_twice as u64]
}

mod vector {
    use super::*;

    #[inline(always)]
    pub(super) fn outcomes<L: Lanes>(l: L, a: &[f32; 16], b: &[f32; 16]) -> Vec<Outcome> {
        let (x, y) = (l.load(a), l.load(b));
        let stored = |lanes: L::F32| {
            let mut out = [0.0; N_LANES];
            lanes.store(&mut out);
            f32s(out)
        };
        let asked = |it: L::Mask| {
            let tally = it.add_to(it.add_to(L::Mask::no_tally(l)));
            mask(it.bits(), it.all(), it.any(), L::Mask::total(tally))
        };
        let wide = |lanes: L::F64| f64s(l.to_array(lanes));
        let without_nan = L::F32::select(y.ne(y), l.splat(0.5), y);
        let (p, q) = (x.widen(), L::F64::load_wide(l, b));
        let halves = a.map(f16_from_f32);
        let whole = (x.max(l.splat(-128.0)) + l.splat(ROUND)) - l.splat(ROUND);
        let whole = L::F32::select(whole.gt(l.splat(127.0)), l.splat(127.0), whole);
        let mut bytes = [0; N_LANES];
        whole.store_i8(&mut bytes);
        vec![
            ("load_f16", stored(L::F32::load_f16(l, &halves))),
            ("store_i8", bytes.map(|x| x as u64).to_vec()),
            ("mul_add", stored(x.mul_add(y, l.splat(0.3)))),
            ("div", stored(x.div(y))),
            ("abs", stored(x.abs())),
            ("splat", stored(l.splat(a[0]))),
            ("add", stored(x + y)),
            ("sub", stored(x - y)),
            ("mul", stored(x * y)),
            ("max", stored(x.max(without_nan) + l.splat(0.0))),
            ("largest", vec![(without_nan.largest() + 0.0).to_bits().into()]),
            ("power_of_two", stored((l.splat(ROUND) + x.max(l.splat(-126.0))).power_of_two())),
            ("gt", asked(x.gt(y))),
            ("ge", asked(x.ge(y))),
            ("eq", asked(x.eq(y))),
            ("ne", asked(x.ne(y))),
            ("is_finite", asked(x.is_finite())),
            ("and", asked(x.ge(y) & x.is_finite())),
            ("or", asked(x.ge(y) | x.is_finite())),
            ("select", stored(L::F32::select(x.is_finite(), x, y))),
            ("keep", stored(x.keep(x.is_finite()))),
            ("splat_f64", wide(l.splat_f64(f64::from(a[0]) / 3.0))),
            ("widen", wide(p)),
            ("load_wide", wide(q)),
            ("add_f64", wide(p + q)),
            ("sub_f64", wide(p - q)),
            ("mul_f64", wide(p * q)),
            ("is_all_finite", vec![p.is_all_finite().into()]),
        ]
    }
}

mod scalar {
    use super::*;

    pub(super) fn outcomes(a: &[f32; 16], b: &[f32; 16]) -> Vec<Outcome> {
        let of_f32 = |op: fn(f32, f32) -> f32| f32s(std::array::from_fn(|i| op(a[i], b[i])));
        let of_f64 = |op: fn(f64, f64) -> f64| {
            f64s(std::array::from_fn(|i| op(f64::from(a[i]), f64::from(b[i]))))
        };
        let of_mask = |op: fn(f32, f32) -> bool| {
            let hits: Vec<usize> = (0..N_LANES).filter(|&i| op(a[i], b[i])).collect();
            let bits = hits.iter().map(|&i| 1 << i).sum();
            mask(bits, hits.len() == N_LANES, !hits.is_empty(), 2 * hits.len())
        };
        let without_nan = b.map(|y| if y.is_nan() { 0.5 } else { y });
        let largest = without_nan.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let power = |x: f32| {
            let shifted = ROUND + if x > -126.0 { x } else { -126.0 };
            f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
        };
        let byte = |x: f32| x.max(-128.0).round_ties_even().min(127.0) as i8 as u64;
        vec![
            ("load_f16", f32s(a.map(|x| f16_to_f32(f16_from_f32(x))))),
            ("store_i8", a.map(byte).to_vec()),
            ("mul_add", of_f32(|a, b| a.mul_add(b, 0.3))),
            ("div", of_f32(|a, b| a / b)),
            ("abs", of_f32(|a, _| a.abs())),
            ("splat", f32s([a[0]; N_LANES])),
            ("add", of_f32(|a, b| a + b)),
            ("sub", of_f32(|a, b| a - b)),
            ("mul", of_f32(|a, b| a * b)),
            ("max", f32s(std::array::from_fn(|i| a[i].max(without_nan[i]) + 0.0))),
            ("largest", vec![(largest + 0.0).to_bits().into()]),
            ("power_of_two", f32s(a.map(power))),
            ("gt", of_mask(|a, b| a > b)),
            ("ge", of_mask(|a, b| a >= b)),
            ("eq", of_mask(|a, b| a == b)),
            ("ne", of_mask(|a, b| a != b)),
            ("is_finite", of_mask(|a, _| a.is_finite())),
            ("and", of_mask(|a, b| a >= b && a.is_finite())),
            ("or", of_mask(|a, b| a >= b || a.is_finite())),
            ("select", of_f32(|a, b| if a.is_finite() { a } else { b })),
            ("keep", of_f32(|a, _| if a.is_finite() { a } else { 0.0 })),
            ("splat_f64", f64s([f64::from(a[0]) / 3.0; N_LANES])),
            ("widen", of_f64(|a, _| a)),
            ("load_wide", of_f64(|_, b| b)),
            ("add_f64", of_f64(|a, b| a + b)),
            ("sub_f64", of_f64(|a, b| a - b)),
            ("mul_f64", of_f64(|a, b| a * b)),
            ("is_all_finite", vec![a.iter().all(|a| a.is_finite()).into()]),
        ]
    }
}

fn check(a: [f32; N_LANES], b: [f32; N_LANES]) {
    let (a, b) = (&a, &b);
    let expected = scalar::outcomes(a, b);
    for level in Level::available_for_floats() {
        let found = dispatch!(level, outcomes(a: &[f32; 16], b: &[f32; 16]) -> Vec<Outcome>);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{level:?} {a:?} {b:?}");
        }
    }
}

#[test]
fn every_operation_does_what_plain_code_does_at_every_level() {
    for n_turns in 0..N_LANES {
        let mut turned = VALUES;
        turned.rotate_left(n_turns);
        check(VALUES, turned);
        // Another value for the lanes that all look at, and one lane unlike the rest.
        check(turned, VALUES);
        check(turned.map(|x| x.clamp(-50.0, 50.0)), [1.0; N_LANES]);
        let mut but_one = [2.0; N_LANES];
        but_one[n_turns] = INFINITY;
        check(but_one, [2.0; N_LANES]);
        check([2.0; N_LANES], but_one);
    }
    check([2.0; N_LANES], [2.0; N_LANES]);
    check([2.0; N_LANES], [3.0; N_LANES]);
}
