//! A model that is loaded: its process, who uses it, and until when it is kept.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use lapwing_host::worker::crowd::Crowd;
use lapwing_serving::message::{Ask, Card, Listing, Opening, Said, State};

use super::{KeepAlive, Models};
use crate::answers::Answers;
use crate::in_use::Answerer;

/// A worker that reads a prompt as a whole says nothing meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a process that was dismissed gets to end, before nobody waits for its memory any more.
const END: Duration = Duration::from_secs(10);
/// How often its end is looked for.
const POLL: Duration = Duration::from_millis(20);

/// A model that is loaded.
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) listing: Listing,
    pub(crate) opening: Opening,
    pub(crate) card: Card,
    /// What its answers are recorded of.
    pub(crate) answerer: Arc<Answerer>,
    pub(crate) crowd: Crowd<Ask, Said>,
    /// How long loading it took.
    pub(crate) load: Duration,
    n_bytes: AtomicU64,
    n_users: AtomicUsize,
    is_dismissed: Arc<AtomicBool>,
    duty: Mutex<f64>,
    times: Mutex<Times>,
}

/// When it was used last, and how long it stays after that.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) used: Instant,
    /// `None` for ever, as far as memory reaches.
    pub(super) kept_for: Option<Duration>,
}

impl Loaded {
    pub(super) fn new(
        listing: Listing,
        (opening, card, answerer): (Opening, Card, Answerer),
        crowd: Crowd<Ask, Said>,
        n_bytes: u64,
        load: Duration,
        times: Times,
        is_dismissed: Arc<AtomicBool>,
    ) -> Loaded {
        Loaded {
            name: listing.name.clone(),
            listing,
            opening,
            card,
            answerer: Arc::new(answerer),
            crowd,
            load,
            n_bytes: n_bytes.into(),
            n_users: AtomicUsize::new(0),
            is_dismissed,
            duty: Mutex::new(1.0),
            times: Mutex::new(times),
        }
    }

    fn times(&self) -> std::sync::MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What its process holds in memory.
    pub(crate) fn n_bytes(&self) -> u64 {
        self.n_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.n_users.load(Ordering::Relaxed) != 0
    }

    /// When it was used last.
    pub(crate) fn used(&self) -> Instant {
        self.times().used
    }

    /// Until when it is kept, if nobody uses it.
    pub(crate) fn expires(&self) -> Option<Instant> {
        let Times { used, kept_for } = *self.times();
        kept_for.and_then(|kept_for| used.checked_add(kept_for))
    }

    /// The same on the clock of the world.
    pub(crate) fn expires_at(&self) -> Option<SystemTime> {
        let left = self.expires()?.saturating_duration_since(Instant::now());
        SystemTime::now().checked_add(left)
    }

    /// How things stand with it; to ask is no use of it. `None` if it says nothing soon.
    pub(crate) async fn look(&self) -> Option<State> {
        let answers = Answers::of(&self.crowd, &Ask::Look, None);
        match tokio::time::timeout(PATIENCE, answers.last()).await {
            Ok(Ok(Said::State(state))) => Some(state),
            _ => None,
        }
    }

    /// Let it compute for this share of the time, unless it does already.
    pub(super) fn pace(&self, duty: f64) {
        let mut told = self.duty.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != duty {
            *told = duty;
            self.crowd.tell(&Ask::Pace(duty));
        }
    }

    pub(super) fn is_dismissed(&self) -> bool {
        self.is_dismissed.load(Ordering::Relaxed)
    }

    /// Let its process end.
    pub(super) fn dismiss(&self) {
        self.is_dismissed.store(true, Ordering::Relaxed);
        self.crowd.dismiss();
    }

    /// Ends when its process has ended, which was dismissed, or hangs.
    pub(crate) async fn has_ended(&self) {
        let deadline = tokio::time::Instant::now() + END;
        while !self.crowd.is_lost() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
    }

    /// Begin to use it; it is kept as long as `keep_alive` says after that.
    pub(super) fn begin(self: &Arc<Self>, keep_alive: KeepAlive, models: &Arc<Models>) -> Busy {
        self.n_users.fetch_add(1, Ordering::Relaxed);
        self.times().kept_for = models.kept_for(keep_alive);
        Busy { loaded: Arc::clone(self), models: Arc::clone(models) }
    }
}

/// Somebody uses a model.
pub(super) struct Busy {
    loaded: Arc<Loaded>,
    models: Arc<Models>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.loaded.times().used = Instant::now();
        if let Some(n_bytes) = self.loaded.crowd.resident_bytes() {
            self.loaded.n_bytes.store(n_bytes, Ordering::Relaxed);
        }
        if self.loaded.n_users.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.models.changed.notify_waiters();
        }
    }
}
