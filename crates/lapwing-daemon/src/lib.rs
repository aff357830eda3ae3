//! The daemon: language models over the interfaces that existing clients speak.
//!
//! ```text
//! listen ─► guard (host, origin, key) ─► a protocol: openai, ollama, anthropic, llama_server
//!                                           │ reads its JSON, finds the model
//!                                           ▼
//!                              App::generate ─► models (loaded, kept, unloaded) ─► a worker
//!                                           │
//!                              Answers ◄────┴── what the worker says, a token at a time
//!                                 │
//!                              the protocol's JSON, whole or as a stream
//! ```
//!
//! No model's file is read here, no template rendered and no library loaded: that is done by workers
//! ([`lapwing_serving`]), one process for each loaded model. This is the only crate that knows HTTP,
//! the protocols' JSON, and waits without a thread.
//!
//! What a browser gets at `/` is `page`, from the files in `page/`.
//!
//! To add a protocol: a module beside `openai` with its routes, and its way to refuse in
//! `protocol`.

mod answers;
mod anthropic;
mod app;
mod begun;
mod bind;
mod body;
mod checks;
mod client;
mod embedded;
mod guard;
mod listen;
mod llama_server;
mod logprobs;
mod metrics;
mod models;
mod ollama;
mod openai;
mod options;
mod own;
mod page;
mod power;
mod protocol;
mod refusal;
mod request_id;
mod timings;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::{Router, middleware};
use tokio::sync::watch;

use app::App;
use refusal::{Code, Refusal};

pub use bind::{BindError, bind, bind_socket};
pub use client::{Client, ClientError};
pub use listen::Listener;
pub use models::parse_seconds;
pub use options::{Address, Key, Names, Options};
pub use own::{About, LoadedModel, ModelState};
pub use power::{Manner, ParseRuleError, Policy, PowerRule, Situation};

/// Serve on `listeners` until `stop` holds true, and end the models' processes then.
pub async fn serve(options: Options, listeners: Vec<Listener>, stop: watch::Receiver<bool>) {
    let grace = options.grace;
    let app = App::new(options);
    let house = tokio::spawn(Arc::clone(&app.models).keep_house());
    let mut servers = tokio::task::JoinSet::new();
    for listener in listeners {
        servers.spawn(listen::serve(listener, routes(app.clone()), stop.clone(), grace));
    }
    while servers.join_next().await.is_some() {}
    house.abort();
    app.models.unload_all();
}

/// Everything that is answered.
fn routes(app: App) -> Router {
    Router::new()
        .merge(openai::routes())
        .merge(ollama::routes())
        .merge(anthropic::routes())
        .merge(llama_server::routes())
        .merge(own::routes())
        .merge(page::routes())
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(app.clone(), guard::check))
        .layer(middleware::from_fn(protocol::tell_refusals))
        .with_state(app)
}

/// Seconds since 1970.
fn unix_seconds() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

async fn no_route() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, Code::NoRoute, "there is nothing at this path")
}

async fn wrong_method() -> Refusal {
    let message = "this path is not asked with this method";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, Code::Request, message)
}
