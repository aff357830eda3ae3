//! `/api/chat`.

use axum::extract::{Extension, State};
use axum::response::Response;
use lapwing_serving::message::{Chat, Generate, Listing, Prompt};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::answer::{Frame, Kind, answer};
use super::conversation::{self, Message};
use super::request::Common;
use crate::app::{App, Client};
use crate::body;
use crate::checks::{self, Choice};
use crate::refusal::Refusal;
use crate::request_id::RequestId;

/// A request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ollama::chat::ChatRequest)]
pub(super) struct ChatRequest {
    messages: Option<Vec<Message>>,
    tools: Option<Vec<Value>>,
    #[serde(flatten)]
    common: Common,
}

pub(super) async fn chat(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Extension(request_id): Extension<RequestId>,
    body::Json(request): body::Json<ChatRequest>,
) -> Result<Response, Refusal> {
    let beginning = request.common.begin(&app, Kind::Chat).await?;
    if request.messages.as_ref().is_none_or(Vec::is_empty) {
        return beginning.load(&app).await;
    }
    let name = &beginning.listing.name;
    let generate = generate(request, &beginning.listing)?;
    let begun = app.generate(Some(name), generate, client, beginning.keep_alive).await?;
    let frame = Frame { load: begun.load, ..beginning.frame };
    answer(begun, frame, beginning.is_stream, request_id).await
}

/// What the worker is asked for.
fn generate(request: ChatRequest, listing: &Listing) -> Result<Generate, Refusal> {
    let (thinks, effort) = request.common.thinks(listing)?;
    let (tools, _) = checks::tools(request.tools, Choice::Free)?;
    let messages = conversation::messages(request.messages.unwrap_or_default())?;
    let chat = Chat { messages, tools, thinks, effort, ..Chat::default() };
    request.common.generate(Prompt::Chat(Box::new(chat)))
}

#[cfg(test)]
mod tests {
    use lapwing_serving::message::{Abilities, Form};
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
            thinks: Some(true),
            effort: Some("low".to_owned()),
            ..Chat::default()
        };
        let expected = Generate {
            n_tokens_max: Some(3),
            stop_texts: vec!["x".to_owned()],
            log_probabilities: true,
            n_top: 2,
            form: Some(Form::Json),
            ..Generate::new(Prompt::Chat(Box::new(chat)))
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
