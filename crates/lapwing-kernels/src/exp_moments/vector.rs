use super::{N_SUMS, Partial};
use crate::exp::exp_nonpositive_lanes;
use crate::lanes::{F32Lanes, Lanes};

#[inline(always)]
pub(super) fn exp_moments<L: Lanes>(
    l: L,
    groups: &[[f32; N_SUMS]],
    max: f32,
    scale: f32,
) -> Partial {
    let (max, scale) = (l.splat(max), l.splat(scale));
    let mut sums = l.splat_f64(0.0);
    let mut weighted = l.splat_f64(0.0);
    for group in groups {
        let distance = l.load(group) - max;
        let term = exp_nonpositive_lanes(l, distance * scale);
        // A term of zero may come with an infinite distance, or NaN.
        let has_weight = term.gt(l.splat(0.0));
        let terms = term.widen();
        sums = sums + terms;
        weighted = weighted + terms * distance.keep(has_weight).widen();
    }
    Partial { sums: l.to_array(sums), weighted: l.to_array(weighted) }
}
