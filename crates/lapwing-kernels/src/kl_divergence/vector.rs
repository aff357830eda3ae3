use super::{N_SUMS, Partial};
use crate::exp::exp_nonpositive_lanes;
use crate::lanes::{F32Lanes, Lanes, MaskLanes};

#[inline(always)]
pub(super) fn kl_divergence<L: Lanes>(
    l: L,
    p_groups: &[[f32; N_SUMS]],
    q_groups: &[[f32; N_SUMS]],
    max: f32,
) -> Partial {
    let max = l.splat(max);
    let zero = l.splat(0.0);
    let minus_infinity = l.splat(f32::NEG_INFINITY);
    let mut weights = l.splat_f64(0.0);
    let mut weighted = l.splat_f64(0.0);
    let mut excluded = zero.ne(zero);
    for (p, q) in p_groups.iter().zip(q_groups) {
        let (p, q) = (l.load(p), l.load(q));
        excluded = excluded | q.eq(minus_infinity) & p.ne(minus_infinity);
        let weight = exp_nonpositive_lanes(l, p - max);
        // A weight of zero may come with an infinite difference.
        let has_weight = weight.gt(zero);
        let w = weight.widen();
        weights = weights + w;
        weighted = weighted + w * (p.keep(has_weight).widen() - q.keep(has_weight).widen());
    }
    Partial {
        weights: l.to_array(weights),
        weighted: l.to_array(weighted),
        is_excluded: excluded.any(),
    }
}
