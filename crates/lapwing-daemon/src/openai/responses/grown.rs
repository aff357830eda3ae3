//! A response as it grows: what each token adds to it, and the events that tell so.

use lapwing_serving::message::{Ended, Piece, ReplyEvent, Why};

use super::wire::{
    Content, Event, IncompleteDetails, InputDetails, Item, OutputDetails, Response, ResponseError,
    ResponseUsage, Status, What,
};
use crate::openai::answer::TokenLogprob;
use crate::request_id::RequestId;
use crate::unix_seconds;

/// A response as it grows. Whoever wants it whole leaves the events alone.
#[derive(Debug)]
pub(super) struct Grown {
    response: Response,
    request_id: RequestId,
    /// Calls of this response are told apart from those of others.
    calls: RequestId,
    has_logprobs: bool,
    n_events: u64,
    /// Whether the newest item goes on.
    is_open: bool,
    /// Probabilities of tokens that have not become text.
    held: Vec<TokenLogprob>,
}

impl Grown {
    pub(super) fn new(blank: Response, request_id: RequestId, has_logprobs: bool) -> Grown {
        Grown {
            response: blank,
            request_id,
            calls: RequestId::new(),
            has_logprobs,
            n_events: 0,
            is_open: false,
            held: Vec::new(),
        }
    }

    /// The response so far.
    pub(super) fn response(&self) -> &Response {
        &self.response
    }

    /// The first events.
    pub(super) fn begin(&mut self) -> Vec<Event> {
        let response = || Box::new(self.response.clone());
        let begun =
            vec![What::Created { response: response() }, What::InProgress { response: response() }];
        self.numbered(begun)
    }

    /// What a token adds.
    pub(super) fn piece(&mut self, piece: &Piece) -> Vec<Event> {
        let mut happened = Vec::new();
        if let Some(probability) = piece.probability.as_deref().filter(|_| self.has_logprobs) {
            self.held.push(TokenLogprob::of(probability));
        }
        for part in &piece.parts {
            match part {
                ReplyEvent::Content(delta) => self.text(delta, &mut happened),
                ReplyEvent::Reasoning(delta) => self.thought(delta, &mut happened),
                ReplyEvent::CallStart { name, .. } => self.call(name, &mut happened),
                ReplyEvent::CallArguments { delta, .. } => self.arguments(delta, &mut happened),
                ReplyEvent::CallEnd { .. } => self.close(Status::Completed, &mut happened),
            }
        }
        self.numbered(happened)
    }

    /// The last events.
    pub(super) fn end(&mut self, ended: &Ended) -> Vec<Event> {
        let mut happened = Vec::new();
        let is_whole = !matches!(ended.why, Why::Length | Why::Full);
        let status = if is_whole { Status::Completed } else { Status::Incomplete };
        if self.response.output.is_empty() {
            self.open_message(&mut happened);
        }
        self.close(status, &mut happened);
        self.response.usage = Some(ResponseUsage {
            input_tokens: ended.n_prompt,
            input_tokens_details: InputDetails {
                cached_tokens: ended.n_reused,
                cache_write_tokens: 0,
            },
            output_tokens: ended.n_tokens,
            output_tokens_details: OutputDetails { reasoning_tokens: ended.n_thought_tokens },
            total_tokens: ended.n_prompt + ended.n_tokens,
        });
        if is_whole {
            self.response.status = "completed".to_owned();
            self.response.completed_at = Some(unix_seconds());
        } else {
            self.response.status = "incomplete".to_owned();
            let reason = "max_output_tokens".to_owned();
            self.response.incomplete_details = Some(IncompleteDetails { reason });
        }
        let response = Box::new(self.response.clone());
        happened.push(match is_whole {
            true => What::Completed { response },
            false => What::Incomplete { response },
        });
        self.numbered(happened)
    }

    /// The last events of a response that comes to no end.
    pub(super) fn fail(&mut self, error: ResponseError) -> Vec<Event> {
        self.response.status = "failed".to_owned();
        self.response.error = Some(error);
        let response = Box::new(self.response.clone());
        self.numbered(vec![What::Failed { response }])
    }

    fn numbered(&mut self, happened: Vec<What>) -> Vec<Event> {
        let number = |what| {
            let sequence_number = self.n_events;
            self.n_events += 1;
            Event { sequence_number, what }
        };
        happened.into_iter().map(number).collect()
    }

    /// Which item is the newest.
    fn output_index(&self) -> usize {
        self.response.output.len().saturating_sub(1)
    }

    fn item_id(&self, prefix: &str) -> String {
        format!("{}{:02x}", self.request_id.with_prefix(prefix), self.response.output.len())
    }

    /// Begin an item; the one before it is over.
    fn open(&mut self, item: Item, happened: &mut Vec<What>) {
        self.close(Status::Completed, happened);
        self.response.output.push(item.clone());
        self.is_open = true;
        happened.push(What::ItemAdded { output_index: self.output_index(), item });
    }

