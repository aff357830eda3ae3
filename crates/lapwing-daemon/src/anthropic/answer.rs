//! Answers of Anthropic's interface. A whole answer is what the events of a stream come to, so that
//! both are the same.

use lapwing_serving::message::{Ended, Piece, ReplyEvent, Why};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::answers::Call;

/// An answer. The published schema wants every field, also those that are null here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = anthropic::answer::Message)]
pub(super) struct Message {
    pub(super) id: String,
    r#type: String,
    role: String,
    pub(super) model: String,
    pub(super) content: Vec<Block>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
    stop_details: Option<Value>,
    container: Option<Value>,
    context_management: Option<Value>,
    diagnostics: Option<Value>,
    usage: Usage,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schema(as = anthropic::answer::Block)]
pub(super) enum Block {
    Text { text: String, citations: Option<Value> },
    Thinking { thinking: String, signature: String },
    ToolUse { id: String, name: String, input: Map<String, Value>, caller: Caller },
}

/// Who calls a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct Caller {
    r#type: String,
}

/// Tokens that went in and out. Those of the prompt that a kept sequence knew are counted apart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = anthropic::answer::Usage)]
pub(super) struct Usage {
    input_tokens: usize,
    output_tokens: usize,
    cache_read_input_tokens: usize,
    cache_creation_input_tokens: usize,
    cache_creation: Option<Value>,
    output_tokens_details: Option<OutputDetails>,
    server_tool_use: Option<Value>,
    service_tier: Option<String>,
    inference_geo: Option<String>,
    iterations: Option<Value>,
    speed: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = anthropic::answer::OutputDetails)]
struct OutputDetails {
    thinking_tokens: usize,
}

/// A step of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schema(as = anthropic::answer::Event)]
pub(super) enum Event {
    MessageStart { message: Box<Message> },
    ContentBlockStart { index: usize, content_block: Block },
    ContentBlockDelta { index: usize, delta: Delta },
    ContentBlockStop { index: usize },
    MessageDelta { delta: Box<Stop>, usage: Box<Usage>, context_management: Option<Value> },
    MessageStop,
    Ping,
}

/// What is added to a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "these are the names on the wire")]
#[schema(as = anthropic::answer::Delta)]
pub(super) enum Delta {
    TextDelta { text: String },
    ThinkingDelta { thinking: String },
    InputJsonDelta { partial_json: String },
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = anthropic::answer::Stop)]
pub(super) struct Stop {
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
    stop_details: Option<Value>,
    container: Option<Value>,
}

impl Event {
    /// What it is called, in the stream as in itself.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Event::MessageStart { .. } => "message_start",
            Event::ContentBlockStart { .. } => "content_block_start",
            Event::ContentBlockDelta { .. } => "content_block_delta",
            Event::ContentBlockStop { .. } => "content_block_stop",
            Event::MessageDelta { .. } => "message_delta",
            Event::MessageStop => "message_stop",
            Event::Ping => "ping",
        }
    }
}

/// From what a worker says to events.
#[derive(Debug, Clone)]
pub(super) struct Teller {
    id: String,
    model: String,
    shows_thoughts: bool,
    /// How many tokens the client wants at most.
    n_tokens_max: usize,
    /// The calls of this answer are told apart from those of earlier ones.
    calls: String,
    /// The open block and what it is.
    open: Option<Open>,
    n_blocks: usize,
    n_calls: usize,
    /// White space that becomes text if text follows.
    held: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Thoughts,
    Call(usize),
}

impl Teller {
    pub(super) fn new(
        id: String,
        model: String,
        calls: String,
        shows_thoughts: bool,
        n_tokens_max: usize,
    ) -> Teller {
        Teller {
            id,
            model,
            shows_thoughts,
            n_tokens_max,
            calls,
            open: None,
            n_blocks: 0,
            n_calls: 0,
            held: String::new(),
        }
    }

    /// The answer to a prompt of `n_prompt` tokens begins. How many of them are known already is
    /// told in the end.
    pub(super) fn begin(&self, n_prompt: usize) -> Vec<Event> {
        let message = Message {
            id: self.id.clone(),
            r#type: "message".to_owned(),
            role: "assistant".to_owned(),
            model: self.model.clone(),
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            stop_details: None,
            container: None,
            context_management: None,
            diagnostics: None,
            usage: Usage { input_tokens: n_prompt, ..Usage::default() },
        };
        vec![Event::MessageStart { message: Box::new(message) }, Event::Ping]
    }

