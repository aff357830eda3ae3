//! Gains and offsets of the correction stage, estimated from streamed logits.
//!
//! Everything here is pure and takes rows that are already gauge-centred (`y - c`).
//! It must not know models, texts, files or what a gate decides: it turns rows into
//! numbers, and someone else judges whether these numbers help.
//!
//! The accumulators share three rules:
//!
//! - `begin_window` starts a piece of text: no pair, increment or filter state
//!   reaches over the border.
//! - An entry that is no logit (NaN, infinite, or beyond 1e15 as a finite mask is) is
//!   left out for its token and breaks the token's chain: the next entry starts anew.
//! - Rows are gathered into small blocks; sums are f32 within a block and f64 across.
//!   Reading an accumulator first takes the gathered rows in, so it needs `&mut self`.
//!
//! One more estimator: a function in `estimate.rs`, a variant of [`Estimator`], and
//! its row in `tests/it/estimators/local_level.rs`.
//!
//! Source of the models and their names: local level, `y_t = s_t + v_t`,
//! `s_t = s_(t-1) + w_t`, with `Q = Var w` and `R = Var v`; Muth, "Optimal Properties of
//! Exponentially Weighted Forecasts", JASA 55 (1960); Harvey, "Forecasting, Structural
//! Time Series Models and the Kalman Filter" (1989).

mod bands;
mod diagnostics;
mod estimate;
mod gain;
mod paired;
mod rows;
mod search;
mod series;

pub use bands::Bands;
pub use diagnostics::{Diagnostics, diagnose, share_frozen};
pub use estimate::{
    EmaReading, Estimator, GainEstimate, RevertingEstimate, frozen_above, moments, published,
    reference, reverting,
};
pub use gain::{reverting_gain, steady_state_gain};
pub use paired::{NoiseMoments, PairedMoments, TokenOffset};
pub use search::{GainFit, GainSearch, N_ERRORS_MIN};
pub use series::{EmaVariance, PUBLISHED_ALPHA, SeriesMoments, TokenMoments};
