//! What clients and dashboards of llama.cpp's own server ask: health, properties, tokens, metrics,
//! embeddings, and `/completion`.
//!
//! Requests that name no model mean the default, as everywhere.

mod completion;
mod embedding;
mod metrics;
mod properties;
mod tokens;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{any, get, post};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::refusal::{Code, Refusal};

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/health", get(health))
        .route("/v1/health", get(health))
        .route("/props", get(properties::properties))
        .route("/slots", get(properties::slots))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/apply-template", post(tokens::apply_template))
        .route("/embedding", post(embedding::embedding))
        .route("/embeddings", post(embedding::embedding))
        .route("/metrics", get(metrics::metrics))
        .route("/completion", post(completion::complete))
        .route("/completions", post(completion::complete))
        .route("/infill", any(infill))
}

/// Models are loaded when they are asked for: who listens is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Health {
    status: String,
}

async fn health() -> axum::Json<Health> {
    axum::Json(Health { status: "ok".to_owned() })
}

/// Editors try it to see whether the server can.
async fn infill() -> Refusal {
    let message = "models are not asked to fill in between two texts: they go on from one \
                   (/completion), or answer (/v1/chat/completions)";
    Refusal::new(StatusCode::NOT_IMPLEMENTED, Code::NotImplemented, message)
}
