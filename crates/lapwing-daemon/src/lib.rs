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
//! `protocol`. What a route takes and gives is told by `/openapi.json`, from the route itself (`routes`).

mod answers;
mod anthropic;
mod app;
mod begun;
mod bind;
mod body;
mod checks;
mod client;
mod embedded;
mod ending;
mod guard;
mod in_use;
mod listen;
mod llama_server;
mod logprobs;
mod metrics;
mod models;
mod ollama;
mod openai;
mod options;
#[cfg(feature = "otlp")]
mod otlp;
mod own;
mod page;
mod power;
mod pressure;
mod protocol;
mod pulls;
mod recorder;
mod refusal;
mod request_id;
mod routes;
mod schemas;
mod stream;
mod timings;

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::{Router, middleware};
use tokio::sync::watch;

use app::App;
use refusal::{Code, Refusal};
use routes::Routes;

pub use bind::{BindError, Given, adopt, bind, bind_socket};
pub use client::{Client, ClientError};
pub use in_use::{LeftOut, Used};
pub use listen::Listener;
pub use models::parse_seconds;
pub use options::{Address, Key, Names, Options};
pub use own::{About, LoadedModel, ModelState};
pub use power::{Manner, ParseRuleError, Policy, PowerRule, Situation};

/// Whether this build can push metrics to a collector.
pub const PUSHES_METRICS: bool = cfg!(feature = "otlp");
/// What those who are answered when the daemon's time is over get to hear of it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A daemon. What it was told may change while it serves.
#[derive(Clone)]
pub struct Daemon {
    app: App,
}

impl Daemon {
    /// One that holds nothing and hears nobody yet.
    pub fn new(options: Options) -> Daemon {
        Daemon { app: App::new(options) }
    }

    /// Do as `options` say from now on, but for the addresses, which stay. What is being answered goes
    /// on as it began; a model that was opened otherwise is opened anew by the next request that finds
    /// nobody using it.
    ///
    /// # Errors
    ///
    /// When other computers reach an address, and there is no key any more. Nothing is changed then.
    pub fn change(&self, options: Options) -> Result<(), BindError> {
        let addresses = self.app.options.now().addresses.clone();
        let options = Options { addresses, ..options };
        bind::check(&options)?;
        self.app.power.change(options.power.clone());
        self.app.options.replace(options);
        self.app.models.pace(self.app.power.manner().duty);
        self.app.watch();
        self.app.models.heed_options();
        #[cfg(feature = "otlp")]
        self.app.push();
        Ok(())
    }

    /// The models that are loaded.
    pub fn loaded(&self) -> Vec<String> {
        self.app.models.loaded().iter().map(|loaded| loaded.name.clone()).collect()
    }

    /// Ends when something was loaded, ended or became idle after this call.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.app.models.changed.notified()
    }

    /// Serve on `listeners` until `stop` holds true, and end the models' processes then.
    pub async fn serve(&self, listeners: Vec<Listener>, stop: watch::Receiver<bool>) {
        let app = &self.app;
        #[cfg(feature = "otlp")]
        app.push();
        let grace = app.options.now().grace;
        let (ending, mut stopped) = (app.ending.clone(), stop.clone());
        let end = tokio::spawn(async move {
            drop(stopped.wait_for(|stop| *stop).await);
            tokio::time::sleep(grace).await;
            ending.begin();
        });
        let house = tokio::spawn(Arc::clone(&app.models).keep_house());
        let pressure = tokio::spawn(Arc::clone(&app.pressure).heed(Arc::clone(&app.models)));
        let (models, mut stopped) = (Arc::clone(&app.models), stop.clone());
        let events = tokio::spawn(async move {
            // Whoever listens to events would hold up the end.
            let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
            models.end_events();
        });
        let mut servers = tokio::task::JoinSet::new();
        for listener in listeners {
            servers.spawn(listen::serve(
                listener,
                routes(app.clone()),
                stop.clone(),
                grace + LAST_WORDS,
            ));
        }
        while servers.join_next().await.is_some() {}
        end.abort();
        house.abort();
        pressure.abort();
        events.abort();
        app.models.unload_all().await;
        #[cfg(feature = "otlp")]
        {
            let exports = Arc::clone(&app.counts.exports);
            // The last push waits for the collector, in a thread that may.
            let _ = tokio::task::spawn_blocking(move || exports.end()).await;
        }
    }
}

/// Everything that is answered.
fn routes(app: App) -> Router {
    described_routes()
        .with_document()
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(app.clone(), guard::check))
        .layer(middleware::from_fn(protocol::tell_refusals))
        .with_state(app)
}

/// What the protocols answer.
fn described_routes() -> Routes {
    Routes::new()
        .merge(openai::routes())
        .merge(ollama::routes())
        .merge(anthropic::routes())
        .merge(llama_server::routes())
        .merge(own::routes())
        .merge(page::routes())
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
