//! `/api/chat`.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use lapwing_serving::message::{Chat, Generate, Listing, Prompt};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answer::{Frame, Kind, answer};
use super::conversation::{self, Message};
use super::options::{Options, Think, form_of};
use crate::app::{App, Client};
use crate::checks::{self, Choice, Stop};
use crate::models::KeepAlive;
use crate::refusal::Refusal;
use crate::request_id::RequestId;
use crate::{body, logprobs};

/// A request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ChatRequest {
    model: Option<String>,
    messages: Option<Vec<Message>>,
    tools: Option<Vec<Value>>,
    format: Option<Value>,
    options: Option<Options>,
    think: Option<Think>,
    stream: Option<bool>,
    keep_alive: Option<KeepAlive>,
    logprobs: Option<bool>,
    top_logprobs: Option<u32>,
}

pub(super) async fn chat(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Extension(request_id): Extension<RequestId>,
    body::Json(request): body::Json<ChatRequest>,
) -> Result<Response, Refusal> {
    let arrived = Instant::now();
    let listing = app.models.find(request.model.as_deref()).await?;
    let frame = Frame {
        kind: Kind::Chat,
        model: request.model.clone().unwrap_or_else(|| listing.name.clone()),
        has_logprobs: request.logprobs == Some(true),
        arrived,
        load: Duration::ZERO,
    };
    let keep_alive = request.keep_alive.unwrap_or(KeepAlive::Usual);
    if request.messages.as_ref().is_none_or(Vec::is_empty) {
        return load(&app, &listing, &frame, keep_alive).await;
    }
    let is_stream = request.stream != Some(false);
    let generate = generate(request, &listing)?;
    let begun = app.generate(Some(&listing.name), generate, client, keep_alive).await?;
    let frame = Frame { load: begun.load, ..frame };
    answer(begun, frame, is_stream, request_id).await
}

/// Load a model, or unload it if it shall not be kept.
pub(super) async fn load(
    app: &App,
    listing: &Listing,
    frame: &Frame,
    keep_alive: KeepAlive,
) -> Result<Response, Refusal> {
    let is_end = keep_alive == KeepAlive::For(Duration::ZERO);
    if !is_end {
        let _place = app.place()?;
        app.models.load(&listing.name).await?;
    }
    // Who is still answered is answered to the end.
    app.models.keep(&listing.name, keep_alive);
    let reason = if is_end { "unload" } else { "load" };
    Ok(Json(frame.without_answer(reason)).into_response())
}

/// What the worker is asked for.
fn generate(request: ChatRequest, listing: &Listing) -> Result<Generate, Refusal> {
    let options = request.options.unwrap_or_default();
    let (thinks, effort) = Think::told(request.think, &listing.name, listing.can)?;
    let (tools, _) = checks::tools(request.tools, Choice::Free)?;
    let messages = conversation::messages(request.messages.unwrap_or_default())?;
    let chat = Chat { messages, tools, variables: Map::new(), thinks, effort };
    Ok(Generate {
        prompt: Prompt::Chat(Box::new(chat)),
        sampling: options.sampling()?,
        n_tokens_max: options.n_tokens_max(),
        stop_texts: Stop::texts(options.stop)?,
        ignores_end: false,
        log_probabilities: request.logprobs == Some(true),
        n_top: logprobs::n_top(request.logprobs, request.top_logprobs)?,
        form: form_of(request.format.as_ref())?,
        client: 0,
        is_background: false,
    })
}

#[cfg(test)]
mod tests {
    use lapwing_serving::message::{Abilities, Form, Sampling};
    use serde_json::json;

    use super::*;
    use crate::ollama::models::tests::listing;

    fn asked(json: Value) -> Result<Generate, Refusal> {
        let request: ChatRequest = serde_json::from_value(json).unwrap();
        let again = serde_json::to_value(&request).unwrap();
        assert_eq!(serde_json::from_value::<ChatRequest>(again).unwrap(), request);
        generate(request, &listing(Abilities { thinks: true, ..Abilities::default() }))
    }

    #[test]
    fn a_chat_becomes_what_a_worker_is_asked() {
        let tool = json!({"type": "function", "function": {"name": "f", "parameters": {}}});
        let generate = asked(json!({
            "model": "m", "stream": false, "keep_alive": -1, "format": "json", "think": "low",
            "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
            "tools": [tool], "options": {"num_predict": 3, "stop": "x", "num_ctx": 4096},
            "logprobs": true, "top_logprobs": 2, "truncate": true, "shift": null,
        }));
        let messages = vec![
            json!({"role": "system", "content": "be brief"}),
            json!({"role": "user", "content": "hi"}),
        ];
        let chat = Chat {
            messages,
            tools: Some(vec![tool]),
            variables: Map::new(),
            thinks: Some(true),
            effort: Some("low".to_owned()),
        };
        let expected = Generate {
            prompt: Prompt::Chat(Box::new(chat)),
            sampling: Sampling::default(),
            n_tokens_max: Some(3),
            stop_texts: vec!["x".to_owned()],
            ignores_end: false,
            log_probabilities: true,
            n_top: 2,
            form: Some(Form::Json),
            client: 0,
            is_background: false,
        };
        assert_eq!(generate, Ok(expected));
    }

    #[test]
    fn nulls_are_as_good_as_nothing() {
        let messages = json!([{"role": "user", "content": "hi"}]);
        let bare = asked(json!({"model": "m", "messages": messages})).unwrap();
        let nulls = asked(json!({
            "model": "m", "messages": messages, "tools": null, "format": null, "options": null,
            "think": null, "stream": null, "keep_alive": null, "logprobs": null,
            "top_logprobs": null,
        }));
        assert_eq!(nulls, Ok(bare.clone()));
        let empty = json!({"model": "m", "messages": messages, "tools": [], "format": "",
            "options": {}, "think": ""});
        assert_eq!(asked(empty), Ok(bare));
    }

    #[test]
    fn wrong_requests_are_refused_by_name() {
        let check = |key: &str, value: Value, param: &str| {
            let mut request = json!({"messages": [{"role": "user", "content": "hi"}]});
            request[key] = value;
            assert_eq!(asked(request).unwrap_err().param.as_deref(), Some(param));
        };
        check("format", json!("yaml"), "format");
        check("options", json!({"top_p": 3.0}), "top_p");
        check("top_logprobs", json!(3), "top_logprobs");
        check("think", json!("much"), "think");
        check("messages", json!([{"role": "user", "images": ["aGk="]}]), "messages");
    }
}
