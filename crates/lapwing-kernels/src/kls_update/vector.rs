use super::{Reversion, scalar};
use crate::lanes::{F32Lanes, Lanes, MaskLanes, whole, whole_mut};

#[inline(always)]
pub(super) fn kls_update<L: Lanes>(
    l: L,
    row: &mut [f32],
    state: &mut [f32],
    gauge: f32,
    gain: f32,
) {
    let (rows, row_tail) = whole_mut::<L::Register>(row);
    let (states, state_tail) = whole_mut::<L::Register>(state);
    let (gauges, gains) = (L::Register::splat(l, gauge), L::Register::splat(l, gain));
    for (row, state) in rows.zip(states) {
        let prior = L::Register::load(l, state);
        update(l, row, state, prior, gauges, gains);
    }
    scalar::kls_update(row_tail, state_tail, gauge, gain);
}

#[inline(always)]
pub(super) fn kls_update_each<L: Lanes>(
    l: L,
    row: &mut [f32],
    state: &mut [f32],
    gauge: f32,
    gains: &[f32],
) {
    let (rows, row_tail) = whole_mut::<L::Register>(row);
    let (states, state_tail) = whole_mut::<L::Register>(state);
    let (gains, gain_tail) = whole::<L::Register>(gains);
    let gauges = L::Register::splat(l, gauge);
    for ((row, state), gain) in rows.zip(states).zip(gains) {
        let prior = L::Register::load(l, state);
        update(l, row, state, prior, gauges, L::Register::load(l, gain));
    }
    scalar::kls_update_each(row_tail, state_tail, gauge, gain_tail);
}

#[inline(always)]
pub(super) fn kls_update_reverting<L: Lanes>(
    l: L,
    row: &mut [f32],
    state: &mut [f32],
    gauge: f32,
    gains: &[f32],
    reversion: Reversion<'_>,
) {
    let (rows, row_tail) = whole_mut::<L::Register>(row);
    let (states, state_tail) = whole_mut::<L::Register>(state);
    let (gains, gain_tail) = whole::<L::Register>(gains);
    let (levels, level_tail) = whole::<L::Register>(reversion.levels);
    let gauges = L::Register::splat(l, gauge);
    let of_state = L::Register::splat(l, reversion.coefficient);
    let of_level = L::Register::splat(l, 1.0 - reversion.coefficient);
    for ((row, state), (gain, level)) in rows.zip(states).zip(gains.zip(levels)) {
        let from_state = of_state * L::Register::load(l, state);
        let prior = from_state + of_level * L::Register::load(l, level);
        update(l, row, state, prior, gauges, L::Register::load(l, gain));
    }
    let reversion = Reversion { levels: level_tail, ..reversion };
    scalar::kls_update_reverting(row_tail, state_tail, gauge, gain_tail, reversion);
}

/// Some entries side by side, as the scalar `update` does one.
#[inline(always)]
fn update<V: F32Lanes>(
    proof: V::Proof,
    row: &mut [f32],
    state: &mut [f32],
    prior: V,
    gauge: V,
    gain: V,
) {
    let (y, s) = (V::load(proof, row), V::load(proof, state));
    let x = y - gauge;
    let smoothed = prior + gain * (x - prior);
    let smoothed_row = smoothed + gauge;
    let is_below_one = gain.ne(V::splat(proof, 1.0));
    // Almost always: a result is finite only if all it was made of is.
    if (smoothed_row.is_finite() & is_below_one).all() {
        smoothed_row.store(row);
        smoothed.store(state);
        return;
    }
    let is_observed = y.is_finite();
    let is_smoothed = is_observed & prior.is_finite() & is_below_one;
    V::select(is_smoothed, smoothed_row, y).store(row);
    let observed = V::select(is_observed, x, s);
    V::select(is_smoothed, smoothed, observed).store(state);
}
