//! What chats and texts of Ollama's interface ask alike, and how both begin.

use std::time::{Duration, Instant};

use axum::Json;
use axum::response::{IntoResponse, Response};
use lapwing_serving::message::{Generate, Listing, Prompt};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::answer::{Frame, Kind};
use super::options::{Options, Think, form_of};
use crate::app::App;
use crate::checks::Stop;
use crate::logprobs;
use crate::models::KeepAlive;
use crate::refusal::Refusal;

/// What chats and texts ask alike.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(super) struct Common {
    model: Option<String>,
    format: Option<Value>,
    options: Option<Options>,
    think: Option<Think>,
    stream: Option<bool>,
    keep_alive: Option<KeepAlive>,
    logprobs: Option<bool>,
    top_logprobs: Option<u32>,
}

/// A request whose model is known.
pub(super) struct Beginning {
    pub(super) listing: Listing,
    pub(super) frame: Frame,
    pub(super) keep_alive: KeepAlive,
    pub(super) is_stream: bool,
}

impl Common {
    /// Find the model.
    pub(super) async fn begin(&self, app: &App, kind: Kind) -> Result<Beginning, Refusal> {
        let arrived = Instant::now();
        let listing = app.models.find(self.model.as_deref()).await?;
        let frame = Frame {
            kind,
            model: self.model.clone().unwrap_or_else(|| listing.name.clone()),
            has_logprobs: self.logprobs == Some(true),
            arrived,
            load: Duration::ZERO,
        };
        let keep_alive = self.keep_alive.unwrap_or_default();
        Ok(Beginning { listing, frame, keep_alive, is_stream: self.stream != Some(false) })
    }

    /// Whether to think, and how much, as far as the model can.
    pub(super) fn thinks(
        &self,
        listing: &Listing,
    ) -> Result<(Option<bool>, Option<String>), Refusal> {
        Think::told(self.think.clone(), &listing.name, listing.can)
    }

    /// What the worker is asked for.
    pub(super) fn generate(self, prompt: Prompt) -> Result<Generate, Refusal> {
        let options = self.options.unwrap_or_default();
        Ok(Generate {
            sampling: options.sampling()?,
            n_tokens_max: options.n_tokens_max(),
            stop_texts: Stop::texts(options.stop)?,
            log_probabilities: self.logprobs == Some(true),
            n_top: logprobs::n_top(self.logprobs, self.top_logprobs)?,
            form: form_of(self.format.as_ref())?,
            ..Generate::new(prompt)
        })
    }
}

impl Beginning {
    /// Load the model, or unload it if it shall not be kept: nothing is to be answered.
    pub(super) async fn load(self, app: &App) -> Result<Response, Refusal> {
        let is_end = self.keep_alive == KeepAlive::For(Duration::ZERO);
        if !is_end {
            let _place = app.place()?;
            app.models.load(&self.listing.name).await?;
        }
        // Who is still answered is answered to the end.
        app.models.keep(&self.listing.name, self.keep_alive);
        let reason = if is_end { "unload" } else { "load" };
        Ok(Json(self.frame.without_answer(reason)).into_response())
    }
}
