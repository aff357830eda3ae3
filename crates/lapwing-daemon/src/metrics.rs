//! Counters of what was served, since the daemon began.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lapwing_serving::message::{Ended, Why};

/// What the newest request counts in the mean of all.
const NEWEST: f64 = 0.1;

/// Counters since the daemon began.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) n_requests: AtomicU64,
    pub(crate) n_refused: AtomicU64,
    pub(crate) n_cancelled: AtomicU64,
    pub(crate) n_prompt_tokens: AtomicU64,
    pub(crate) n_reused_tokens: AtomicU64,
    pub(crate) n_tokens: AtomicU64,
    prompt_us: AtomicU64,
    answer_us: AtomicU64,
    /// What a request took lately.
    seconds: Mutex<f64>,
}

impl Metrics {
    pub(crate) fn count_refused(&self) {
        self.n_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// An answer was made that took `elapsed` since its request.
    pub(crate) fn count(&self, ended: &Ended, elapsed: Duration) {
        let add = |counter: &AtomicU64, n: u64| counter.fetch_add(n, Ordering::Relaxed);
        add(&self.n_requests, 1);
        add(&self.n_cancelled, u64::from(ended.why == Why::Cancelled));
        add(&self.n_prompt_tokens, (ended.n_prompt - ended.n_reused) as u64);
        add(&self.n_reused_tokens, ended.n_reused as u64);
        add(&self.n_tokens, ended.n_tokens as u64);
        add(&self.prompt_us, (ended.prompt_ms * 1e3) as u64);
        add(&self.answer_us, (ended.answer_ms * 1e3) as u64);
        let mut seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        *seconds += (elapsed.as_secs_f64() - *seconds) * if *seconds == 0.0 { 1.0 } else { NEWEST };
    }

    /// What a request took lately.
    pub(crate) fn seconds_a_request(&self) -> f64 {
        *self.seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds of reading prompts and of making answers.
    pub(crate) fn seconds(&self) -> (f64, f64) {
        let seconds = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64 / 1e6;
        (seconds(&self.prompt_us), seconds(&self.answer_us))
    }
}
