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
const DEPTHS_FOUR: &[f32] = &[8.0, 7.75, 7.5, 7.25, 7.0, 8.25, 8.5, 8.75, 9.0];
const DEPTHS_EIGHT: &[f32] = &[128.0, 127.5, 127.0];

/// Which part of its range an asymmetric group covers where descents begin; the plain choice first.
/// Long groups want less of it, short ones whose weights lie on a grid already somewhat more.
const SPANS_FOUR_SHORT: &[f32] = &[1.0, 0.95, 1.04];
const SPANS_FOUR_LONG: &[f32] = &[1.0, 0.9, 0.8];
const SPANS_EIGHT: &[f32] = &[1.0, 0.998];
/// Weights from which on a group is long.
const N_LONG_MIN: usize = 65;

/// Scales that a descent of 4 bits tries, its first among them. With 8 bits there is next to nothing to
/// win, and no descent.
const N_SCALES_OF_DESCENT: usize = 3;
/// A descent ends where its error is so many times the least one: what is left of it seldom wins
/// that back.
const HOPELESS: f32 = 1.6;

impl GroupScale {
    /// What a weight is multiplied by to get its distance from zero in codes.
    pub(crate) fn inverse(self) -> f32 {
        1.0 / self.scale
    }
}

/// A scale and a zero point of little squared error, never more than that of the plain ones.
///
/// In a symmetric group of 4 bits, whose eight steps to a side are coarse, errors of larger weights
/// count more (`importance`): with least squares alone, models are further from their checkpoints,
/// often than with the plain scale. Else a descent goes on by turns, from several scales and both
/// whole numbers around the zero point: each weight takes its nearest code, then the scale is the
/// one of least squares for these codes. It never leaves its zero point. The least error seen wins,
/// the first of equal ones.
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
    let mut search = Search::new(weights, bits);
    if symmetric {
        let extreme = if largest > -least { largest } else { least };
        if matches!(bits, Bits::Four) {
            return by_importance(weights, extreme);
        }
        for depth in DEPTHS_EIGHT {
            search.descend(-extreme / depth, bits.middle());
        }
    } else {
        let code_max = f32::from(bits.code_max());
        // Divided before it is subtracted: the range itself may overflow.
        let plain = to_f16(largest / code_max - least / code_max);
        let zero_point = (-least / plain).clamp(0.0, code_max);
        let nearest = round(zero_point) as u8;
        let other = if f32::from(nearest) < zero_point { nearest + 1 } else { nearest.max(1) - 1 };
        let spans = match (bits, weights.len() < N_LONG_MIN) {
            (Bits::Four, true) => SPANS_FOUR_SHORT,
            (Bits::Four, false) => SPANS_FOUR_LONG,
            (Bits::Eight, _) => SPANS_EIGHT,
        };
        for span in spans {
            search.descend(plain * span, nearest);
            if matches!(bits, Bits::Four) {
                search.descend(plain * span, other);
            }
        }
    }
    search.best
}

/// The symmetric scale of 4 bits with the least sum of squared errors times importance, among
/// [`DEPTHS_FOUR`]; the first of equal ones.
fn by_importance(weights: &[f32], extreme: f32) -> GroupScale {
    let importance = importance(weights);
    let mut best = (GroupScale { scale: 1.0, zero_point: Bits::Four.middle() }, f32::INFINITY);
    for depth in DEPTHS_FOUR {
        let tried = GroupScale { scale: to_f16(-extreme / depth), ..best.0 };
        let error = weighted_error(weights, &importance, tried);
        if error < best.1 {
            best = (tried, error);
        }
    }
    best.0
}

/// How much the error of each weight counts: the root of its square and twice the mean of all squares.
fn importance(weights: &[f32]) -> Vec<f32> {
    let mean_square = weights.iter().map(|w| w * w).sum::<f32>() / weights.len() as f32;
    weights.iter().map(|weight| (2.0 * mean_square + weight * weight).sqrt()).collect()
}

