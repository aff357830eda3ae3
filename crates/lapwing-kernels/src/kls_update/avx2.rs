use std::arch::x86_64::{
    __m256, _CMP_NEQ_UQ, _mm256_add_ps, _mm256_and_ps, _mm256_blendv_ps, _mm256_cmp_ps,
    _mm256_movemask_ps, _mm256_mul_ps, _mm256_set1_ps, _mm256_sub_ps,
};

use super::{Reversion, scalar};
use crate::finite::avx2::is_finite;
use crate::lanes::avx2::{load, store};

#[target_feature(enable = "avx2,fma")]
pub(super) fn kls_update(row: &mut [f32], state: &mut [f32], gauge: f32, gain: f32) {
    let (row_chunks, row_tail) = row.as_chunks_mut::<8>();
    let (state_chunks, state_tail) = state.as_chunks_mut::<8>();
    let (gauges, gains) = (_mm256_set1_ps(gauge), _mm256_set1_ps(gain));
    for (row, state) in row_chunks.iter_mut().zip(state_chunks) {
        let s = load(state);
        update(row, state, s, gauges, gains);
    }
    scalar::kls_update(row_tail, state_tail, gauge, gain);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn kls_update_each(row: &mut [f32], state: &mut [f32], gauge: f32, gains: &[f32]) {
    let (row_chunks, row_tail) = row.as_chunks_mut::<8>();
    let (state_chunks, state_tail) = state.as_chunks_mut::<8>();
    let (gain_chunks, gain_tail) = gains.as_chunks::<8>();
    let gauges = _mm256_set1_ps(gauge);
    for ((row, state), gain) in row_chunks.iter_mut().zip(state_chunks).zip(gain_chunks) {
        let s = load(state);
        update(row, state, s, gauges, load(gain));
    }
    scalar::kls_update_each(row_tail, state_tail, gauge, gain_tail);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn kls_update_reverting(
    row: &mut [f32],
    state: &mut [f32],
    gauge: f32,
    gains: &[f32],
    reversion: Reversion<'_>,
) {
    let (row_chunks, row_tail) = row.as_chunks_mut::<8>();
    let (state_chunks, state_tail) = state.as_chunks_mut::<8>();
    let (gain_chunks, gain_tail) = gains.as_chunks::<8>();
    let (level_chunks, level_tail) = reversion.levels.as_chunks::<8>();
    let gauges = _mm256_set1_ps(gauge);
    let of_state = _mm256_set1_ps(reversion.coefficient);
    let of_level = _mm256_set1_ps(1.0 - reversion.coefficient);
    let entries = row_chunks.iter_mut().zip(state_chunks);
    for ((row, state), (gain, level)) in entries.zip(gain_chunks.iter().zip(level_chunks)) {
        let from_state = _mm256_mul_ps(of_state, load(state));
        let prior = _mm256_add_ps(from_state, _mm256_mul_ps(of_level, load(level)));
        update(row, state, prior, gauges, load(gain));
    }
    let reversion = Reversion { levels: level_tail, ..reversion };
    scalar::kls_update_reverting(row_tail, state_tail, gauge, gain_tail, reversion);
}

/// One vector of entries, as the scalar `update` does one.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn update(row: &mut [f32; 8], state: &mut [f32; 8], prior: __m256, gauge: __m256, gain: __m256) {
    let (y, s) = (load(row), load(state));
    let x = _mm256_sub_ps(y, gauge);
    let smoothed = _mm256_add_ps(prior, _mm256_mul_ps(gain, _mm256_sub_ps(x, prior)));
    let smoothed_row = _mm256_add_ps(smoothed, gauge);
    let is_below_one = _mm256_cmp_ps::<_CMP_NEQ_UQ>(gain, _mm256_set1_ps(1.0));
    // Almost always: a result is finite only if all it was made of is.
    let is_plain = _mm256_and_ps(is_finite(smoothed_row), is_below_one);
    if _mm256_movemask_ps(is_plain) == 0xff {
        *row = store(smoothed_row);
        *state = store(smoothed);
        return;
    }
    let is_observed = is_finite(y);
    let is_smoothed = _mm256_and_ps(_mm256_and_ps(is_observed, is_finite(prior)), is_below_one);
    let observed = _mm256_blendv_ps(s, x, is_observed);
    *row = store(_mm256_blendv_ps(y, smoothed_row, is_smoothed));
    *state = store(_mm256_blendv_ps(observed, smoothed, is_smoothed));
}
