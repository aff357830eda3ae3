//! What happens to models, as a stream of events.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::body::{self, Framing, Gone};
use crate::models::{Leave, ModelEvent, What};

/// What is loaded, and then whatever happens.
pub(super) async fn events(State(app): State<App>) -> Response {
    body::stream(Framing::Events, move |writer| async move {
        let Some(mut events) = app.models.listen() else { return Err(Gone) };
        for loaded in app.models.loaded() {
            let event = ModelEvent { model: loaded.name.clone(), what: What::Loaded };
            writer.event("model", &event).await?;
        }
        // Whoever is too far behind is let go, and hears how things stand when he comes again.
        while let Ok(event) = events.recv().await {
            writer.event("model", &event).await?;
        }
        Ok(())
    })
}

/// An event as llama.cpp's server in front of several models tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct StatusChange {
    model: String,
    event: String,
    data: Status,
}

/// How it stands with a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = own::events::Status)]
pub(super) struct Status {
    status: String,
    /// Where it ended otherwise than it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
}

impl StatusChange {
    fn of(event: ModelEvent) -> StatusChange {
        let (status, exit_code) = match event.what {
            What::Loading => ("loading", None),
            What::Loaded => ("loaded", None),
            What::Failed { .. } | What::Unloaded { why: Leave::Crashed } => ("unloaded", Some(1)),
            What::Unloaded { .. } => ("unloaded", None),
        };
        let data = Status { status: status.to_owned(), exit_code };
        StatusChange { model: event.model, event: "status_change".to_owned(), data }
    }
}

/// The same as clients of llama.cpp's server know it: without what is loaded already.
pub(super) async fn status_changes(State(app): State<App>) -> Response {
    body::stream(Framing::Events, move |writer| async move {
        let Some(mut events) = app.models.listen() else { return Err(Gone) };
        while let Ok(event) = events.recv().await {
            writer.data(&StatusChange::of(event)).await?;
        }
        Ok(())
    })
}
