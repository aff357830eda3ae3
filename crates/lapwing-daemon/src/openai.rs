//! OpenAI's interface: chat completions, completions, embeddings and models.

pub(crate) mod answer;
mod chat;
mod completions;
mod embeddings;
mod models;
mod prompts;
pub(crate) mod request;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*name}", get(models::get))
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/completions", post(completions::complete))
        .route("/v1/embeddings", post(embeddings::embed))
}
