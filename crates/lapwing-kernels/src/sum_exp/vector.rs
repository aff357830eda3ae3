use super::N_SUMS;
use crate::exp::exp_nonpositive_lanes;
use crate::lanes::{F32Lanes, Lanes};

#[inline(always)]
pub(super) fn sum_exp<L: Lanes>(
    l: L,
    groups: &[[f32; N_SUMS]],
    max: f32,
    scale: f32,
) -> [f64; N_SUMS] {
    let (max, scale) = (l.splat(max), l.splat(scale));
    let mut sums = l.splat_f64(0.0);
    for group in groups {
        let terms = exp_nonpositive_lanes(l, (l.load(group) - max) * scale);
        sums = sums + terms.widen();
    }
    l.to_array(sums)
}