fn weighted_error(weights: &[f32], importance: &[f32], scale: GroupScale) -> f32 {
    let inverse = scale.inverse();
    let zero_point = f32::from(scale.zero_point);
    let (low, high) = (-zero_point, f32::from(Bits::Four.code_max()) - zero_point);
    let error = |weight: f32, importance: f32| {
        let error = weight - round((weight * inverse).max(low).min(high)) * scale.scale;
        importance * error * error
    };
    // Eight sums side by side, as in `fit`.
    let mut errors = [0.0f32; 8];
    for (weights, importance) in weights.chunks(8).zip(importance.chunks(8)) {
        for ((sum, &weight), &importance) in errors.iter_mut().zip(weights).zip(importance) {
            *sum += error(weight, importance);
        }
    }
    errors.iter().sum()
}

/// The best that was seen.
struct Search<'a> {
    weights: &'a [f32],
    bits: Bits,
    best: GroupScale,
    least_error: f32,
}

impl Search<'_> {
    fn new(weights: &[f32], bits: Bits) -> Search<'_> {
        let best = GroupScale { scale: 1.0, zero_point: bits.middle() };
        Search { weights, bits, best, least_error: f32::INFINITY }
    }

    /// Nearest codes and least squares by turns.
    fn descend(&mut self, scale: f32, zero_point: u8) {
        let mut scale = to_f16(scale);
        let n_scales = if matches!(self.bits, Bits::Four) { N_SCALES_OF_DESCENT } else { 1 };
        for _ in 0..n_scales {
            let tried = GroupScale { scale, zero_point };
            let fit = fit(self.weights, tried, self.bits);
            if fit.squared_error < self.least_error {
                (self.best, self.least_error) = (tried, fit.squared_error);
            } else if fit.squared_error > self.least_error * HOPELESS {
                return;
            }
            let next = to_f16(fit.product / fit.squared_distance);
            // No code but the zero point, a scale that turns around, or the end of the descent.
            if !next.is_finite() || next == scale || (next < 0.0) != (scale < 0.0) {
                return;
            }
            scale = next;
        }
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

/// What the nearest codes of a scale give.
struct Fit {
    squared_error: f32,
    /// The weights times their codes' distances from zero.
    product: f32,
    /// These distances squared. The scale of least squares is [`Fit::product`] over this.
    squared_distance: f32,
}

fn fit(weights: &[f32], scale: GroupScale, bits: Bits) -> Fit {
    let inverse = scale.inverse();
    let zero_point = f32::from(scale.zero_point);
    let (low, high) = (-zero_point, f32::from(bits.code_max()) - zero_point);
    // Two comparisons instead of `clamp`, whose check of its bounds stops the vectoriser.
    let distance = |weight: f32| round((weight * inverse).max(low).min(high));
    let square = |error: f32| error * error;
    // Eight sums side by side: one sum would force the additions into an order.
    let (mut errors, mut products, mut distances) = ([0.0f32; 8], [0.0f32; 8], [0.0f32; 8]);
    let (chunks, rest) = weights.as_chunks::<8>();
    for chunk in chunks {
        for (lane, &weight) in chunk.iter().enumerate() {
            let distance = distance(weight);
            errors[lane] += square(weight - distance * scale.scale);
            products[lane] += weight * distance;
            distances[lane] += square(distance);
        }
    }
    for (lane, &weight) in rest.iter().enumerate() {
        let distance = distance(weight);
        errors[lane] += square(weight - distance * scale.scale);
        products[lane] += weight * distance;
        distances[lane] += square(distance);
    }
    Fit {
        squared_error: errors.iter().sum(),
        product: products.iter().sum(),
        squared_distance: distances.iter().sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bell-shaped numbers, always the same for one seed.
    fn weights(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        (0..n).map(|_| (uniform() + uniform() + uniform() + uniform() - 2.0) * 0.1).collect()
    }

    /// Weights as `Q4_K` and `Q4_1` have them: 16 values, of which none need be zero.
    fn on_a_grid(n: usize, seed: u64) -> Vec<f32> {
        let weights = weights(n, seed);
        let least = weights.iter().fold(0.0f32, |least, &w| least.min(w));
        let largest = weights.iter().fold(0.0f32, |largest, &w| largest.max(w));
        let scale = (largest - least) / 15.0;
        weights.iter().map(|weight| ((weight - least) / scale).round() * scale + least).collect()
    }

    /// What a search shall make small.
    fn error(weights: &[f32], symmetric: bool, scale: f32, zero_point: u8) -> f64 {
        let code_max = f32::from(Bits::Four.code_max());
        let zero_point = f32::from(zero_point);
        let nearest = |weight: f32| (weight / scale + zero_point).round().clamp(0.0, code_max);
        let error = |weight: f32| f64::from(weight - (nearest(weight) - zero_point) * scale);
        let importance = match symmetric {
            true => importance(weights),
            false => vec![1.0; weights.len()],
        };
        let pairs = weights.iter().zip(importance);
        pairs.map(|(&weight, importance)| error(weight).powi(2) * f64::from(importance)).sum()
    }

    /// The least error over every zero point and many scales.
    fn least_error(weights: &[f32], symmetric: bool) -> f64 {
        let extreme = weights.iter().fold(0.0f32, |extreme, w| extreme.max(w.abs()));
        let zero_points = if symmetric { 8..=8 } else { 0..=15 };
        let scales = (1..=800).map(|step| extreme / 4.0 * step as f32 / 800.0);
        let signed = scales.flat_map(|scale| [scale, -scale]).map(to_f16);
        zero_points
            .flat_map(|zero_point| signed.clone().map(move |scale| (scale, zero_point)))
            .filter(|(scale, _)| symmetric || *scale > 0.0)
            .map(|(scale, zero_point)| error(weights, symmetric, scale, zero_point))
            .fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn the_search_comes_near_the_least_error_of_all() {
        let check = |make: fn(usize, u64) -> Vec<f32>, n, symmetric, ratio_max: f64| {
            let (mut found, mut least) = (0.0, 0.0);
            for seed in 0..60 {
                let weights = make(n, seed);
                let best = best_scale(&weights, Bits::Four, symmetric);
                found += error(&weights, symmetric, best.scale, best.zero_point);
                least += least_error(&weights, symmetric);
            }
            let ratio = found / least;
            assert!((0.99..ratio_max).contains(&ratio), "{n} {symmetric}: {ratio}");
        };
        check(weights, 32, false, 1.02);
        check(weights, 128, false, 1.02);
        check(weights, 32, true, 1.02);
        check(weights, 128, true, 1.02);
        check(on_a_grid, 32, false, 1.05);
        check(on_a_grid, 32, true, 1.05);
    }

    #[test]
    fn the_search_is_never_worse_than_the_plain_choice() {
        for n in [1, 3, 8, 31, 64, 300] {
            for seed in 0..40 {
                for weights in [weights(n, seed), on_a_grid(n, seed)] {
                    let least = weights.iter().fold(0.0f32, |least, &w| least.min(w));
                    let largest = weights.iter().fold(0.0f32, |largest, &w| largest.max(w));
                    if least == largest {
                        continue;
                    }
                    let plain = to_f16((largest - least) / 15.0);
                    let zero_point = (-least / plain).clamp(0.0, 15.0).round() as u8;
                    let extreme = if largest > -least { largest } else { least };
                    for (symmetric, plain, zero_point) in
                        [(false, plain, zero_point), (true, to_f16(-extreme / 8.0), 8)]
                    {
                        let best = best_scale(&weights, Bits::Four, symmetric);
                        let found = error(&weights, symmetric, best.scale, best.zero_point);
                        let expected = error(&weights, symmetric, plain, zero_point);
                        assert!(found <= expected * (1.0 + 1e-5), "{n} {seed}: {found} {expected}");
                    }
                }
            }
        }
    }
}
