//! Room for models: the budget, what the machine has left, and which of them goes when it is short.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use lapwing_measure::conditions::memory_available_bytes;

use super::{Leave, Loaded, Models};
use crate::refusal::{Code, Refusal};

/// How long a request waits for memory that busy models hold.
const PATIENCE: Duration = Duration::from_secs(120);
/// When to come again for memory that others hold, in seconds.
const RETRY_S: u64 = 10;

impl Models {
    /// Unload models that nobody uses until `n_bytes` fit into the budget and into what the machine has
    /// left.
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
            Refusal::busy(message, RETRY_S)
        };
        let turn = tokio::time::timeout_at(deadline.into(), self.room.lock()).await;
        let Ok(_turn) = turn else { return Err(full(self.n_bytes_used())) };
        loop {
            let changed = self.changed.notified();
            let Err(n_used) = self.unload_beyond(n_max.saturating_sub(n_bytes)) else { break };
            if tokio::time::timeout_at(deadline.into(), changed).await.is_err() {
                return Err(full(n_used));
            }
        }
        self.wait_for_memory(name, n_bytes, deadline).await?;
        self.table().expected.insert(name.to_owned(), n_bytes);
        Ok(())
    }

    /// What models take that are loaded, or being loaded.
    fn n_bytes_used(&self) -> u64 {
        let table = self.table();
        let loaded = table.loaded.values().map(|loaded| loaded.n_bytes());
        loaded.chain(table.expected.values().copied()).sum()
    }

    /// Unload models that nobody uses, one by one, until the machine has `n_bytes` left. Where it does
    /// not tell, the budget alone counts.
    async fn wait_for_memory(
        &self,
        name: &str,
        n_bytes: u64,
        deadline: Instant,
    ) -> Result<(), Refusal> {
        loop {
            let changed = self.changed.notified();
            let system = self.options.now().system.clone();
            let Ok(n_available) = memory_available_bytes(&system) else { return Ok(()) };
            if n_bytes <= n_available {
                return Ok(());
            }
            if let Some(left) = self.unload_oldest(Leave::Budget) {
                left.has_ended().await;
                continue;
            }
            let is_hopeless = self.loaded().is_empty();
            if is_hopeless || tokio::time::timeout_at(deadline.into(), changed).await.is_err() {
                let message = format!(
                    "no memory for '{name}': it takes about {n_bytes} bytes, and this machine has \
                     {n_available} left"
                );
                return Err(Refusal::busy(message, RETRY_S));
            }
        }
    }

    /// Unload models that nobody uses, those not used for longest first, until the others take at most
    /// `n_max` bytes; what they take if it is more.
    pub(super) fn unload_beyond(&self, n_max: u64) -> Result<(), u64> {
        loop {
            let n_used = self.n_bytes_used();
            if n_used <= n_max {
                return Ok(());
            }
            self.unload_oldest(Leave::Budget).ok_or(n_used)?;
        }
    }

    /// Unload the model that was not used for longest, of those that nobody uses.
    pub(crate) fn unload_oldest(&self, why: Leave) -> Option<Arc<Loaded>> {
        let loaded = self.loaded();
        let idle = loaded.iter().filter(|loaded| !loaded.is_busy() && !loaded.is_dismissed());
        let oldest = idle.min_by_key(|loaded| loaded.used())?;
        self.unload(&oldest.name, why)
    }
}
