use std::arch::x86_64::{
    __m512, __mmask16, _CMP_NEQ_UQ, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_mask_mov_ps,
    _mm512_mul_ps, _mm512_set1_ps, _mm512_sub_ps,
};

use super::{Reversion, scalar};
use crate::finite::avx512::is_finite;
use crate::lanes::avx512::{load, store};

#[target_feature(enable = "avx512f")]
pub(super) fn kls_update(row: &mut [f32], state: &mut [f32], gauge: f32, gain: f32) {
    let (row_chunks, row_tail) = row.as_chunks_mut::<16>();
    let (state_chunks, state_tail) = state.as_chunks_mut::<16>();
    let (gauges, gains) = (_mm512_set1_ps(gauge), _mm512_set1_ps(gain));
    for (row, state) in row_chunks.iter_mut().zip(state_chunks) {
        let s = load(state);
        update(row, state, s, gauges, gains);
    }
    scalar::kls_update(row_tail, state_tail, gauge, gain);
}

#[target_feature(enable = "avx512f")]
pub(super) fn kls_update_each(row: &mut [f32], state: &mut [f32], gauge: f32, gains: &[f32]) {
    let (row_chunks, row_tail) = row.as_chunks_mut::<16>();
    let (state_chunks, state_tail) = state.as_chunks_mut::<16>();
    let (gain_chunks, gain_tail) = gains.as_chunks::<16>();
    let gauges = _mm512_set1_ps(gauge);
    for ((row, state), gain) in row_chunks.iter_mut().zip(state_chunks).zip(gain_chunks) {
        let s = load(state);
        update(row, state, s, gauges, load(gain));
    }
    scalar::kls_update_each(row_tail, state_tail, gauge, gain_tail);
}

#[target_feature(enable = "avx512f")]
pub(super) fn kls_update_reverting(
    row: &mut [f32],
    state: &mut [f32],
    gauge: f32,
    gains: &[f32],
    reversion: Reversion<'_>,
) {
    let (row_chunks, row_tail) = row.as_chunks_mut::<16>();
    let (state_chunks, state_tail) = state.as_chunks_mut::<16>();
    let (gain_chunks, gain_tail) = gains.as_chunks::<16>();
    let (level_chunks, level_tail) = reversion.levels.as_chunks::<16>();
    let gauges = _mm512_set1_ps(gauge);
    let of_state = _mm512_set1_ps(reversion.coefficient);
    let of_level = _mm512_set1_ps(1.0 - reversion.coefficient);
    let entries = row_chunks.iter_mut().zip(state_chunks);
    for ((row, state), (gain, level)) in entries.zip(gain_chunks.iter().zip(level_chunks)) {
        let from_state = _mm512_mul_ps(of_state, load(state));
        let prior = _mm512_add_ps(from_state, _mm512_mul_ps(of_level, load(level)));
        update(row, state, prior, gauges, load(gain));
    }
    let reversion = Reversion { levels: level_tail, ..reversion };
    scalar::kls_update_reverting(row_tail, state_tail, gauge, gain_tail, reversion);
}

/// One vector of entries, as the scalar `update` does one.
#[inline]
#[target_feature(enable = "avx512f")]
fn update(row: &mut [f32; 16], state: &mut [f32; 16], prior: __m512, gauge: __m512, gain: __m512) {
    let (y, s) = (load(row), load(state));
    let x = _mm512_sub_ps(y, gauge);
    let smoothed = _mm512_add_ps(prior, _mm512_mul_ps(gain, _mm512_sub_ps(x, prior)));
    let smoothed_row = _mm512_add_ps(smoothed, gauge);
    let is_below_one = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(gain, _mm512_set1_ps(1.0));
    // Almost always: a result is finite only if all it was made of is.
    if is_finite(smoothed_row) & is_below_one == __mmask16::MAX {
        *row = store(smoothed_row);
        *state = store(smoothed);
        return;
    }
    let is_observed = is_finite(y);
    let is_smoothed = is_observed & is_finite(prior) & is_below_one;
    let observed = _mm512_mask_mov_ps(s, is_observed, x);
    *row = store(_mm512_mask_mov_ps(y, is_smoothed, smoothed_row));
    *state = store(_mm512_mask_mov_ps(observed, is_smoothed, smoothed));
}
