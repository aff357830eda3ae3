//! Rests between steps: a model computes for a share of the time.

use std::time::{Duration, Instant};

/// A model that computes for a smaller share of the time stands still.
const DUTY_MIN: f64 = 0.01;

/// The share, and the work that is rested from.
pub(crate) struct Pace {
    duty: f64,
    /// How long it was, and when it ended.
    work: (Duration, Instant),
}

impl Pace {
    /// All of the time.
    pub(crate) fn full() -> Pace {
        Pace { duty: 1.0, work: (Duration::ZERO, Instant::now()) }
    }

    /// From now on this share of the time; of a rest that has begun, too.
    pub(crate) fn set(&mut self, duty: f64) {
        self.duty = duty.clamp(DUTY_MIN, 1.0);
    }

    /// It has computed since `started`.
    pub(crate) fn worked(&mut self, started: Instant) {
        self.work = (started.elapsed(), Instant::now());
    }

    /// How long it still has to rest.
    pub(crate) fn rest(&self) -> Option<Duration> {
        let (work, ended) = self.work;
        let rest = work.mul_f64(1.0 / self.duty - 1.0).saturating_sub(ended.elapsed());
        (!rest.is_zero()).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_follows_the_share_also_once_it_has_begun() {
        let mut pace = Pace::full();
        pace.worked(Instant::now().checked_sub(Duration::from_secs(10)).unwrap());
        assert_eq!(pace.rest(), None);
        pace.set(0.25);
        let rest = pace.rest().unwrap();
        assert!(Duration::from_secs(29) < rest && rest < Duration::from_secs(31), "{rest:?}");
        pace.set(1.0);
        assert_eq!(pace.rest(), None);
        pace.set(0.0);
        assert!(Duration::from_secs(900) < pace.rest().unwrap());
    }
}