    /// What became certain with a token.
    pub(super) fn piece(&mut self, piece: &Piece) -> Vec<Event> {
        let mut events = Vec::new();
        for part in &piece.parts {
            match part {
                ReplyEvent::Content(text) => self.text(text, &mut events),
                ReplyEvent::Reasoning(thought) if self.shows_thoughts && !thought.is_empty() => {
                    let block = Block::Thinking {
                        thinking: String::new(),
                        // Nobody checks it.
                        signature: String::new(),
                    };
                    self.open(Open::Thoughts, block, &mut events);
                    self.delta(Delta::ThinkingDelta { thinking: thought.clone() }, &mut events);
                }
                ReplyEvent::Reasoning(_) => {}
                ReplyEvent::CallStart { index, name } => {
                    self.n_calls += 1;
                    let block = Block::ToolUse {
                        id: format!("{}{index:02x}", self.calls),
                        name: name.clone(),
                        input: Map::new(),
                        caller: Caller { r#type: "direct".to_owned() },
                    };
                    self.open(Open::Call(*index), block, &mut events);
                }
                ReplyEvent::CallArguments { index, delta }
                    if self.open == Some(Open::Call(*index)) =>
                {
                    let partial_json = delta.clone();
                    self.delta(Delta::InputJsonDelta { partial_json }, &mut events);
                }
                ReplyEvent::CallEnd { index } if self.open == Some(Open::Call(*index)) => {
                    self.close(&mut events);
                }
                ReplyEvent::CallArguments { .. } | ReplyEvent::CallEnd { .. } => {}
            }
        }
        events
    }

    /// The answer is over.
    pub(super) fn end(&mut self, ended: &Ended) -> Vec<Event> {
        let mut events = Vec::new();
        self.close(&mut events);
        let stop_reason = match ended.why {
            Why::StopText => "stop_sequence",
            Why::Stop | Why::Cancelled if self.n_calls != 0 => "tool_use",
            Why::Stop | Why::Cancelled => "end_turn",
            Why::Length if self.n_tokens_max <= ended.n_tokens => "max_tokens",
            // It was made shorter than the client wanted, because no more fits.
            Why::Length | Why::Full => "model_context_window_exceeded",
        };
        let delta = Stop {
            stop_reason: Some(stop_reason.to_owned()),
            stop_sequence: ended.stop_text.clone(),
            stop_details: None,
            container: None,
        };
        let usage = Usage {
            input_tokens: ended.n_prompt.saturating_sub(ended.n_reused),
            output_tokens: ended.n_tokens,
            cache_read_input_tokens: ended.n_reused,
            output_tokens_details: Some(OutputDetails { thinking_tokens: ended.n_thought_tokens }),
            ..Usage::default()
        };
        let (delta, usage) = (Box::new(delta), Box::new(usage));
        events.push(Event::MessageDelta { delta, usage, context_management: None });
        events.push(Event::MessageStop);
        events
    }

    /// Text. White space before and between calls is none: clients send blocks back, and may not
    /// send one of white space alone.
    fn text(&mut self, text: &str, events: &mut Vec<Event>) {
        if self.open != Some(Open::Text) && text.trim().is_empty() {
            self.held.push_str(text);
            return;
        }
        let text = std::mem::take(&mut self.held) + text;
        self.open(Open::Text, Block::Text { text: String::new(), citations: None }, events);
        self.delta(Delta::TextDelta { text }, events);
    }

    /// Let a block be open that is `what`: begin it if it is not.
    fn open(&mut self, what: Open, block: Block, events: &mut Vec<Event>) {
        if self.open == Some(what) {
            return;
        }
        self.close(events);
        self.open = Some(what);
        events.push(Event::ContentBlockStart { index: self.n_blocks, content_block: block });
    }

    fn delta(&self, delta: Delta, events: &mut Vec<Event>) {
        events.push(Event::ContentBlockDelta { index: self.n_blocks, delta });
    }

    fn close(&mut self, events: &mut Vec<Event>) {
        self.held.clear();
        if self.open.take().is_some() {
            events.push(Event::ContentBlockStop { index: self.n_blocks });
            self.n_blocks += 1;
        }
    }
}

/// What events come to.
pub(super) fn message(events: Vec<Event>) -> Option<Message> {
    let mut whole: Option<Message> = None;
    let mut input = String::new();
    for event in events {
        match (event, &mut whole) {
            (Event::MessageStart { message }, _) => whole = Some(*message),
            (Event::ContentBlockStart { content_block, .. }, Some(whole)) => {
                whole.content.push(content_block);
            }
            (Event::ContentBlockDelta { delta, .. }, Some(whole)) => {
                match (delta, whole.content.last_mut()) {
                    (Delta::TextDelta { text: more }, Some(Block::Text { text, .. })) => {
                        text.push_str(&more);
                    }
                    (
                        Delta::ThinkingDelta { thinking: more },
                        Some(Block::Thinking { thinking, .. }),
                    ) => thinking.push_str(&more),
                    (Delta::InputJsonDelta { partial_json }, _) => input.push_str(&partial_json),
                    _ => {}
                }
            }
            (Event::ContentBlockStop { .. }, Some(whole)) => {
                if let Some(Block::ToolUse { name, input: object, .. }) = whole.content.last_mut() {
                    let arguments = std::mem::take(&mut input);
                    *object = Call { name: name.clone(), arguments }.object();
                }
            }
            (Event::MessageDelta { delta, usage, .. }, Some(whole)) => {
                let Stop { stop_reason, stop_sequence, .. } = *delta;
                (whole.stop_reason, whole.stop_sequence) = (stop_reason, stop_sequence);
                whole.usage = *usage;
            }
            _ => {}
        }
    }
    whole
}

#[cfg(test)]
mod tests;
