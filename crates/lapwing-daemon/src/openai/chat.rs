//! `/v1/chat/completions`.

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use lapwing_serving::message::{Chat, Generate, Piece, Prompt, ReplyEvent, Said};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::answer::{InputTokens, Logprobs, TokenLogprob, Usage, finish_reason};
use super::request::{Choosing, Stop, StreamOptions, Thinking, form_of, limit, tools_of};
use crate::answers::Whole;
use crate::app::{App, Client};
use crate::begun::Begun;
use crate::begun::Merged;
use crate::body::{Framing, Gone, Json, Writer, stream};
use crate::checks;
use crate::logprobs;
use crate::models::KeepAlive;
use crate::protocol::Protocol;
use crate::refusal::Refusal;
use crate::request_id::RequestId;
use crate::timings::Timings;
use crate::unix_seconds;

/// A request. What is not understood is of no meaning here and left alone: the list grows each month.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = openai::chat::ChatRequest)]
pub(crate) struct ChatRequest {
    pub(crate) model: Option<String>,
    pub(crate) messages: Vec<Value>,
    pub(crate) max_tokens: Option<i64>,
    pub(crate) max_completion_tokens: Option<i64>,
    pub(crate) stop: Option<Stop>,
    pub(crate) logprobs: Option<bool>,
    pub(crate) top_logprobs: Option<u32>,
    pub(crate) stream: Option<bool>,
    pub(crate) stream_options: Option<StreamOptions>,
    pub(crate) response_format: Option<Value>,
    pub(crate) tools: Option<Vec<Value>>,
    pub(crate) tool_choice: Option<Value>,
    pub(crate) parallel_tool_calls: Option<bool>,
    pub(crate) keep_alive: Option<KeepAlive>,
    /// llama.cpp's server has these, some as vLLM: forms that stand by themselves, whether what is
    /// known of the prompt is taken, and whether the assistant's last message goes on.
    pub(crate) json_schema: Option<Value>,
    pub(crate) grammar: Option<String>,
    pub(crate) cache_prompt: Option<bool>,
    pub(crate) continue_final_message: Option<bool>,
    pub(crate) add_generation_prompt: Option<bool>,
    #[serde(flatten)]
    pub(crate) choosing: Choosing,
    #[serde(flatten)]
    pub(crate) thinking: Thinking,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = openai::chat::Completion)]
pub(crate) struct Completion {
    id: String,
    object: String,
    created: u64,
    model: String,
    system_fingerprint: String,
    choices: Vec<Choice>,
    usage: Usage,
    /// Of the first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<Timings>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = openai::chat::Choice)]
struct Choice {
    index: u32,
    message: Message,
    logprobs: Option<Logprobs>,
    finish_reason: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = openai::chat::Message)]
struct Message {
    role: String,
    content: Option<String>,
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = openai::chat::ToolCall)]
struct ToolCall {
    id: String,
    r#type: String,
    function: Function,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = openai::chat::Function)]
struct Function {
    name: String,
    arguments: String,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = openai::chat::Chunk)]
pub(crate) struct Chunk<'a> {
    id: &'a str,
    object: &'a str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: Vec<ChunkChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<Timings>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
struct ChunkChoice {
    index: u32,
    delta: Delta,
    logprobs: Option<Logprobs>,
    finish_reason: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = openai::chat::Delta)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
