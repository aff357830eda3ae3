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

use crate::level::{Level, dispatch};

mod scalar;
mod vector;

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
    dispatch!(level, kls_update(row: &mut [f32], state: &mut [f32], gauge: f32, gain: f32))
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
    dispatch!(
        level,
        kls_update_each(row: &mut [f32], state: &mut [f32], gauge: f32, gains: &[f32])
    )
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
    dispatch!(
        level,
        kls_update_reverting(
            row: &mut [f32],
            state: &mut [f32],
            gauge: f32,
            gains: &[f32],
            reversion: Reversion<'_>,
        )
    )
}

#[cfg(test)]
mod tests;
