//! What clients and dashboards of llama.cpp's own server ask: health, properties, tokens, metrics,
//! embeddings, and `/completion`.
//!
//! Requests that name no model mean the default, as everywhere.

mod completion;
mod embedding;
mod metrics;
mod properties;
mod tokens;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::refusal::{Code, Refusal};
use crate::routes::{Routes, told};

pub(crate) fn routes() -> Routes {
    let routes = Routes::new()
        .get("/props", properties::properties, told("How a model is served"))
        .get("/slots", properties::slots, told("Places for answers of loaded models"))
        .post("/tokenize", tokens::tokenize, told("The tokens of a text"))
        .post("/detokenize", tokens::detokenize, told("The text of tokens"))
        .post("/apply-template", tokens::apply_template, told("The prompt of a conversation"))
        .get(
            "/metrics",
            metrics::metrics,
            told("Counters, as Prometheus reads them").gives_any(metrics::CONTENT_TYPE),
        );
    let routes =
        routes.post("/infill", infill, told("Not done here").refuses(StatusCode::NOT_IMPLEMENTED));
    let routes = ["/health", "/v1/health"].into_iter().fold(routes, |routes, path| {
        routes.get(path, health, told("Whether it can be asked").open())
    });
    let routes = ["/embedding", "/embeddings"].into_iter().fold(routes, |routes, path| {
        routes.post(path, embedding::embedding, told("Turn texts into vectors"))
    });
    ["/completion", "/completions"].into_iter().fold(routes, |routes, path| {
        routes.post(
            path,
            completion::complete,
            told("Go on from a text").gives::<completion::Answer>().events::<completion::Part>(),
        )
    })
}

/// Models are loaded when they are asked for: who listens is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
