//! Why models left memory, and how many did.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Why a model left memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Leave {
    /// Nobody used it for as long as it was to be kept.
    Idle,
    /// Another model needed the room.
    Budget,
    /// The machine ran short of memory.
    Pressure,
    /// Somebody wanted it.
    Asked,
    /// It is to be opened otherwise from now on.
    Changed,
    /// Its process was lost.
    Crashed,
    /// The daemon ends.
    Ending,
}

impl Leave {
    pub(crate) const ALL: [Leave; 7] = [
        Leave::Idle,
        Leave::Budget,
        Leave::Pressure,
        Leave::Asked,
        Leave::Changed,
        Leave::Crashed,
        Leave::Ending,
    ];

    /// The word for it, in events and metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Leave::Idle => "idle",
            Leave::Budget => "budget",
            Leave::Pressure => "pressure",
            Leave::Asked => "asked",
            Leave::Changed => "changed",
            Leave::Crashed => "crashed",
            Leave::Ending => "ending",
        }
    }
}

/// How many models left for which reason, since the daemon began.
#[derive(Debug, Default)]
pub(crate) struct Left([AtomicU64; Leave::ALL.len()]);

impl Left {
    pub(super) fn count(&self, why: Leave) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn n(&self, why: Leave) -> u64 {
        self.0[why as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_place_and_a_word_of_its_own() {
        let left = Left::default();
        for (place, why) in Leave::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, place);
            assert_eq!(serde_json::to_value(why).unwrap(), why.word());
            assert_eq!(left.n(why), 0);
            left.count(why);
            assert_eq!(left.n(why), 1);
        }
    }
}
