//! One step of Kalman-logit smoothing over a row, fused and in place.
//!
//! ```text
//! per entry, with observation y = row[i], state s = state[i], gain K:
//!     y not finite              row and state stay
//!     x = y - gauge
//!     p = s, or a s + (1 - a) levels[i]
//!     p not finite (entering)   s' = x, row stays
//!     K == 1                    s' = x, row stays, to the bit
//!     else                      s' = p + K (x - p), row = s' + gauge
//! ```
//! A state of NaN means "none yet". Products are rounded before they are
//! added, so all levels write the same bits.

use crate::level::{Isa, Level};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

/// A prior that falls back to a level: `a s + (1 - a) levels[i]`, an AR(1) process.
#[derive(Clone, Copy, Debug)]
pub struct Reversion<'a> {
    /// `a`, in `[0, 1]`; 1 is the random walk.
    pub coefficient: f32,
    /// The gauge-centred mean of each token; an entry that is not finite makes
    /// its token enter anew in every step.
    pub levels: &'a [f32],
}

/// Smooth `row` against `state`, both in place, with one gain for all entries.
///
/// Shapes: `row [n]`, `state [n]`. `gauge` is finite, `gain` in `[0, 1]`. What
/// happens to NaN, infinities and a state without a value is the table above.
/// Entries beyond 1e38 may overflow, as sums of such numbers do.
///
/// # Panics
///
/// When row and state differ in length.
pub fn kls_update(level: Level, row: &mut [f32], state: &mut [f32], gauge: f32, gain: f32) {
    assert_eq!(row.len(), state.len(), "row and state");
    match level.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx2 and fma.
        Isa::Avx2 => unsafe { avx2::kls_update(row, state, gauge, gain) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx512f.
        Isa::Avx512 => unsafe { avx512::kls_update(row, state, gauge, gain) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: `Level` proves neon.
        Isa::Neon => unsafe { neon::kls_update(row, state, gauge, gain) },
        _ => scalar::kls_update(row, state, gauge, gain),
    }
}

/// [`kls_update`] with a gain per entry.
///
/// Shapes: `row [n]`, `state [n]`, `gains [n]`, each in `[0, 1]`.
///
/// # Panics
///
/// When the slices differ in length.
pub fn kls_update_each(
    level: Level,
    row: &mut [f32],
    state: &mut [f32],
    gauge: f32,
    gains: &[f32],
) {
    assert_eq!(row.len(), state.len(), "row and state");
    assert_eq!(row.len(), gains.len(), "row and gains");
    match level.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx2 and fma.
        Isa::Avx2 => unsafe { avx2::kls_update_each(row, state, gauge, gains) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx512f.
        Isa::Avx512 => unsafe { avx512::kls_update_each(row, state, gauge, gains) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: `Level` proves neon.
        Isa::Neon => unsafe { neon::kls_update_each(row, state, gauge, gains) },
        _ => scalar::kls_update_each(row, state, gauge, gains),
    }
}

/// [`kls_update_each`] with a prior that falls back to a level.
///
/// Shapes: `row [n]`, `state [n]`, `gains [n]`, `reversion.levels [n]`.
///
/// # Panics
///
/// When the slices differ in length.
pub fn kls_update_reverting(
    level: Level,
    row: &mut [f32],
    state: &mut [f32],
    gauge: f32,
    gains: &[f32],
    reversion: Reversion<'_>,
) {
    assert_eq!(row.len(), state.len(), "row and state");
    assert_eq!(row.len(), gains.len(), "row and gains");
    assert_eq!(row.len(), reversion.levels.len(), "row and levels");
    match level.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx2 and fma.
        Isa::Avx2 => unsafe { avx2::kls_update_reverting(row, state, gauge, gains, reversion) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx512f.
        Isa::Avx512 => unsafe { avx512::kls_update_reverting(row, state, gauge, gains, reversion) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: `Level` proves neon.
        Isa::Neon => unsafe { neon::kls_update_reverting(row, state, gauge, gains, reversion) },
        _ => scalar::kls_update_reverting(row, state, gauge, gains, reversion),
    }
}

#[cfg(test)]
mod tests;
