//! `/v1/responses`: an answer as items, whole or as events.
//!
//! Nothing is stored: what refers to an earlier response is refused.

mod grown;
mod input;
mod wire;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response as HttpResponse};
use lapwing_serving::message::{Chat, Form, Generate, Prompt, Said};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::answer::InputTokens;
use super::request::{Choosing, form_of, limit, tools_of};
use crate::app::{App, Client};
use crate::begun::Begun;
use crate::body::{Framing, Gone, Json, Writer, stream};
use crate::models::KeepAlive;
use crate::refusal::Refusal;
use crate::request_id::RequestId;
use crate::unix_seconds;
use grown::Grown;
use input::InputItems;
pub(super) use wire::{Event, Response};
use wire::{Format, Reasoning, ResponseError, TextConfig};

/// Most alternatives that are told with a token.
const N_TOP_MAX: u32 = 20;
/// What `include` has where log probabilities are wanted.
const WITH_LOGPROBS: &str = "message.output_text.logprobs";

/// A request. What is not understood is left alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ResponsesRequest {
    pub(crate) model: Option<String>,
    #[serde(default)]
    pub(crate) input: InputItems,
    pub(crate) instructions: Option<String>,
    pub(crate) max_output_tokens: Option<i64>,
    pub(crate) text: Option<TextConfig>,
    pub(crate) tools: Option<Vec<Value>>,
    pub(crate) tool_choice: Option<Value>,
    pub(crate) parallel_tool_calls: Option<bool>,
    pub(crate) reasoning: Option<Reasoning>,
    pub(crate) include: Option<Vec<String>>,
    pub(crate) top_logprobs: Option<u32>,
    pub(crate) stream: Option<bool>,
    pub(crate) metadata: Option<Value>,
    pub(crate) truncation: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) background: Option<bool>,
    pub(crate) previous_response_id: Option<String>,
    pub(crate) conversation: Option<Value>,
    pub(crate) prompt: Option<Value>,
    pub(crate) keep_alive: Option<KeepAlive>,
    #[serde(flatten)]
    pub(crate) choosing: Choosing,
}

pub(super) async fn create(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Extension(request_id): Extension<RequestId>,
    Json(request): Json<ResponsesRequest>,
) -> Result<HttpResponse, Refusal> {
    let keep_alive = request.keep_alive.unwrap_or_default();
    let asked = request.model.clone();
    let is_stream = request.stream == Some(true);
    let has_one_call = request.parallel_tool_calls == Some(false);
    let mut blank = blank(&request, request_id);
    let has_logprobs = has_logprobs(&request);
    let generate = generate(request)?;
    let begun = app.generate(asked.as_deref(), generate, client, keep_alive).await?;
    let begun = begun.with_one_call(has_one_call);
    blank.model = asked.unwrap_or_else(|| begun.listing.name.clone());
    let grown = Grown::new(blank, request_id, has_logprobs);
    if is_stream {
        return Ok(stream(Framing::Events, move |writer| async move {
            write(&writer, begun, grown).await
        }));
    }
    let response = whole(begun, grown).await?;
    Ok(axum::Json(response).into_response())
}

/// `/v1/responses/input_tokens`.
pub(super) async fn count(
    State(app): State<App>,
    Json(request): Json<ResponsesRequest>,
) -> Result<axum::Json<InputTokens>, Refusal> {
    let asked = request.model.clone();
    InputTokens::of(&app, asked.as_deref(), generate(request)?.prompt).await
}

fn has_logprobs(request: &ResponsesRequest) -> bool {
    let includes = request.include.iter().flatten().any(|what| what == WITH_LOGPROBS);
    includes || request.top_logprobs.is_some_and(|n_top| n_top != 0)
}

/// What the worker is asked for.
fn generate(request: ResponsesRequest) -> Result<Generate, Refusal> {
    let refused = |param: &str, message: &str| Err(Refusal::field(param, message));
    if request.previous_response_id.is_some() {
        let message = "no response is stored: send the conversation itself";
        return refused("previous_response_id", message);
    }
    if request.conversation.is_some() {
        return refused("conversation", "no conversation is stored: send it itself");
    }
    if request.prompt.is_some() {
        return refused("prompt", "no prompt is stored: send it itself");
    }
    if request.background == Some(true) {
        return refused("background", "nothing is stored, so that nobody could fetch the answer");
    }
    let n_top = request.top_logprobs.unwrap_or(0);
    if N_TOP_MAX < n_top {
        let message = format!("expected 0 to {N_TOP_MAX} top_logprobs, found {n_top}");
        return Err(Refusal::field("top_logprobs", message));
    }
    let log_probabilities = has_logprobs(&request);
    let tools = request.tools.map(|tools| tools.iter().filter_map(input::tool).collect());
    let choice = request.tool_choice.as_ref().map(input::tool_choice).transpose()?;
    let (tools, call) = tools_of(tools, choice.as_ref())?;
    let form = call.or(request.text.and_then(|text| text.format).map_or(Ok(None), form)?);
    let effort = request.reasoning.and_then(|reasoning| reasoning.effort);
    let thinks = effort.as_deref().map(|effort| effort != "none");
    let chat = Chat {
        messages: request.input.messages(request.instructions)?,
        tools,
        thinks,
        effort: effort.filter(|effort| effort != "none"),
        ..Chat::default()
    };
    Ok(Generate {
        is_background: request.choosing.is_background(),
        sampling: request.choosing.sampling()?,
        n_tokens_max: limit(request.max_output_tokens),
        log_probabilities,
        n_top: n_top as usize,
        form,
        ..Generate::new(Prompt::Chat(Box::new(chat)))
    })
}