struct CallDelta {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<String>,
    function: FunctionDelta,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
struct FunctionDelta {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<String>,
}

/// What stays the same in all parts of an answer.
#[derive(Debug, Clone)]
struct Frame {
    id: String,
    created: u64,
    model: String,
    has_logprobs: bool,
    /// The calls of these answers are told apart from those of earlier ones.
    calls: String,
}

/// Which build answers.
const FINGERPRINT: &str = concat!("lapwing-", env!("CARGO_PKG_VERSION"));

pub(super) async fn complete(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Extension(request_id): Extension<RequestId>,
    Json(request): Json<ChatRequest>,
) -> Result<Response, Refusal> {
    let keep_alive = request.keep_alive.unwrap_or_default();
    let asked = request.model.clone();
    let is_stream = request.stream == Some(true);
    let options = request.stream_options.clone().unwrap_or_default();
    let includes_usage = options.include_usage == Some(true);
    let has_one_call = request.parallel_tool_calls == Some(false);
    let n_answers = request.choosing.n_answers()?;
    let frame = Frame {
        id: request_id.with_prefix("chatcmpl-"),
        created: unix_seconds(),
        model: asked.clone().unwrap_or_default(),
        has_logprobs: request.logprobs == Some(true),
        calls: RequestId::new().with_prefix("call_"),
    };
    let generate = generate(request)?;
    let each = Choosing::each(&generate, n_answers);
    let begun = app.generate_each(asked.as_deref(), each, client, keep_alive).await?;
    let begun: Vec<Begun> =
        begun.into_iter().map(|answer| answer.with_one_call(has_one_call)).collect();
    let frame = Frame { model: asked.unwrap_or_else(|| begun[0].listing.name.clone()), ..frame };
    if is_stream {
        return Ok(stream(Framing::Events, move |writer| async move {
            write(&writer, begun, &frame, includes_usage, request_id).await
        }));
    }
    Ok(axum::Json(completion(frame, Begun::wholes(begun).await?)).into_response())
}

/// `/v1/chat/completions/input_tokens`.
pub(super) async fn count(
    State(app): State<App>,
    Json(request): Json<ChatRequest>,
) -> Result<axum::Json<InputTokens>, Refusal> {
    let asked = request.model.clone();
    InputTokens::of(&app, asked.as_deref(), generate(request)?.prompt).await
}

/// What the worker is asked for.
fn generate(request: ChatRequest) -> Result<Generate, Refusal> {
    let n_top = logprobs::n_top(request.logprobs, request.top_logprobs)?;
    if request.messages.is_empty() {
        return Err(Refusal::field("messages", "expected at least one message"));
    }
    let both = (request.add_generation_prompt, request.continue_final_message);
    let begins_anew = match both {
        (Some(true), Some(true)) => {
            let message = "either a new answer begins, or the last one goes on";
            return Err(Refusal::field("continue_final_message", message));
        }
        (begins, goes_on) => goes_on.map_or(begins == Some(true), |goes_on| !goes_on),
    };
    let (tools, call) = tools_of(request.tools, request.tool_choice.as_ref())?;
    checks::no_grammar(request.grammar.as_deref())?;
    let form = call.or(form_of(request.response_format.as_ref())?);
    let form = form.or(checks::schema("json_schema", request.json_schema.as_ref())?);
    let (thinks, effort, variables) = request.thinking.told();
    let messages = request.messages;
    let chat = Chat { messages, tools, variables, thinks, effort, begins_anew };
    Ok(Generate {
        is_background: request.choosing.is_background(),
        sampling: request.choosing.sampling()?,
        n_tokens_max: limit(request.max_completion_tokens.or(request.max_tokens)),
        stop_texts: Stop::texts(request.stop)?,
        log_probabilities: request.logprobs == Some(true),
        n_top,
        form,
        reads_anew: request.cache_prompt == Some(false),
        ..Generate::new(Prompt::Chat(Box::new(chat)))
    })
}

fn completion(frame: Frame, wholes: Vec<Whole>) -> Completion {
    let usage = Usage::of(wholes.iter().map(|whole| &whole.ended));
    let timings = wholes.first().map(|whole| Timings::of(&whole.ended));
    let choices = wholes.into_iter().zip(0..).map(|(whole, index)| choice(&frame, whole, index));
    Completion {
        choices: choices.collect(),
        id: frame.id,
        object: "chat.completion".to_owned(),
        created: frame.created,
        model: frame.model,
        system_fingerprint: FINGERPRINT.to_owned(),
        usage,
        timings,
    }
}

fn choice(frame: &Frame, whole: Whole, index: u32) -> Choice {
    let probabilities = whole.pieces.iter().filter_map(|piece| piece.probability.as_deref());
    let logprobs = frame.has_logprobs.then(|| Logprobs {
        content: probabilities.map(TokenLogprob::of).collect(),
        refusal: None,
    });
    let finish_reason = finish_reason(whole.ended.why, !whole.calls.is_empty()).to_owned();
    let calls = whole.calls.into_iter().enumerate().map(|(idx, call)| ToolCall {
        id: call_id(frame, index, idx),
        r#type: "function".to_owned(),
        function: Function { name: call.name, arguments: call.arguments },
    });
    let calls: Vec<ToolCall> = calls.collect();
    let content = Some(whole.text).filter(|text| !text.is_empty() || calls.is_empty());
    let message = Message {
        role: "assistant".to_owned(),
        content,
        refusal: None,
        reasoning_content: Some(whole.thoughts).filter(|thoughts| !thoughts.is_empty()),
        tool_calls: Some(calls).filter(|calls| !calls.is_empty()),
    };
    Choice { index, message, logprobs, finish_reason }
}

fn call_id(frame: &Frame, choice: u32, idx: usize) -> String {
    format!("{}{choice:x}{idx:02x}", frame.calls)
}

/// Write an answer as it comes.
async fn write(
    writer: &Writer,
    begun: Vec<Begun>,
    frame: &Frame,
    includes_usage: bool,
    request_id: RequestId,
) -> Result<(), Gone> {
    let mut has_calls = vec![false; begun.len()];
    let mut ended = Vec::new();
    for index in (0..).take(begun.len()) {
        let role = Some("assistant".to_owned());
        let delta = Delta { role, content: Some(String::new()), ..Delta::default() };
        let choice = ChunkChoice { index, delta, ..ChunkChoice::default() };
        writer.data(&chunk(frame, vec![choice])).await?;
    }
    let mut merged = Merged::new(begun);
    while let Some((idx, said)) = merged.next().await {
        let index = idx as u32;
        match said {
            Ok(Said::Piece(piece)) => {
                has_calls[idx] |=
                    piece.parts.iter().any(|part| matches!(part, ReplyEvent::CallStart { .. }));
                for choice in deltas(frame, index, &piece) {
                    writer.data(&chunk(frame, vec![choice])).await?;
                }
            }
            Ok(Said::Ended(end)) => {
                let finish_reason = Some(finish_reason(end.why, has_calls[idx]).to_owned());
                let choice = ChunkChoice { index, finish_reason, ..ChunkChoice::default() };
                writer.data(&chunk(frame, vec![choice])).await?;
                ended.push(*end);
            }
            Ok(_) => {}
            Err(refusal) => {
                // The status is gone: this and no end tell that something is wrong.
                return writer.data(&Protocol::OpenAi.body(&refusal, &request_id)).await;
            }
        }
    }
    if includes_usage {
        let timings = ended.first().map(Timings::of);
        let usage = Some(Usage::of(&ended));
        writer.data(&Chunk { usage, timings, ..chunk(frame, Vec::new()) }).await?;
    }
    writer.write("data: [DONE]\n\n").await
}

fn chunk(frame: &Frame, choices: Vec<ChunkChoice>) -> Chunk<'_> {
    Chunk {
        id: &frame.id,
        object: "chat.completion.chunk",
        created: frame.created,
        model: &frame.model,
        system_fingerprint: FINGERPRINT,
        choices,
        usage: None,
        timings: None,
    }
}

