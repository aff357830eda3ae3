//! The end of the daemon, for answers that are not done by then.

use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::watch;

use crate::refusal::{Code, Refusal};

/// Comes when what is not done yet is not waited for any more.
#[derive(Clone)]
pub(crate) struct Ending(Arc<watch::Sender<bool>>);

impl Default for Ending {
    fn default() -> Ending {
        Ending(Arc::new(watch::Sender::new(false)))
    }
}

impl Ending {
    /// It has come.
    pub(crate) fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Wait for it.
    pub(crate) async fn comes(&self) {
        // The sender lives as long as this.
        let mut told = self.0.subscribe();
        drop(told.wait_for(|has_come| *has_come).await);
    }

    /// What is told then.
    pub(crate) fn refusal() -> Refusal {
        let message = "the daemon ends, and this was not done in time";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Code::Busy, message)
    }
}
