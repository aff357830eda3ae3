//! OpenAI's interface: chat completions, completions, responses, embeddings and models.

pub(crate) mod answer;
mod chat;
mod completions;
mod embeddings;
mod models;
mod prompts;
pub(crate) mod request;
mod responses;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*name}", get(models::get))
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/chat/completions/input_tokens", post(chat::count))
        .route("/v1/completions", post(completions::complete))
        .route("/v1/responses", post(responses::create))
        .route("/v1/responses/input_tokens", post(responses::count))
        .route("/v1/embeddings", post(embeddings::embed))
}
