//! Memory for models: what they take together, and who goes where it is short.

use std::time::{Duration, Instant};

use axum::http::StatusCode;

use super::Models;
use crate::refusal::{Code, Refusal};

/// How long a request waits for memory that busy models hold.
const PATIENCE: Duration = Duration::from_secs(120);

impl Models {
    /// Unload models that nobody uses until `n_bytes` fit.
    pub(super) async fn make_room(&self, name: &str, n_bytes: u64) -> Result<(), Refusal> {
        let deadline = Instant::now() + PATIENCE;
        let n_max = self.options.now().n_memory_bytes_max;
        if n_max < n_bytes {
            let message = format!(
                "'{name}' does not fit: it takes about {n_bytes} bytes of memory, and models may \
                 take {n_max}"
            );
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Code::Busy, message));
        }
        let full = |n_used: u64| {
            let message = format!(
                "no memory for '{name}': it takes about {n_bytes} bytes, and busy models hold \
                 {n_used} of {n_max}"
            );
            Refusal::busy(message, 10)
        };
        let turn = tokio::time::timeout_at(deadline.into(), self.room.lock()).await;
        let Ok(_turn) = turn else { return Err(full(self.n_bytes_used())) };
        loop {
            let changed = self.changed.notified();
            let Err(n_used) = self.unload_beyond(n_max.saturating_sub(n_bytes)) else {
                self.table().expected.insert(name.to_owned(), n_bytes);
                return Ok(());
            };
            if tokio::time::timeout_at(deadline.into(), changed).await.is_err() {
                return Err(full(n_used));
            }
        }
    }

    /// What models take that are loaded, or being loaded.
    fn n_bytes_used(&self) -> u64 {
        let table = self.table();
        let loaded = table.loaded.values().map(|loaded| loaded.n_bytes());
        loaded.chain(table.expected.values().copied()).sum()
    }

    /// Unload models that nobody uses, those not used for longest first, until the others take at most
    /// `n_max` bytes; what they take if it is more.
    pub(super) fn unload_beyond(&self, n_max: u64) -> Result<(), u64> {
        loop {
            let n_used = self.n_bytes_used();
            if n_used <= n_max {
                return Ok(());
            }
            let loaded = self.loaded();
            let idle = loaded.iter().filter(|loaded| !loaded.is_busy() && !loaded.is_dismissed());
            let oldest = idle.min_by_key(|loaded| loaded.used()).ok_or(n_used)?;
            self.unload(&oldest.name);
        }
    }
}
