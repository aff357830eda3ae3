//! The gate of a feed-forward layer: an activation of one half times the other.

use crate::level::{Level, dispatch};

mod scalar;
mod vector;

/// What is done to the gate: `x * sigmoid(…)` in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// The approximation of GELU with a hyperbolic tangent, which is
    /// `x * sigmoid(2 sqrt(2 / π) (x + 0.044715 x^3))`.
    GeluTanh,
}

/// `2 sqrt(2 / π)`.
const GELU_LINEAR: f32 = 1.595_769_2;
/// That times 0.044715.
const GELU_CUBIC: f32 = 0.071_354_814;

/// `gate[i] = activation(gate[i]) * up[i]`, the same bits on every level.
///
/// Shapes: `gate [n]`, `up [n]`. The sigmoid's exponential is
/// [`crate::exp_nonpositive`]. NaN and `-inf` in the gate give NaN.
///
/// # Panics
///
/// When the slices differ in length.
pub fn gate_in_place(level: Level, activation: Activation, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "gate and up");
    match activation {
        Activation::Silu => dispatch!(level, silu(gate: &mut [f32], up: &[f32])),
        Activation::GeluTanh => dispatch!(level, gelu_tanh(gate: &mut [f32], up: &[f32])),
    }
}

#[cfg(test)]
mod tests {
    use super::{Activation, gate_in_place};
    use crate::Level;
    use crate::oracle::{rows_with_infinity, spread_from};

    const ACTIVATIONS: [Activation; 2] = [Activation::Silu, Activation::GeluTanh];

    fn gated(level: Level, activation: Activation, row: &[f32], up: &[f32]) -> Vec<f32> {
        let mut out = row.to_vec();
        gate_in_place(level, activation, &mut out, up);
        out
    }

    #[test]
    fn every_level_returns_the_same_bits() {
        for row in rows_with_infinity() {
            let up = spread_from(row.logits.len(), 3);
            for activation in ACTIVATIONS {
                let of = |level| -> Vec<u32> {
                    let same_nan = |x: &f32| if x.is_nan() { f32::NAN } else { *x }.to_bits();
                    gated(level, activation, &row.logits, &up).iter().map(same_nan).collect()
                };
                for level in Level::available_for_floats() {
                    assert_eq!(of(level), of(Level::SCALAR), "{level:?} {}", row.name);
                }
            }
        }
    }

    #[test]
    fn is_close_to_the_definition_in_f64() {
        let row: Vec<f32> = (-3000..3000).map(|i| i as f32 / 250.0).collect();
        let up = vec![1.0; row.len()];
        for activation in ACTIVATIONS {
            let found = gated(Level::detect(), activation, &row, &up);
            for (&x, &found) in row.iter().zip(&found) {
                let x = f64::from(x);
                let expected = match activation {
                    Activation::Silu => x / (1.0 + (-x).exp()),
                    Activation::GeluTanh => {
                        let inner =
                            (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                        x / (1.0 + (-2.0 * inner).exp())
                    }
                };
                // What the exponential is taken of is rounded, and up to 87.
                let difference = (f64::from(found) - expected).abs();
                assert!(difference <= 2e-5 * expected.abs() + 1e-30, "{activation:?} {x}: {found}");
            }
        }
    }

    #[test]
    fn special_numbers() {
        for activation in ACTIVATIONS {
            let row = [0.0, f32::INFINITY, 200.0, -200.0, f32::NAN, f32::NEG_INFINITY];
            let found = gated(Level::detect(), activation, &row, &[2.0; 6]);
            assert_eq!(found[..4], [0.0, f32::INFINITY, 400.0, -0.0], "{activation:?}");
            assert!(found[4].is_nan() && found[5].is_nan(), "{activation:?}");
        }
    }
}
