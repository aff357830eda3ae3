//! The scale and zero point of one group.

use half::f16;

use crate::grid::Bits;

/// Scale and zero point of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct GroupScale {
    /// Exact in f16; never 0.
    pub(crate) scale: f32,
    pub(crate) zero_point: u8,
}

/// What a symmetric group's largest weight is mapped to, below zero; the plain choice first.
const DEPTHS_FOUR: [f32; 9] = [8.0, 7.75, 7.5, 7.25, 7.0, 8.25, 8.5, 8.75, 9.0];
const DEPTHS_EIGHT: [f32; 3] = [128.0, 127.5, 127.0];

/// Which part of its range an asymmetric group covers; the plain choice first.
const SPANS_FOUR: [f32; 9] = [1.0, 0.975, 0.95, 0.925, 0.9, 0.875, 0.85, 0.825, 0.8];
const SPANS_EIGHT: [f32; 2] = [1.0, 0.998];

impl GroupScale {
    /// What a weight is multiplied by to get its distance from zero in codes.
    pub(crate) fn inverse(self) -> f32 {
        1.0 / self.scale
    }
}

/// The scale with the least squared error among a few; the plain one wins ties.
///
/// `weights` must be finite and their scale must fit f16.
pub(crate) fn best_scale(weights: &[f32], bits: Bits, symmetric: bool) -> GroupScale {
    let (least, largest) = weights
        .iter()
        .fold((0.0f32, 0.0f32), |(least, largest), &w| (least.min(w), largest.max(w)));
    if least == 0.0 && largest == 0.0 {
        let zero_point = if symmetric { bits.middle() } else { 0 };
        return GroupScale { scale: 1.0, zero_point };
    }
    let try_all = |candidates: &[f32], scale: &dyn Fn(f32) -> GroupScale| {
        let mut best = scale(candidates[0]);
        let mut best_error = squared_error(weights, best, bits);
        for &candidate in &candidates[1..] {
            let scale = scale(candidate);
            let error = squared_error(weights, scale, bits);
            if error < best_error {
                (best, best_error) = (scale, error);
            }
        }
        best
    };
    if symmetric {
        let extreme = if largest > -least { largest } else { least };
        let depths: &[f32] = if matches!(bits, Bits::Four) { &DEPTHS_FOUR } else { &DEPTHS_EIGHT };
        try_all(depths, &|depth| GroupScale {
            scale: to_f16(-extreme / depth),
            zero_point: bits.middle(),
        })
    } else {
        let spans: &[f32] = if matches!(bits, Bits::Four) { &SPANS_FOUR } else { &SPANS_EIGHT };
        let code_max = f32::from(bits.code_max());
        try_all(spans, &|span| {
            // Divided before it is subtracted: the range itself may overflow.
            let scale = to_f16((largest / code_max - least / code_max) * span);
            let zero_point = round((-least * span / scale).clamp(0.0, code_max)) as u8;
            GroupScale { scale, zero_point }
        })
    }
}

/// The nearest f16 that is neither zero nor infinite.
fn to_f16(scale: f32) -> f32 {
    let nearest = f16::from_f32(scale);
    let nearest = if nearest == f16::ZERO {
        f16::MIN_POSITIVE_SUBNORMAL.copysign(nearest)
    } else if nearest.is_infinite() {
        f16::MAX.copysign(nearest)
    } else {
        nearest
    };
    nearest.to_f32()
}

/// The nearest whole number, ties to even, for magnitudes below 2^22.
///
/// Adding and subtracting 1.5 * 2^23 leaves no room for a fraction; unlike the library's rounding it
/// becomes a vector instruction on every CPU.
pub(crate) fn round(value: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    (value + MAGIC) - MAGIC
}

fn squared_error(weights: &[f32], scale: GroupScale, bits: Bits) -> f32 {
    let inverse = scale.inverse();
    let zero_point = f32::from(scale.zero_point);
    let (low, high) = (-zero_point, f32::from(bits.code_max()) - zero_point);
    let square = |weight: f32| {
        // Two comparisons instead of `clamp`, whose check of its bounds stops the vectoriser.
        let error = weight - round((weight * inverse).max(low).min(high)) * scale.scale;
        error * error
    };
    // Eight sums side by side: one sum would force the additions into an order.
    let mut sums = [0.0f32; 8];
    let (chunks, rest) = weights.as_chunks::<8>();
    for chunk in chunks {
        for (sum, &weight) in sums.iter_mut().zip(chunk) {
            *sum += square(weight);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|&weight| square(weight)).sum::<f32>()
}
