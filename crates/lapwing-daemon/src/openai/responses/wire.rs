//! Responses and their events, as they are written.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::openai::answer::TokenLogprob;

/// A response. Fields that its schema requires are written also where they are null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Response {
    pub(crate) id: String,
    pub(crate) object: String,
    pub(crate) created_at: u64,
    pub(crate) status: String,
    pub(crate) background: bool,
    pub(crate) completed_at: Option<u64>,
    pub(crate) error: Option<ResponseError>,
    pub(crate) incomplete_details: Option<IncompleteDetails>,
    pub(crate) instructions: Option<String>,
    pub(crate) max_output_tokens: Option<i64>,
    pub(crate) model: String,
    pub(crate) output: Vec<Item>,
    pub(crate) parallel_tool_calls: bool,
    pub(crate) previous_response_id: Option<String>,
    pub(crate) reasoning: Reasoning,
    pub(crate) service_tier: String,
    pub(crate) store: bool,
    pub(crate) temperature: Option<f32>,
    pub(crate) text: TextConfig,
    pub(crate) tool_choice: Value,
    pub(crate) tools: Vec<Value>,
    pub(crate) top_logprobs: u32,
    pub(crate) top_p: Option<f32>,
    pub(crate) truncation: String,
    /// Told at the end; until then the schema has it left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<ResponseUsage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    pub(crate) metadata: Value,
}

/// Why a response failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ResponseError {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// Why a response ended early.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct IncompleteDetails {
    pub(crate) reason: String,
}

/// How much the model shall think.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Reasoning {
    pub(crate) effort: Option<String>,
    pub(crate) summary: Option<String>,
}

/// What the text must look like.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct TextConfig {
    pub(crate) format: Option<Format>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verbosity: Option<String>,
}

/// A format of text; a schema stands beside its type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = openai::responses::wire::Format)]
pub(crate) struct Format {
    pub(crate) r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) schema: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) strict: Option<bool>,
}

impl Default for Format {
    fn default() -> Format {
        let r#type = "text".to_owned();
        Format { r#type, name: None, description: None, schema: None, strict: None }
    }
}

/// Tokens that went in and out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ResponseUsage {
    pub(crate) input_tokens: usize,
    pub(crate) input_tokens_details: InputDetails,
    pub(crate) output_tokens: usize,
    pub(crate) output_tokens_details: OutputDetails,
    pub(crate) total_tokens: usize,
}

/// Of the prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct InputDetails {
    pub(crate) cached_tokens: usize,
    /// What is kept costs nothing.
    pub(crate) cache_write_tokens: usize,
}

/// Of the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = openai::responses::wire::OutputDetails)]
pub(crate) struct OutputDetails {
    pub(crate) reasoning_tokens: usize,
}

/// A part of a response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Item {
    /// A thought.
    Reasoning { id: String, summary: Vec<Value>, content: Vec<Content>, status: Status },
    /// Text for the user.
    Message { id: String, role: String, content: Vec<Content>, status: Status },
    /// A call.
    FunctionCall { id: String, call_id: String, name: String, arguments: String, status: Status },
}

/// How far something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    InProgress,
    Completed,
    Incomplete,
}

/// Text of an item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schema(as = openai::responses::wire::Content)]
pub(crate) enum Content {
    /// For the user.
    OutputText { text: String, annotations: Vec<Value>, logprobs: Vec<TokenLogprob> },
    /// Of a thought.
    ReasoningText { text: String },
}

/// What happened, and as the how manieth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = openai::responses::wire::Event)]
pub(crate) struct Event {
    pub(crate) sequence_number: u64,
    #[serde(flatten)]
    pub(crate) what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type")]
pub(crate) enum What {
    #[serde(rename = "response.created")]
    Created { response: Box<Response> },
    #[serde(rename = "response.in_progress")]
    InProgress { response: Box<Response> },
    #[serde(rename = "response.output_item.added")]
    ItemAdded { output_index: usize, item: Item },
    #[serde(rename = "response.content_part.added")]
    ContentAdded { item_id: String, output_index: usize, content_index: usize, part: Content },
    #[serde(rename = "response.output_text.delta")]
    TextDelta {
        item_id: String,
        output_index: usize,
        content_index: usize,
        delta: String,
        logprobs: Vec<TokenLogprob>,
    },
    #[serde(rename = "response.output_text.done")]
    TextDone {
        item_id: String,
        output_index: usize,
        content_index: usize,
        text: String,
        logprobs: Vec<TokenLogprob>,
    },
    #[serde(rename = "response.reasoning_text.delta")]
    ThoughtDelta { item_id: String, output_index: usize, content_index: usize, delta: String },
    #[serde(rename = "response.reasoning_text.done")]
    ThoughtDone { item_id: String, output_index: usize, content_index: usize, text: String },
    #[serde(rename = "response.content_part.done")]
    ContentDone { item_id: String, output_index: usize, content_index: usize, part: Content },
    #[serde(rename = "response.function_call_arguments.delta")]
    ArgumentsDelta { item_id: String, output_index: usize, delta: String },
    #[serde(rename = "response.function_call_arguments.done")]
    ArgumentsDone { item_id: String, output_index: usize, name: String, arguments: String },
    #[serde(rename = "response.output_item.done")]
    ItemDone { output_index: usize, item: Item },
    #[serde(rename = "response.completed")]
    Completed { response: Box<Response> },
    #[serde(rename = "response.incomplete")]
    Incomplete { response: Box<Response> },
    #[serde(rename = "response.failed")]
    Failed { response: Box<Response> },
}

impl Event {
    /// What it is called.
    pub(crate) fn name(&self) -> &'static str {
        match self.what {
            What::Created { .. } => "response.created",
            What::InProgress { .. } => "response.in_progress",
            What::ItemAdded { .. } => "response.output_item.added",
            What::ContentAdded { .. } => "response.content_part.added",
            What::TextDelta { .. } => "response.output_text.delta",
            What::TextDone { .. } => "response.output_text.done",
            What::ThoughtDelta { .. } => "response.reasoning_text.delta",
            What::ThoughtDone { .. } => "response.reasoning_text.done",
            What::ContentDone { .. } => "response.content_part.done",
            What::ArgumentsDelta { .. } => "response.function_call_arguments.delta",
            What::ArgumentsDone { .. } => "response.function_call_arguments.done",
            What::ItemDone { .. } => "response.output_item.done",
            What::Completed { .. } => "response.completed",
            What::Incomplete { .. } => "response.incomplete",
            What::Failed { .. } => "response.failed",
        }
    }
}
