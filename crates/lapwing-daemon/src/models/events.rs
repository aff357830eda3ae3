//! What happens to models, for whoever wants to hear of it. To listen loads no model and keeps none.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use utoipa::ToSchema;

use super::{Leave, Outcome};

/// Events that wait for a listener; one that is further behind hears no more.
const N_WAITING_MAX: usize = 64;

/// Something happened to a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ModelEvent {
    pub(crate) model: String,
    #[serde(flatten)]
    pub(crate) what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = models::What)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum What {
    /// Its process was started.
    Loading,
    /// It answers.
    Loaded,
    /// It could not be loaded.
    Failed { error: String },
    /// It left memory.
    Unloaded { why: Leave },
}

impl What {
    /// What loading came to.
    pub(super) fn of(outcome: &Outcome) -> What {
        match outcome {
            Ok(_) => What::Loaded,
            Err(refusal) => What::Failed { error: refusal.message.clone() },
        }
    }
}

/// Tells events to those who listen.
#[derive(Debug)]
pub(super) struct Events(Mutex<Option<broadcast::Sender<ModelEvent>>>);

impl Events {
    pub(super) fn new() -> Events {
        Events(Mutex::new(Some(broadcast::Sender::new(N_WAITING_MAX))))
    }

    pub(super) fn tell(&self, model: &str, what: What) {
        if let Some(sender) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // Nobody may listen.
            let _ = sender.send(ModelEvent { model: model.to_owned(), what });
        }
    }

    /// What happens from now on; nothing when there is an end to it.
    pub(super) fn listen(&self) -> Option<broadcast::Receiver<ModelEvent>> {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sender.as_ref().map(broadcast::Sender::subscribe)
    }

    /// Let those who listen go.
    pub(super) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::RecvError;

    use super::*;

    #[test]
    fn an_event_is_told_flat() {
        let json = |what| serde_json::to_value(ModelEvent { model: "a".into(), what }).unwrap();
        let loading = serde_json::json!({"model": "a", "state": "loading"});
        assert_eq!(json(What::Loading), loading);
        let unloaded = serde_json::json!({"model": "a", "state": "unloaded", "why": "pressure"});
        assert_eq!(json(What::Unloaded { why: Leave::Pressure }), unloaded);
    }

    #[tokio::test]
    async fn who_is_too_far_behind_hears_no_more_and_nobody_waits_for_him() {
        let events = Events::new();
        let mut slow = events.listen().unwrap();
        for _ in 0..=N_WAITING_MAX {
            events.tell("a", What::Loading);
        }
        assert!(matches!(slow.recv().await, Err(RecvError::Lagged(1))));
        let mut quick = events.listen().unwrap();
        events.end();
        assert!(matches!(quick.recv().await, Err(RecvError::Closed)));
        assert!(events.listen().is_none());
    }
}
