//! From a raw row of logits to one token.
//!
//! This crate must not know files, clocks, tokenizers or models, and has no
//! hidden randomness: the same row, options, history and seed give the same
//! token on every machine and at every SIMD [`Level`].
//!
//! # The order of the filters
//!
//! ```text
//! raw logits ── correction ── logit bias ── repetition and other penalties ─┐
//! ┌─────────────────────────────────────────────────────────────────────────┘
//! ├─ temperature 0: the largest
//! └─ temperature ── top-k ── top-p ── min-p ── draw
//! ```
//!
//! - The correction (offset, smoothing, rescaling; see [`Corrector`]) undoes part
//!   of what quantisation did to the model's own logits, so it comes before
//!   anything that the user asked for: a forbidden token must not enter its state.
//! - Bias and penalties change logits, so they come before anything that looks
//!   at probabilities, and they hold for the greedy choice too. Bias comes
//!   first because a repetition penalty depends on the sign of the logit that
//!   the user asked for.
//! - Temperature comes before the truncations: `top_p` then means a share of the
//!   distribution that is really drawn from.
//! - `top_k` comes first of the truncations because it bounds the work of the
//!   others; `top_p` then sees the probabilities renormalised over the `k`.
//! - `min_p` compares with the most probable token, so it needs no sum and can
//!   come last.
//!
//! Hugging Face transformers applies the same order: processors, then
//! temperature, top-k, top-p, min-p. llama.cpp's default chain runs bias,
//! penalties, top-k, top-p, min-p and *then* temperature, so its truncations
//! look at temperature 1 and the same settings keep fewer tokens there when the
//! temperature is above 1, more when it is below.
//!
//! Every truncation keeps at least one token. Candidates are ordered by logit
//! descending, then id ascending; a cut through equal logits keeps the lower ids.
//!
//! One more filter: a field of [`SamplerOptions`] with its range in `check`,
//! its place in the order above, a line in the naive sampler of `tests/it`.

mod correction;
mod draw;
mod history;
mod kls;
mod likelihood;
mod options;
pub mod profile;
mod sampler;
mod truncate;

pub use correction::{CorrectRowError, Correction, CorrectionError, Corrector, SavedState};
pub use kls::{Gains, Gauge, Levels, Rescale, Scope, Smoothing, centre};
pub use lapwing_kernels::{Candidate, Level};
pub use likelihood::{log_probability, top_logits};
pub use options::{SamplerOptions, SamplerOptionsError};
pub use sampler::{Alternative, Choice, ChooseError, Details, Sampler};
