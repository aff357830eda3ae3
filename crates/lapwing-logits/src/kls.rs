//! Kalman-Logit Smoothing: each logit is followed over the steps by its own steady-state filter.
//!
//! Quantisation disturbs logits. KLS takes the disturbance for noise on a slowly moving state `s`
//! and estimates that state, one number per token:
//!
//! ```text
//! step(y):
//!     c = gauge(y)                        softmax knows logits up to a constant: take it out
//!     for every followed token:
//!         y not finite    -> out = y, and s stays
//!         no s yet        -> s = y - c, out = y          (entering)
//!         else            -> s += K (y - c - s), out = s + c
//!     rescale(out)                        on the output only, never fed back
//! ```
//!
//! `K = 1` believes the new logit entirely: such a token passes through bit by bit. With
//! [`Levels`] the state first reverts towards a long-term value, `s = a s + (1 - a) l`.
//!
//! [`Scope::Full`] follows every token, here; [`Scope::TopK`] a changing set, in `tracked`.
//! One more gauge, scope or rescaling: its variant below, its branch in the file of that noun, and
//! its line in the naive filter of `tests/it`.

use std::sync::Arc;

use lapwing_kernels::{Level, Reversion, kls_update, kls_update_each, kls_update_reverting};
use serde::{Deserialize, Serialize};

mod gauge;
mod rescale;
mod tracked;

pub use gauge::centre;

use rescale::Rescaler;
use tracked::{TrackedSet, Tracker};

/// How the logits of a sequence are smoothed; checked by [`Correction`](crate::Correction).
#[derive(Clone, Debug, PartialEq)]
pub struct Smoothing {
    /// How far each state moves towards a new logit.
    pub gains: Gains,
    /// Which tokens are followed.
    pub scope: Scope,
    /// The constant that is taken out of a row before it is filtered.
    pub gauge: Gauge,
    /// Long-term levels to revert to; without them a state moves only with what is seen.
    pub reversion: Option<Levels>,
    /// What of the unsmoothed row the smoothed one is made to match.
    pub rescale: Rescale,
}

/// Kalman gains, each in `[0, 1]`: 0 keeps the state for ever, 1 is the new logit.
#[derive(Clone, Debug, PartialEq)]
pub enum Gains {
    /// One gain for all tokens.
    One(f32),
    /// A gain per token. Shapes: `[n_vocab]`.
    Each(Arc<[f32]>),
}

/// Which tokens a filter follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Scope {
    /// Every token of the vocabulary.
    Full,
    /// The largest `k` logits of this step and of the one before; the others pass through.
    ///
    /// Chosen by logit descending, then id ascending, among the finite ones. A token that leaves
    /// the set loses its state; when it comes back, it is new.
    TopK {
        /// `M`: at most this many tokens are followed; `k` is the half of it.
        n_tracked_max: usize,
    },
}

/// The constant of a row, over its finite entries: of all, also with [`Scope::TopK`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gauge {
    /// Their mean: followed is a centred logit.
    Mean,
    /// `ln` of the sum of their exponentials: followed is a log probability, in nats.
    LogSumExp,
}

/// Long-term levels `l` that every state reverts to, by `s = a s + (1 - a) l` before each update.
#[derive(Clone, Debug, PartialEq)]
pub struct Levels {
    /// `a`, in `[0, 1]`: what of a state is kept from one step to the next.
    pub coefficient: f32,
    /// `l`, of every token, with the gauge taken out. Shapes: `[n_vocab]`.
    pub levels: Arc<[f32]>,
}

/// What of the unsmoothed logits is restored by a map `z = m + (out - m_out) * scale`, where the
/// means are over the finite entries that are followed.
///
/// A scale that cannot be told (no spread to speak of, a `+inf` among the logits) is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Rescale {
    /// Nothing.
    Off,
    /// The variance of the followed logits, which the tail of the vocabulary rules.
    Variance,
    /// Mean and variance of the largest followed logits; the map is applied to all followed.
    TopVariance {
        /// How many, at least 2; the tokens are those of the unsmoothed row.
        n_top: usize,
    },
    /// The entropy of the distribution over the followed tokens.
    Entropy,
}

/// The filter of one sequence: what it remembers, and the room it works in.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    state: State,
    rescaler: Rescaler,
}

/// What a filter remembers between two steps.
#[derive(Clone, Debug)]
enum State {
    /// `s` of every token; NaN where there is none. Shapes: `[n_vocab]`.
    Full(Box<[f32]>),
    /// `s` of the followed tokens.
    TopK(Box<Tracker>),
}

/// What a filter remembered, to go back to.
#[derive(Clone, Debug)]
pub(crate) enum SavedFilter {
    /// Of [`Scope::Full`].
    Full(Box<[f32]>),
    /// Of [`Scope::TopK`].
    TopK(TrackedSet),
}

