//! Rests between steps: a model computes for a share of the time.

use std::time::{Duration, Instant};

/// A model that computes for a smaller share of the time stands still.
const DUTY_MIN: f64 = 0.01;

/// The share, and until when a model rests.
pub(crate) struct Pace {
    duty: f64,
    rests_until: Instant,
}

impl Pace {
    /// All of the time.
    pub(crate) fn full() -> Pace {
        Pace { duty: 1.0, rests_until: Instant::now() }
    }

    /// From now on this share of the time.
    pub(crate) fn set(&mut self, duty: f64) {
        self.duty = duty.clamp(DUTY_MIN, 1.0);
    }

    /// It has computed since `started`.
    pub(crate) fn worked(&mut self, started: Instant) {
        let rest = started.elapsed().mul_f64(1.0 / self.duty - 1.0);
        self.rests_until = Instant::now() + rest;
    }

    /// How long it still has to rest.
    pub(crate) fn rest(&self) -> Option<Duration> {
        let rest = self.rests_until.saturating_duration_since(Instant::now());
        (!rest.is_zero()).then_some(rest)
    }
}