/// The format of a text: a schema stands beside its type here.
fn form(format: Format) -> Result<Option<Form>, Refusal> {
    let format = match format.r#type.as_str() {
        "json_schema" => json!({"type": "json_schema", "json_schema": {"schema": format.schema}}),
        kind => json!({"type": kind}),
    };
    form_of(Some(&format))
        .map_err(|refusal| Refusal { param: Some("text.format".to_owned()), ..refusal })
}

/// The response before anything of it is there.
fn blank(request: &ResponsesRequest, request_id: RequestId) -> Response {
    let tools = request.tools.iter().flatten().filter(|tool| input::tool(tool).is_some());
    Response {
        id: request_id.with_prefix("resp_"),
        object: "response".to_owned(),
        created_at: unix_seconds(),
        status: "in_progress".to_owned(),
        background: false,
        completed_at: None,
        error: None,
        incomplete_details: None,
        instructions: request.instructions.clone(),
        max_output_tokens: request.max_output_tokens,
        model: String::new(),
        output: Vec::new(),
        parallel_tool_calls: request.parallel_tool_calls.unwrap_or(true),
        previous_response_id: None,
        reasoning: request.reasoning.clone().unwrap_or_default(),
        service_tier: match request.choosing.is_background() {
            true => "flex".to_owned(),
            false => "default".to_owned(),
        },
        store: false,
        temperature: request.choosing.temperature,
        text: TextConfig {
            format: Some(request.text.clone().and_then(|text| text.format).unwrap_or_default()),
            verbosity: request.text.as_ref().and_then(|text| text.verbosity.clone()),
        },
        tool_choice: request.tool_choice.clone().unwrap_or_else(|| "auto".into()),
        tools: tools.map(input::told_tool).collect(),
        top_logprobs: request.top_logprobs.unwrap_or(0),
        top_p: request.choosing.top_p,
        truncation: "disabled".to_owned(),
        usage: None,
        user: request.user.clone(),
        metadata: request.metadata.clone().unwrap_or_else(|| json!({})),
    }
}

async fn whole(mut begun: Begun, mut grown: Grown) -> Result<Response, Refusal> {
    while let Some(said) = begun.next().await {
        match said? {
            Said::Piece(piece) => drop(grown.piece(&piece)),
            Said::Ended(ended) => {
                grown.end(&ended);
                return Ok(grown.response().clone());
            }
            _ => {}
        }
    }
    Err(Refusal::internal("the model's process ended no answer"))
}

/// Write the events of an answer as they come.
async fn write(writer: &Writer, mut begun: Begun, mut grown: Grown) -> Result<(), Gone> {
    let mut events = grown.begin();
    loop {
        for event in events {
            writer.event(event.name(), &event).await?;
        }
        events = match begun.next().await {
            Some(Ok(Said::Piece(piece))) => grown.piece(&piece),
            Some(Ok(Said::Ended(ended))) => grown.end(&ended),
            Some(Ok(_)) => Vec::new(),
            Some(Err(refusal)) => {
                let code = "server_error".to_owned();
                grown.fail(ResponseError { code, message: refusal.message })
            }
            None => return Ok(()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Value) -> ResponsesRequest {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn requests_are_read_and_written() {
        let request = read(json!({
            "model": "m", "input": [{"role": "user", "content": "hello"}], "instructions": "be kind",
            "max_output_tokens": 5, "store": true, "temperature": 0.5,
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}},
            "tools": [{"type": "function", "name": "f", "parameters": {}}, {"type": "web_search"}]
        }));
        let again = read(serde_json::to_value(&request).unwrap());
        assert_eq!(request, again);
        let generate = generate(request.clone()).unwrap();
        assert_eq!(generate.form, Some(Form::Schema(json!({"type": "object"}))));
        assert_eq!(generate.n_tokens_max, Some(5));
        let Prompt::Chat(chat) = generate.prompt else { panic!("a conversation") };
        assert_eq!(chat.messages[0], json!({"role": "system", "content": "be kind"}));
        let function = json!({"type": "function", "function": {"name": "f", "parameters": {}}});
        assert_eq!(chat.tools, Some(vec![function]));
        let response = blank(&request, RequestId::new());
        assert_eq!(response.tools.len(), 1);
        assert_eq!(response.text.format.unwrap().name.as_deref(), Some("n"));
    }

    #[test]
    fn what_is_not_stored_is_refused_by_its_field() {
        let check = |mut json: Value, param: &str| {
            json["input"] = "hello".into();
            let refusal = generate(read(json)).unwrap_err();
            assert_eq!((refusal.status.as_u16(), refusal.param.as_deref()), (400, Some(param)));
        };
        check(json!({"previous_response_id": "resp_1"}), "previous_response_id");
        check(json!({"conversation": "conv_1"}), "conversation");
        check(json!({"background": true}), "background");
        check(json!({"prompt": {"id": "p"}}), "prompt");
        check(json!({"top_logprobs": 21}), "top_logprobs");
        check(json!({"text": {"format": {"type": "json_schema"}}}), "text.format");
        check(json!({"text": {"format": {"type": "poem"}}}), "text.format");
        check(json!({"tool_choice": "required"}), "tool_choice");
        check(json!({"tool_choice": {"type": "web_search"}}), "tool_choice");
    }

    #[test]
    fn a_function_that_must_be_called_is_a_form() {
        let tools = json!([{"type": "function", "name": "f", "parameters": {}}]);
        let check = |choice: Value, name: Option<&str>| {
            let request = read(json!({"input": "a", "tools": tools, "tool_choice": choice}));
            let name = name.map(str::to_owned);
            assert_eq!(generate(request).unwrap().form, Some(Form::Call { name }));
        };
        check(json!("required"), None);
        check(json!({"type": "function", "name": "f"}), Some("f"));
        check(json!({"type": "allowed_tools", "mode": "required", "tools": []}), None);
    }
}
