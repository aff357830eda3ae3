//! Anthropic's interface: messages, and how many tokens they have.

mod answer;
mod content;
mod conversation;
mod messages;
mod request;

use axum::Router;
use axum::routing::post;

use crate::app::App;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/v1/messages", post(messages::create))
        .route("/v1/messages/count_tokens", post(messages::count_tokens))
}
