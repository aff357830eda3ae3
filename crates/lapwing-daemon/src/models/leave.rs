//! How models leave memory, why, and how many did.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Loaded, Models, What};

/// What processes get to end by themselves at the end of the daemon.
const END: Duration = Duration::from_secs(3);

/// Why a model left memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

impl Models {
    /// End a model's process, busy or not; gives what it was if there was one.
    pub(crate) fn unload(&self, name: &str, why: Leave) -> Option<Arc<Loaded>> {
        let loaded = self.table().loaded.remove(name);
        if let Some(loaded) = &loaded {
            self.let_go(loaded, why);
        }
        self.changed.notify_waiters();
        loaded
    }

    pub(super) fn let_go(&self, loaded: &Loaded, why: Leave) {
        loaded.dismiss();
        self.tell_left(&loaded.name, why);
    }

    pub(super) fn tell_left(&self, name: &str, why: Leave) {
        self.left.count(why);
        self.events.tell(name, What::Unloaded { why });
        tracing::info!(model = name, why = why.word(), "unloaded");
    }

    /// Unload what was kept long enough, as long as the daemon runs. Sleeps until the next is due.
    pub(crate) async fn keep_house(self: Arc<Self>) {
        loop {
            let changed = self.changed.notified();
            let now = Instant::now();
            let loaded = self.loaded();
            let idle = loaded.iter().filter(|loaded| !loaded.is_busy());
            let due = idle.filter_map(|loaded| Some((loaded.expires()?, &loaded.name)));
            match due.min() {
                Some((at, name)) if at <= now => drop(self.unload(name, Leave::Idle)),
                Some((at, _)) => {
                    let _ = tokio::time::timeout_at(at.into(), changed).await;
                }
                None => changed.await,
            }
        }
    }

    /// End all processes; those that do not end soon by themselves are ended by force.
    pub(crate) async fn unload_all(&self) {
        let loaded = self.loaded();
        for loaded in &loaded {
            self.unload(&loaded.name, Leave::Ending);
        }
        let ended = async {
            while loaded.iter().any(|loaded| !loaded.crowd.is_lost()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(END, ended).await.is_err() {
            let hanging = loaded.iter().filter(|loaded| !loaded.crowd.is_lost());
            hanging.for_each(|loaded| loaded.crowd.kill());
        }
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
