//! OpenAI's interface: chat completions and models.

pub(crate) mod answer;
mod chat;
mod models;
pub(crate) mod request;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*name}", get(models::get))
        .route("/v1/chat/completions", post(chat::complete))
}
