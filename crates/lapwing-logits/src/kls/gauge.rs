//! The constant of a row that softmax does not see, taken out before rows are compared.

use lapwing_kernels::{Level, finite_sum, log_sum_exp};

use crate::Gauge;

/// Write `row - gauge` to `out` and return the gauge; `None`, and `out` as it was, when nothing
/// in the row is finite.
///
/// Shapes: `row [n]`, `out [n]`. NaN and infinities stay what they are.
///
/// # Panics
///
/// When the lengths differ.
pub fn centre(level: Level, gauge: Gauge, row: &[f32], out: &mut [f32]) -> Option<f32> {
    assert_eq!(row.len(), out.len(), "a row and the room for its centred twin");
    let gauge = of(level, gauge, row)?;
    for (out, &logit) in out.iter_mut().zip(row) {
        *out = logit - gauge;
    }
    Some(gauge)
}

/// The gauge of a row, over its finite entries; `None` when there are none.
pub(super) fn of(level: Level, gauge: Gauge, row: &[f32]) -> Option<f32> {
    match gauge {
        Gauge::Mean => finite_sum(level, row).mean().map(|mean| mean as f32),
        Gauge::LogSumExp => match log_sum_exp(level, row) {
            f64::NEG_INFINITY => None,
            f64::INFINITY => log_sum_exp_of_finite(row),
            normaliser => Some(normaliser as f32),
        },
    }
}

/// Plain code: a row with `+inf` is a broken one.
fn log_sum_exp_of_finite(row: &[f32]) -> Option<f32> {
    let finite = || row.iter().copied().filter(|logit| logit.is_finite());
    let max = finite().reduce(f32::max)?;
    let sum: f64 = finite().map(|logit| (f64::from(logit) - f64::from(max)).exp()).sum();
    Some((f64::from(max) + sum.ln()) as f32)
}

#[cfg(test)]
mod tests {
    use super::{centre, of};
    use crate::{Gauge, Level};

    #[test]
    fn gauges_look_at_finite_entries_only() {
        let check = |gauge: Gauge, row: &[f32], expected: Option<f32>| {
            for level in Level::available_for_floats() {
                assert_eq!(of(level, gauge, row), expected, "{level:?} {gauge:?} {row:?}");
            }
        };
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        for gauge in [Gauge::Mean, Gauge::LogSumExp] {
            check(gauge, &[], None);
            check(gauge, &[nan, -inf, nan], None);
            check(gauge, &[nan, inf], None);
            check(gauge, &[nan, 3.0, -inf], Some(3.0));
            check(gauge, &[nan, 3.0, inf], Some(3.0));
        }
        check(Gauge::Mean, &[1.0, inf, 2.0, nan, 6.0], Some(3.0));
        check(Gauge::LogSumExp, &[0.0, -inf, 0.0], Some(2f32.ln()));
        check(Gauge::LogSumExp, &[0.0, inf, 0.0], Some(2f32.ln()));
        check(Gauge::Mean, &[f32::MAX; 4], Some(f32::MAX));
    }

    #[test]
    fn centring_keeps_what_is_not_finite() {
        let row = [1.0, f32::NEG_INFINITY, 3.0, f32::INFINITY];
        let mut out = [0.0; 4];
        assert_eq!(centre(Level::detect(), Gauge::Mean, &row, &mut out), Some(2.0));
        assert_eq!(out, [-1.0, f32::NEG_INFINITY, 1.0, f32::INFINITY]);
        assert_eq!(centre(Level::detect(), Gauge::Mean, &[f32::NAN; 4], &mut out), None);
        assert_eq!(out[0], -1.0);
    }
}
