//! Ollama's interface, its reading side: what there is, what is loaded, chats, texts and embeddings; and
//! models of the catalogue where clients may pull them.
//! Whatever would make, copy or send a model away is refused with a reason.

mod answer;
mod chat;
mod conversation;
mod embed;
mod generate;
mod models;
mod options;
mod pull;
mod request;
mod time;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::HttpMethod::{Delete, Head, Post};

use crate::refusal::{Code, Refusal};
use crate::routes::{Routes, told};

/// Which of Ollama's versions this interface is like. Clients look at it: some demand three bare
/// numbers of at least 0.6.4, and later ones stand for what can be asked, such as thoughts and log
/// probabilities. Lapwing's own version would tell them that the server is too old.
const VERSION: &str = "0.13.0";

pub(crate) fn routes() -> Routes {
    use answer::Line;
    let answered = |summary| told(summary).gives::<Line>().lines::<Line>();
    let routes = Routes::new()
        .get("/api/version", version, told("Which version of Ollama this is like"))
        .get("/api/tags", models::tags, told("What there is"))
        .get("/api/ps", models::ps, told("What is loaded"))
        .post("/api/show", models::show, told("A model in detail"))
        .post("/api/chat", chat::chat, answered("Answer a conversation"))
        .post("/api/generate", generate::generate, answered("Answer a prompt"))
        .post("/api/embed", embed::embed, told("Turn texts into vectors"))
        .post("/api/embeddings", embed::embeddings, told("Turn a text into a vector"))
        .post(
            "/api/pull",
            pull::pull,
            told("Pull a model of the catalogue, where that is allowed")
                .gives::<pull::Line>()
                .lines::<pull::Line>()
                .refuses(StatusCode::NOT_IMPLEMENTED),
        );
    let none = |routes: Routes, method, path, reason: &'static str| {
        let told = told("Not done here").refuses(StatusCode::NOT_IMPLEMENTED);
        routes.route(method, path, move || not_done(reason), told)
    };
    let routes = none(routes, Post, "/api/create", "models are made by whoever runs it");
    let routes =
        none(routes, Post, "/api/copy", "other names of models are given when it is started");
    let routes = none(routes, Delete, "/api/delete", "models are removed by whoever runs it");
    let routes = none(routes, Post, "/api/push", "models are sent nowhere");
    let routes = none(routes, Head, "/api/blobs/{digest}", "files of models are not taken");
    none(routes, Post, "/api/blobs/{digest}", "files of models are not taken")
}

/// At `/`: for the command line and for whoever watches whether the server is there.
pub(crate) fn alive() -> Response {
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    ([(header::CONTENT_TYPE, plain)], "Ollama is running").into_response()
}

/// `/api/version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
struct Version {
    version: String,
}

async fn version() -> Json<Version> {
    Json(Version { version: VERSION.to_owned() })
}

/// 404 would make clients think that the server is old.
async fn not_done(reason: &str) -> Refusal {
    let message = format!("this server does not do that: {reason}");
    Refusal::new(StatusCode::NOT_IMPLEMENTED, Code::NotImplemented, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_three_bare_numbers_that_clients_accept() {
        let numbers: Vec<u32> = VERSION.split('.').map(|part| part.parse().unwrap()).collect();
        assert_eq!(numbers.len(), 3);
        assert!([0, 6, 4].as_slice() <= numbers.as_slice(), "{VERSION}");
        let version = Version { version: VERSION.to_owned() };
        let json = serde_json::to_string(&version).unwrap();
        assert_eq!(serde_json::from_str::<Version>(&json).unwrap(), version);
    }
}
