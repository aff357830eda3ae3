//! The daemon's own interface, `/v1/lapwing`: what it holds, and answers in the words of
//! [`lapwing_serving::message`]. The program itself asks here ([`crate::Client`]); its paths and
//! fields may change with a version, which it tells.

mod answer;
mod events;
mod records;
mod state;
mod used;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;

pub use state::{About, LoadedModel, ModelState};

pub(crate) use answer::AnswerRequest;
pub(crate) use state::{Models, OfModel, Unloaded};

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route(ABOUT, get(state::about))
        .route(MODELS, get(state::models))
        .route("/v1/lapwing/power", get(state::power))
        .route("/v1/lapwing/devices", get(state::devices))
        .route("/v1/lapwing/profiles", get(records::records))
        .route("/v1/lapwing/report", get(records::report))
        .route(USED, get(used::used))
        .route("/v1/lapwing/events", get(events::events))
        .route("/models/sse", get(events::status_changes))
        .route(UNLOAD, post(state::unload))
        .route("/v1/lapwing/models/device", post(state::choose_device))
        .route(ANSWER, post(answer::answer))
}

/// Which daemon this is.
pub(crate) const ABOUT: &str = "/v1/lapwing";
/// What there is and what is loaded.
pub(crate) const MODELS: &str = "/v1/lapwing/models";
/// What answers took.
pub(crate) const USED: &str = "/v1/lapwing/use";
/// Unload a model.
pub(crate) const UNLOAD: &str = "/v1/lapwing/models/unload";
/// An answer, a [`lapwing_serving::message::Said`] a line.
pub(crate) const ANSWER: &str = "/v1/lapwing/answer";
