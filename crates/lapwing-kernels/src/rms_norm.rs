//! The norm of a row by the root of its mean square.

use crate::lanes::N_BLOCK;
use crate::level::{Level, dispatch};

mod scalar;
mod vector;

/// The squares are kept in this many partial sums, on every level: entry `i` goes to `i % 64`.
const N_SUMS: usize = N_BLOCK;

/// `out = x / sqrt(mean(x^2) + epsilon) * weight`, the same bits on every level.
///
/// Shapes: `x [n]`, `weight [n]`, `out [n]`. `x` is multiplied by the inverse of the
/// root first, then by the weight, each product rounded. A row with NaN or an
/// infinity is NaN where it is not zero.
///
/// # Panics
///
/// When the slices differ in length.
pub fn rms_norm(level: Level, x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    assert_eq!(x.len(), weight.len(), "row and weight");
    assert_eq!(x.len(), out.len(), "row and out");
    let (blocks, tail) = x.as_chunks::<N_SUMS>();
    let mut sums = dispatch!(level, squares(blocks: &[[f32; N_SUMS]]) -> [f32; N_SUMS]);
    scalar::add_squares(&mut sums, tail);
    let factor = 1.0 / (fold(sums) / x.len() as f32 + epsilon).sqrt();
    dispatch!(level, scale(x: &[f32], weight: &[f32], factor: f32, out: &mut [f32]));
}

/// The sum of partial sums: the upper half is added to the lower one until one is left.
fn fold(mut sums: [f32; N_SUMS]) -> f32 {
    let mut n = N_SUMS / 2;
    while n != 0 {
        let (low, high) = sums.split_at_mut(n);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
        n /= 2;
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::rms_norm;
    use crate::Level;
    use crate::oracle::{rows_with_infinity, spread, spread_from};

    #[test]
    fn every_level_returns_the_same_bits() {
        for row in rows_with_infinity() {
            let weight = spread_from(row.logits.len(), 5);
            let of = |level| {
                let mut out = vec![9.0; row.logits.len()];
                rms_norm(level, &row.logits, &weight, 1e-5, &mut out);
                let same_nan = |x: &f32| if x.is_nan() { f32::NAN } else { *x }.to_bits();
                out.iter().map(same_nan).collect::<Vec<_>>()
            };
            for level in Level::available_for_floats() {
                assert_eq!(of(level), of(Level::SCALAR), "{level:?} {}", row.name);
            }
        }
    }

    #[test]
    fn is_close_to_the_definition_in_f64() {
        for len in [1, 17, 63, 64, 65, 576, 2049, 8192] {
            let (x, weight) = (spread(len), spread_from(len, 5));
            let mut out = vec![0.0; len];
            rms_norm(Level::detect(), &x, &weight, 1e-5, &mut out);
            let squares: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
            let root = (squares / len as f64 + f64::from(1e-5f32)).sqrt();
            for ((&x, &weight), &found) in x.iter().zip(&weight).zip(&out) {
                let expected = f64::from(x) / root * f64::from(weight);
                let difference = (f64::from(found) - expected).abs();
                assert!(difference <= 1e-6 * expected.abs() + 1e-30, "{len}: {found} {expected}");
            }
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let mut out = [1.0; 70];
        rms_norm(Level::detect(), &[0.0; 70], &[2.0; 70], 1e-6, &mut out);
        assert_eq!(out, [0.0; 70]);
    }
}