/// The update of a state, with all that it needs for every token of the vocabulary.
#[derive(Clone, Debug)]
pub(crate) enum Update {
    /// The same gain everywhere.
    One(f32),
    /// A gain per token.
    Each(Arc<[f32]>),
    /// A gain per token, after reverting to a long-term level.
    Reverting {
        /// Per token.
        gains: Arc<[f32]>,
        /// Where to, and how fast.
        reversion: Levels,
    },
}

impl Smoothing {
    /// The update to make at every step; `None` when every gain is 1, so that no row changes.
    pub(crate) fn update(&self, n_vocab: usize) -> Option<Update> {
        let passes_through = match &self.gains {
            Gains::One(gain) => *gain == 1.0,
            Gains::Each(gains) => gains.iter().all(|&gain| gain == 1.0),
        };
        let update = match (&self.gains, &self.reversion) {
            (Gains::One(gain), None) => Update::One(*gain),
            (Gains::Each(gains), None) => Update::Each(Arc::clone(gains)),
            (Gains::One(gain), Some(reversion)) => Update::Reverting {
                gains: vec![*gain; n_vocab].into(),
                reversion: reversion.clone(),
            },
            (Gains::Each(gains), Some(reversion)) => {
                Update::Reverting { gains: Arc::clone(gains), reversion: reversion.clone() }
            }
        };
        (!passes_through).then_some(update)
    }
}

impl Filter {
    /// A filter that has seen nothing.
    pub(crate) fn new(smoothing: &Smoothing, n_vocab: usize) -> Filter {
        let (state, n_followed) = match smoothing.scope {
            Scope::Full => (State::Full(vec![f32::NAN; n_vocab].into()), n_vocab),
            Scope::TopK { n_tracked_max } => {
                let tracker = Tracker::new(n_vocab, n_tracked_max);
                let n_followed = tracker.n_tracked_max();
                (State::TopK(Box::new(tracker)), n_followed)
            }
        };
        Filter { state, rescaler: Rescaler::new(smoothing.rescale, n_followed) }
    }

    /// Forget every state.
    pub(crate) fn reset(&mut self) {
        match &mut self.state {
            State::Full(states) => states.fill(f32::NAN),
            State::TopK(tracker) => tracker.set_mut().clear(),
        }
    }

    /// Copy what is remembered; no allocation when `into` came from a filter like this one.
    pub(crate) fn save(&self, into: &mut Option<SavedFilter>) {
        match (&self.state, into) {
            (State::Full(states), Some(SavedFilter::Full(saved))) => saved.clone_from(states),
            (State::TopK(tracker), Some(SavedFilter::TopK(saved))) => {
                saved.clone_from(tracker.set());
            }
            (State::Full(states), into) => *into = Some(SavedFilter::Full(states.clone())),
            (State::TopK(tracker), into) => {
                *into = Some(SavedFilter::TopK(tracker.set().clone()));
            }
        }
    }

    /// Remember what a filter of the same smoothing and vocabulary did.
    ///
    /// # Panics
    ///
    /// When it was another scope or vocabulary.
    pub(crate) fn restore(&mut self, saved: &SavedFilter) {
        match (&mut self.state, saved) {
            (State::Full(states), SavedFilter::Full(saved)) => states.copy_from_slice(saved),
            (State::TopK(tracker), SavedFilter::TopK(saved)) => tracker.set_mut().copy_from(saved),
            (state, saved) => panic!("{saved:.20?} restored into {state:.20?}"),
        }
    }

    /// Smooth one row in place; `None`, with everything as it was, when nothing in it is finite.
    ///
    /// Shapes: `row [n_vocab]`.
    pub(crate) fn step(
        &mut self,
        level: Level,
        smoothing: &Smoothing,
        update: &Update,
        row: &mut [f32],
    ) -> Option<()> {
        let gauge = gauge::of(level, smoothing.gauge, row)?;
        match &mut self.state {
            State::Full(states) => {
                let before = self.rescaler.measure(level, row);
                match update {
                    Update::One(gain) => kls_update(level, row, states, gauge, *gain),
                    Update::Each(gains) => kls_update_each(level, row, states, gauge, gains),
                    Update::Reverting { gains, reversion } => {
                        let reversion = reversion.borrowed();
                        kls_update_reverting(level, row, states, gauge, gains, reversion);
                    }
                }
                self.rescaler.restore(level, before, row);
            }
            State::TopK(tracker) => tracker.step(level, update, gauge, &mut self.rescaler, row),
        }
        Some(())
    }
}

impl Levels {
    fn borrowed(&self) -> Reversion<'_> {
        Reversion { coefficient: self.coefficient, levels: &self.levels }
    }
}
