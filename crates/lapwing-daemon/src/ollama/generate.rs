//! `/api/generate`.

use std::time::Instant;

use axum::extract::{Extension, State};
use axum::response::Response;
use lapwing_serving::message::{Ask, Chat, Generate, Listing, Prompt, Said};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::answer::{Kind, answer};
use super::request::Common;
use crate::app::{App, Client};
use crate::body;
use crate::checks::no_images;
use crate::refusal::Refusal;
use crate::request_id::RequestId;

/// A request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct TextRequest {
    prompt: Option<String>,
    suffix: Option<String>,
    system: Option<String>,
    template: Option<String>,
    /// Tokens of earlier prompts and answers.
    context: Option<Vec<u32>>,
    raw: Option<bool>,
    images: Option<Vec<Value>>,
    #[serde(flatten)]
    common: Common,
}

pub(super) async fn generate(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Extension(request_id): Extension<RequestId>,
    body::Json(request): body::Json<TextRequest>,
) -> Result<Response, Refusal> {
    let mut beginning = request.common.begin(&app, Kind::Text { context: None }).await?;
    if [&request.prompt, &request.suffix].into_iter().flatten().all(String::is_empty) {
        return beginning.load(&app).await;
    }
    let (name, keep_alive) = (&beginning.listing.name, beginning.keep_alive);
    let is_raw = request.raw == Some(true);
    let earlier = request.context.clone().unwrap_or_default();
    let mut generate = asked(request, &beginning.listing)?;
    if !is_raw {
        // The client is told the prompt's tokens, so they are asked for first.
        let _place = app.place()?;
        let loading = Instant::now();
        app.models.load(name).await?;
        beginning.frame.load = loading.elapsed();
        let said = app.models.ask(name, &Ask::Render(generate.prompt), keep_alive).await?;
        let Said::Encoded { ids, .. } = said.last().await? else {
            return Err(Refusal::internal("the model's process is of another version"));
        };
        let ids = [earlier, ids].concat();
        beginning.frame.kind = Kind::Text { context: Some(ids.clone()) };
        generate.prompt = Prompt::Ids(ids);
    }
    let begun = app.generate(Some(name), generate, client, keep_alive).await?;
    beginning.frame.load += begun.load;
    answer(begun, beginning.frame, beginning.is_stream, request_id).await
}

/// What the worker is asked for. The prompt is made without what was said earlier.
fn asked(request: TextRequest, listing: &Listing) -> Result<Generate, Refusal> {
    let name = &listing.name;
    if request.images.as_ref().is_some_and(|images| !images.is_empty()) {
        return Err(no_images("images"));
    }
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if given(&request.suffix) {
        let message = format!("'{name}' does not support insert: it only goes on from a prompt");
        return Err(Refusal::field("suffix", message));
    }
    let is_raw = request.raw == Some(true);
    let has_context = request.context.as_ref().is_some_and(|context| !context.is_empty());
    if is_raw && (given(&request.system) || given(&request.template) || has_context) {
        let message = "raw mode does not support template, system, or context";
        return Err(Refusal::field("raw", message));
    }
    if given(&request.template) {
        let message = "a model's prompts are made by its own template alone: send the prompt as it \
                       shall be, with raw";
        return Err(Refusal::field("template", message));
    }
    let (thinks, effort) = request.common.thinks(listing)?;
    let prompt = request.prompt.unwrap_or_default();
    let system = request.system.filter(|system| !system.is_empty());
    let prompt = if is_raw {
        Prompt::Text { text: prompt, add_special: true }
    } else if listing.can.chats {
        let message = |role: &str, content: String| json!({"role": role, "content": content});
        let system = system.map(|system| message("system", system));
        let messages = system.into_iter().chain([message("user", prompt)]).collect();
        Prompt::Chat(Box::new(Chat { messages, thinks, effort, ..Chat::default() }))
    } else {
        // It only goes on from texts.
        let text = system.map_or_else(String::new, |system| format!("{system}\n\n")) + &prompt;
        Prompt::Text { text, add_special: !has_context }
    };
    request.common.generate(prompt)
}

#[cfg(test)]
mod tests {
    use lapwing_serving::message::Abilities;

    use super::*;
    use crate::ollama::models::tests::listing;

    fn prompt(chats: bool, json: Value) -> Result<Prompt, Refusal> {
        let request: TextRequest = serde_json::from_value(json).unwrap();
        let again = serde_json::to_value(&request).unwrap();
        assert_eq!(serde_json::from_value::<TextRequest>(again).unwrap(), request);
        let can = Abilities { chats, ..Abilities::default() };
        asked(request, &listing(can)).map(|generate| generate.prompt)
    }

    #[test]
    fn prompts_are_made_by_the_template_if_there_is_one() {
        let chat = |messages: Value| {
            let messages = serde_json::from_value(messages).unwrap();
            Prompt::Chat(Box::new(Chat { messages, ..Chat::default() }))
        };
        let text = |text: &str, add_special| Prompt::Text { text: text.to_owned(), add_special };
        let user = json!({"role": "user", "content": "hi"});
        let both = json!([{"role": "system", "content": "be brief"}, user]);
        let plain = json!({"prompt": "hi"});
        assert_eq!(prompt(true, plain.clone()), Ok(chat(json!([user]))));
        assert_eq!(prompt(true, json!({"prompt": "hi", "system": "be brief"})), Ok(chat(both)));
        assert_eq!(prompt(false, plain), Ok(text("hi", true)));
        let more = json!({"prompt": "hi", "system": "be brief", "context": [1]});
        assert_eq!(prompt(false, more), Ok(text("be brief\n\nhi", false)));
        let raw = json!({"prompt": "hi", "raw": true, "system": "", "template": "", "suffix": "",
            "context": [], "images": []});
        assert_eq!(prompt(true, raw), Ok(text("hi", true)));
        let nulls = json!({"prompt": "hi", "raw": null, "system": null, "template": null,
            "suffix": null, "context": null, "images": null, "format": null, "options": null,
            "think": null, "stream": null, "keep_alive": null, "model": null});
        assert_eq!(prompt(true, nulls), Ok(chat(json!([user]))));
    }

    #[test]
    fn what_cannot_be_had_is_refused_with_a_reason() {
        let check = |json: Value, expected: &str| {
            let refusal = prompt(true, json).unwrap_err();
            assert_eq!(refusal.status.as_u16(), 400);
            assert!(refusal.message.contains(expected), "{refusal}");
        };
        check(json!({"prompt": "a", "suffix": "b"}), "does not support insert");
        check(json!({"prompt": "a", "template": "{{ .Prompt }}"}), "own template");
        check(json!({"prompt": "a", "images": ["aGk="]}), "pictures");
        check(json!({"prompt": "a", "think": true}), "does not support thinking");
        for (key, value) in
            [("system", json!("s")), ("template", json!("t")), ("context", json!([1]))]
        {
            let mut request = json!({"prompt": "a", "raw": true});
            request[key] = value;
            check(request, "raw mode does not support");
        }
    }
}
