//! OpenAI's interface: chat completions, completions, responses, embeddings and models.

pub(crate) mod answer;
mod chat;
mod completions;
mod embeddings;
mod models;
pub(crate) mod prompts;
pub(crate) mod request;
mod responses;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;

pub(crate) fn routes() -> Router<App> {
    let router = Router::new()
        .route("/v1/completions", post(completions::complete))
        .route("/v1/embeddings", post(embeddings::embed));
    // llama.cpp's server has most of them without the version, too.
    ["/v1", ""].into_iter().fold(router, |router, version| {
        router
            .route(&format!("{version}/models"), get(models::list))
            .route(&format!("{version}/models/{{*name}}"), get(models::get))
            .route(&format!("{version}/chat/completions"), post(chat::complete))
            .route(&format!("{version}/chat/completions/input_tokens"), post(chat::count))
            .route(&format!("{version}/responses"), post(responses::create))
            .route(&format!("{version}/responses/input_tokens"), post(responses::count))
    })
}
