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

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::refusal::{Code, Refusal};

/// Which of Ollama's versions this interface is like. Clients look at it: some demand three bare
/// numbers of at least 0.6.4, and later ones stand for what can be asked, such as thoughts and log
/// probabilities. Lapwing's own version would tell them that the server is too old.
const VERSION: &str = "0.13.0";

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/api/version", get(version))
        .route("/api/tags", get(models::tags))
        .route("/api/ps", get(models::ps))
        .route("/api/show", post(models::show))
        .route("/api/chat", post(chat::chat))
        .route("/api/generate", post(generate::generate))
        .route("/api/embed", post(embed::embed))
        .route("/api/embeddings", post(embed::embeddings))
        .route("/api/pull", post(pull::pull))
        .route("/api/create", any(|| none("models are made by whoever runs it")))
        .route("/api/copy", any(|| none("other names of models are given when it is started")))
        .route("/api/delete", any(|| none("models are removed by whoever runs it")))
        .route("/api/push", any(|| none("models are sent nowhere")))
        .route("/api/blobs/{digest}", any(|| none("files of models are not taken")))
}

/// At `/`: for the command line and for whoever watches whether the server is there.
pub(crate) fn alive() -> Response {
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    ([(header::CONTENT_TYPE, plain)], "Ollama is running").into_response()
}

/// `/api/version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Version {
    version: String,
}

async fn version() -> Json<Version> {
    Json(Version { version: VERSION.to_owned() })
}

/// 404 would make clients think that the server is old.
async fn none(reason: &str) -> Refusal {
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
