use std::arch::aarch64::{
    float32x4_t, vaddq_f32, vandq_u32, vbicq_u32, vbslq_f32, vceqq_f32, vdupq_n_f32, vmulq_f32,
    vsubq_f32,
};

use super::{Reversion, scalar};
use crate::finite::neon::is_finite;
use crate::lanes::neon::{load, store};

#[target_feature(enable = "neon")]
pub(super) fn kls_update(row: &mut [f32], state: &mut [f32], gauge: f32, gain: f32) {
    let (row_chunks, row_tail) = row.as_chunks_mut::<4>();
    let (state_chunks, state_tail) = state.as_chunks_mut::<4>();
    let (gauges, gains) = (vdupq_n_f32(gauge), vdupq_n_f32(gain));
    for (row, state) in row_chunks.iter_mut().zip(state_chunks) {
        let s = load(state);
        update(row, state, s, gauges, gains);
    }
    scalar::kls_update(row_tail, state_tail, gauge, gain);
}

#[target_feature(enable = "neon")]
pub(super) fn kls_update_each(row: &mut [f32], state: &mut [f32], gauge: f32, gains: &[f32]) {
    let (row_chunks, row_tail) = row.as_chunks_mut::<4>();
    let (state_chunks, state_tail) = state.as_chunks_mut::<4>();
    let (gain_chunks, gain_tail) = gains.as_chunks::<4>();
    let gauges = vdupq_n_f32(gauge);
    for ((row, state), gain) in row_chunks.iter_mut().zip(state_chunks).zip(gain_chunks) {
        let s = load(state);
        update(row, state, s, gauges, load(gain));
    }
    scalar::kls_update_each(row_tail, state_tail, gauge, gain_tail);
}

#[target_feature(enable = "neon")]
pub(super) fn kls_update_reverting(
    row: &mut [f32],
    state: &mut [f32],
    gauge: f32,
    gains: &[f32],
    reversion: Reversion<'_>,
) {
    let (row_chunks, row_tail) = row.as_chunks_mut::<4>();
    let (state_chunks, state_tail) = state.as_chunks_mut::<4>();
    let (gain_chunks, gain_tail) = gains.as_chunks::<4>();
    let (level_chunks, level_tail) = reversion.levels.as_chunks::<4>();
    let gauges = vdupq_n_f32(gauge);
    let of_state = vdupq_n_f32(reversion.coefficient);
    let of_level = vdupq_n_f32(1.0 - reversion.coefficient);
    let entries = row_chunks.iter_mut().zip(state_chunks);
    for ((row, state), (gain, level)) in entries.zip(gain_chunks.iter().zip(level_chunks)) {
        let from_state = vmulq_f32(of_state, load(state));
        let prior = vaddq_f32(from_state, vmulq_f32(of_level, load(level)));
        update(row, state, prior, gauges, load(gain));
    }
    let reversion = Reversion { levels: level_tail, ..reversion };
    scalar::kls_update_reverting(row_tail, state_tail, gauge, gain_tail, reversion);
}

/// One vector of entries, as the scalar `update` does one.
#[inline]
#[target_feature(enable = "neon")]
fn update(
    row: &mut [f32; 4],
    state: &mut [f32; 4],
    prior: float32x4_t,
    gauge: float32x4_t,
    gain: float32x4_t,
) {
    let (y, s) = (load(row), load(state));
    let x = vsubq_f32(y, gauge);
    let smoothed = vaddq_f32(prior, vmulq_f32(gain, vsubq_f32(x, prior)));
    let is_observed = is_finite(y);
    let is_one = vceqq_f32(gain, vdupq_n_f32(1.0));
    // Bit clear: the lanes without those whose gain is one.
    let is_smoothed = vbicq_u32(vandq_u32(is_observed, is_finite(prior)), is_one);
    *row = store(vbslq_f32(is_smoothed, vaddq_f32(smoothed, gauge), y));
    let observed = vbslq_f32(is_observed, x, s);
    *state = store(vbslq_f32(is_smoothed, smoothed, observed));
}