    fn open_content(&mut self, part: Content, happened: &mut Vec<What>) {
        let output_index = self.output_index();
        if let Some(Item::Reasoning { id, content, .. } | Item::Message { id, content, .. }) =
            self.response.output.last_mut()
        {
            content.push(part.clone());
            let item_id = id.clone();
            happened.push(What::ContentAdded { item_id, output_index, content_index: 0, part });
        }
    }

    fn open_message(&mut self, happened: &mut Vec<What>) {
        let message = Item::Message {
            id: self.item_id("msg_"),
            role: "assistant".to_owned(),
            content: Vec::new(),
            status: Status::InProgress,
        };
        self.open(message, happened);
        let part = Content::OutputText {
            text: String::new(),
            annotations: Vec::new(),
            logprobs: Vec::new(),
        };
        self.open_content(part, happened);
    }

    fn text(&mut self, delta: &str, happened: &mut Vec<What>) {
        let is_message = matches!(self.response.output.last(), Some(Item::Message { .. }));
        if !(self.is_open && is_message) {
            // Space between calls is no text for anybody.
            if delta.trim().is_empty() && !self.response.output.is_empty() {
                return;
            }
            self.open_message(happened);
        }
        let output_index = self.output_index();
        let Some(Item::Message { id, content, .. }) = self.response.output.last_mut() else {
            return;
        };
        let Some(Content::OutputText { text, logprobs, .. }) = content.last_mut() else { return };
        text.push_str(delta);
        let newest = std::mem::take(&mut self.held);
        logprobs.extend(newest.iter().cloned());
        happened.push(What::TextDelta {
            item_id: id.clone(),
            output_index,
            content_index: 0,
            delta: delta.to_owned(),
            logprobs: newest,
        });
    }

    fn thought(&mut self, delta: &str, happened: &mut Vec<What>) {
        self.held.clear();
        let is_thought = matches!(self.response.output.last(), Some(Item::Reasoning { .. }));
        if !(self.is_open && is_thought) {
            let thought = Item::Reasoning {
                id: self.item_id("rs_"),
                summary: Vec::new(),
                content: Vec::new(),
                status: Status::InProgress,
            };
            self.open(thought, happened);
            self.open_content(Content::ReasoningText { text: String::new() }, happened);
        }
        let output_index = self.output_index();
        let Some(Item::Reasoning { id, content, .. }) = self.response.output.last_mut() else {
            return;
        };
        if let Some(Content::ReasoningText { text }) = content.last_mut() {
            text.push_str(delta);
        }
        happened.push(What::ThoughtDelta {
            item_id: id.clone(),
            output_index,
            content_index: 0,
            delta: delta.to_owned(),
        });
    }

    fn call(&mut self, name: &str, happened: &mut Vec<What>) {
        self.held.clear();
        let n_items = self.response.output.len();
        let call = Item::FunctionCall {
            id: self.item_id("fc_"),
            call_id: format!("{}{n_items:02x}", self.calls.with_prefix("call_")),
            name: name.to_owned(),
            arguments: String::new(),
            status: Status::InProgress,
        };
        self.open(call, happened);
    }

    fn arguments(&mut self, delta: &str, happened: &mut Vec<What>) {
        self.held.clear();
        let output_index = self.output_index();
        if let Some(Item::FunctionCall { id, arguments, .. }) = self.response.output.last_mut() {
            arguments.push_str(delta);
            let (item_id, delta) = (id.clone(), delta.to_owned());
            happened.push(What::ArgumentsDelta { item_id, output_index, delta });
        }
    }

    /// The newest item is over, if it is not already.
    fn close(&mut self, now: Status, happened: &mut Vec<What>) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        let (output_index, content_index) = (self.output_index(), 0);
        let Some(item) = self.response.output.last_mut() else { return };
        match item {
            Item::FunctionCall { id, name, arguments, status, .. } => {
                *status = now;
                happened.push(What::ArgumentsDone {
                    item_id: id.clone(),
                    output_index,
                    name: name.clone(),
                    arguments: arguments.clone(),
                });
            }
            Item::Message { id, content, status, .. }
            | Item::Reasoning { id, content, status, .. } => {
                *status = now;
                for part in content.iter().cloned() {
                    let item_id = id.clone();
                    happened.push(match part.clone() {
                        Content::OutputText { text, logprobs, .. } => {
                            What::TextDone { item_id, output_index, content_index, text, logprobs }
                        }
                        Content::ReasoningText { text } => {
                            What::ThoughtDone { item_id, output_index, content_index, text }
                        }
                    });
                    let item_id = id.clone();
                    happened.push(What::ContentDone { item_id, output_index, content_index, part });
                }
            }
        }
        happened.push(What::ItemDone { output_index, item: item.clone() });
    }
}

#[cfg(test)]
mod tests;
