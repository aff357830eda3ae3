//! Where parsers put what became certain.

use super::ReplyEvent;

/// Collects events; neighbours of a kind become one.
#[derive(Debug, Default)]
pub(super) struct Sink {
    events: Vec<ReplyEvent>,
    n_calls: usize,
    /// A call has begun and not ended.
    is_open: bool,
    has_arguments: bool,
    has_content: bool,
    has_reasoning: bool,
    /// What comes next is apart from what came before.
    content_breaks: bool,
    reasoning_breaks: bool,
}

/// Between thoughts, and between messages of one answer.
const BREAK: &str = "\n\n";

impl Sink {
    pub(super) fn take(&mut self) -> Vec<ReplyEvent> {
        std::mem::take(&mut self.events)
    }

    /// Calls that began so far.
    pub(super) fn n_calls(&self) -> usize {
        self.n_calls
    }

    /// Whether a call has begun and not ended.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    pub(super) fn content(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if std::mem::take(&mut self.content_breaks) && self.has_content {
            self.content(BREAK);
        }
        self.has_content = true;
        match self.events.last_mut() {
            Some(ReplyEvent::Content(before)) => before.push_str(text),
            _ => self.events.push(ReplyEvent::Content(text.to_owned())),
        }
    }

    pub(super) fn reasoning(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if std::mem::take(&mut self.reasoning_breaks) && self.has_reasoning {
            self.reasoning(BREAK);
        }
        self.has_reasoning = true;
        match self.events.last_mut() {
            Some(ReplyEvent::Reasoning(before)) => before.push_str(text),
            _ => self.events.push(ReplyEvent::Reasoning(text.to_owned())),
        }
    }

    /// A new message begins: its content is apart from any before.
    pub(super) fn break_content(&mut self) {
        self.content_breaks = true;
    }

    /// A new thought begins.
    pub(super) fn break_reasoning(&mut self) {
        self.reasoning_breaks = true;
    }

    /// Begin a call, and end one that is open.
    pub(super) fn start(&mut self, name: &str) {
        self.end();
        let index = self.n_calls;
        self.events.push(ReplyEvent::CallStart { index, name: name.to_owned() });
        self.n_calls += 1;
        self.is_open = true;
        self.has_arguments = false;
    }

    /// The next part of the arguments of the open call.
    pub(super) fn arguments(&mut self, text: &str) {
        if text.is_empty() || !self.is_open {
            return;
        }
        self.has_arguments = true;
        match self.events.last_mut() {
            Some(ReplyEvent::CallArguments { delta, .. }) => delta.push_str(text),
            _ => {
                let index = self.n_calls - 1;
                self.events.push(ReplyEvent::CallArguments { index, delta: text.to_owned() });
            }
        }
    }

    pub(super) fn argument_symbol(&mut self, symbol: char) {
        self.arguments(symbol.encode_utf8(&mut [0; 4]));
    }

    /// End the open call, if there is one. No arguments are `{}`.
    pub(super) fn end(&mut self) {
        if !self.is_open {
            return;
        }
        if !self.has_arguments {
            self.arguments("{}");
        }
        self.is_open = false;
        self.events.push(ReplyEvent::CallEnd { index: self.n_calls - 1 });
    }
}