/// What a token changes, a chunk for each of its parts.
fn deltas(frame: &Frame, index: u32, piece: &Piece) -> Vec<ChunkChoice> {
    let delta = |part: &ReplyEvent| -> Option<Delta> {
        let call = |idx: usize, id, r#type, function| {
            let call = CallDelta { index: idx, id, r#type, function };
            Delta { tool_calls: Some(vec![call]), ..Delta::default() }
        };
        Some(match part {
            ReplyEvent::Content(text) => Delta { content: Some(text.clone()), ..Delta::default() },
            ReplyEvent::Reasoning(text) => {
                Delta { reasoning_content: Some(text.clone()), ..Delta::default() }
            }
            ReplyEvent::CallStart { index: idx, name } => {
                let function =
                    FunctionDelta { name: Some(name.clone()), arguments: Some(String::new()) };
                let id = call_id(frame, index, *idx);
                call(*idx, Some(id), Some("function".to_owned()), function)
            }
            ReplyEvent::CallArguments { index, delta } => {
                let function = FunctionDelta { name: None, arguments: Some(delta.clone()) };
                call(*index, None, None, function)
            }
            ReplyEvent::CallEnd { .. } => return None,
        })
    };
    let mut choices: Vec<ChunkChoice> = piece
        .parts
        .iter()
        .filter_map(delta)
        .map(|delta| ChunkChoice { index, delta, ..ChunkChoice::default() })
        .collect();
    if let Some(probability) = piece.probability.as_deref().filter(|_| frame.has_logprobs) {
        if choices.is_empty() {
            choices.push(ChunkChoice { index, ..ChunkChoice::default() });
        }
        let content = vec![TokenLogprob::of(probability)];
        choices[0].logprobs = Some(Logprobs { content, refusal: None });
    }
    choices
}
