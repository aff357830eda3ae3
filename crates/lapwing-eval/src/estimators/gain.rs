//! The gain of a filter in its steady state.

/// The steady-state gain of the local level model: `2Q / (Q + sqrt(Q^2 + 4QR))`.
///
/// The positive root of `R K^2 + Q K - Q = 0`, in a form without cancellation. From 0
/// (`Q = 0 < R`: never move) to 1 (`R = 0`: follow the observation). `Q = R = 0`, and
/// anything that is not a finite number of at least 0, gives 1: pass-through is what to
/// do without knowledge.
///
/// Units: `q` and `r` in the same unit, logits squared.
#[must_use]
pub fn steady_state_gain(q: f64, r: f64) -> f64 {
    if !is_variance(q) || !is_variance(r) || (q == 0.0 && r == 0.0) {
        return 1.0;
    }
    // Divided by Q, so that no square overflows; Q = 0 divides to infinity and gives 0.
    2.0 / (1.0 + (1.0 + 4.0 * (r / q)).sqrt())
}

/// The steady-state gain when the state reverts: `s_t = a s_(t-1) + w_t` about a level.
///
/// Solves the Riccati equation `P = a^2 P R / (P + R) + Q` for the variance `P` before
/// the observation; the gain is `P / (P + R)`. `a = 1` is [`steady_state_gain`], with the
/// same meaning of zeros and of numbers that are no variance.
#[must_use]
pub fn reverting_gain(a: f64, q: f64, r: f64) -> f64 {
    if !a.is_finite() || !is_variance(q) || !is_variance(r) || r == 0.0 {
        return 1.0;
    }
    // In units of R: p^2 + b p - q = 0 with b = 1 - a^2 - q.
    let q = q / r;
    let b = 1.0 - a * a - q;
    let root = b.hypot(2.0 * q.sqrt());
    // Of the two forms of the positive root, the one that adds numbers of one sign.
    let p = if 0.0 < b { 2.0 * q / (b + root) } else { (root - b) / 2.0 };
    if p.is_finite() { p / (p + 1.0) } else { 1.0 }
}

fn is_variance(value: f64) -> bool {
    value.is_finite() && 0.0 <= value
}

#[cfg(test)]
mod tests {
    use super::{reverting_gain, steady_state_gain};

    fn near(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "{found} {expected}");
    }

    #[test]
    fn steady_state_gains_of_known_ratios() {
        let known = [
            (0.001, 0.0311),
            (0.01, 0.0951),
            (0.1, 0.2702),
            (1.0, 0.6180),
            (2.0, 0.7321),
            (10.0, 0.9161),
        ];
        for (ratio, expected) in known {
            near(steady_state_gain(ratio, 1.0), expected, 5e-5);
            near(steady_state_gain(ratio * 1e-9, 1e-9), expected, 5e-5);
            near(steady_state_gain(ratio * 1e200, 1e200), expected, 5e-5);
        }
        // The root of R K^2 + Q K - Q, also where the textbook form cancels.
        for (q, r) in [(1e-12, 1.0), (3.0, 0.5), (1e12, 1.0)] {
            let gain = steady_state_gain(q, r);
            near((r * gain * gain + q * gain - q) / q, 0.0, 1e-12);
        }
        near(1.0 - steady_state_gain(1e12, 1.0), 1e-12, 1e-15);
    }

    #[test]
    fn gains_at_the_borders() {
        for gain in [steady_state_gain, |q, r| reverting_gain(1.0, q, r)] {
            assert_eq!(gain(0.0, 0.0), 1.0);
            assert_eq!(gain(0.0, 2.0), 0.0);
            assert_eq!(gain(2.0, 0.0), 1.0);
            assert_eq!(gain(f64::NAN, 1.0), 1.0);
            assert_eq!(gain(1.0, f64::INFINITY), 1.0);
            assert_eq!(gain(-1.0, 1.0), 1.0);
        }
        assert_eq!(reverting_gain(0.5, 0.0, 2.0), 0.0);
        assert_eq!(reverting_gain(f64::NAN, 1.0, 1.0), 1.0);
    }

    #[test]
    fn reverting_gains_are_where_the_riccati_recursion_ends() {
        for a in [0.0, 0.3, 0.9, 0.999, 1.0] {
            for q in [1e-4, 0.1, 1.0, 50.0] {
                let r = 0.7;
                let mut variance = q;
                for _ in 0..20_000 {
                    variance = a * a * variance * r / (variance + r) + q;
                }
                near(reverting_gain(a, q, r), variance / (variance + r), 1e-10);
            }
        }
        for ratio in [1e-6, 0.1, 1.0, 1e9] {
            near(reverting_gain(1.0, ratio, 1.0), steady_state_gain(ratio, 1.0), 1e-12);
        }
    }
}
