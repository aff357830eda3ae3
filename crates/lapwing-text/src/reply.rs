//! What an answer is made of: content, thoughts and calls of functions.
//!
//! Models write thoughts and calls between markers, each family in a way of its own. A
//! [`ReplyFormat`] says which markers those are, told from the chat template and the tokenizer; a
//! [`ReplyParser`] takes the answer in pieces and gives [`ReplyEvent`]s. Where the pieces are cut
//! makes no difference to the events joined.
//!
//! - A marker that is a special token is that token, never text that spells it; any other marker is
//!   text, wherever tokens end. White space behind a marker and at the end of a thought belongs to
//!   the marker.
//! - Before a call has a name it is none: if none comes, the text is content, with the marker before
//!   it. Afterwards whatever comes to its end is its arguments, whether or not that is JSON; what was
//!   cut off therefore does not parse. Arguments that a family writes otherwise become JSON.
//! - Work per character does not depend on what came before, and at most [`RAW_BYTES_MAX`] are held
//!   back while it is open whether they are a call.
//!
//! One more family: its markers in `reply/format.rs`; a new way to write calls is one more
//! [`calls::Calls`].

mod calls;
pub(crate) mod format;
mod harmony;
mod marked;
mod sink;
mod tools;
pub(crate) mod written;

use std::fmt;

use lapwing_model::TokenId;
use serde::{Deserialize, Serialize};

use format::{Marker, ReplyFormat};
use harmony::Harmony;
use marked::Marked;
use sink::Sink;

/// So much text may wait for its call's name.
const RAW_BYTES_MAX: usize = 64 << 10;

/// A piece of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Certain text, as a [`crate::Detokenizer`] gives it; it may end anywhere.
    Text(&'a str),
    /// A special token, which is no text.
    Special(TokenId),
}

/// What became certain about an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyEvent {
    /// Text for the user.
    Content(String),
    /// Text of a thought. Thoughts of one answer are an empty line apart.
    Reasoning(String),
    /// A call begins.
    CallStart {
        /// Which call of the answer, from 0.
        index: usize,
        /// The function.
        name: String,
    },
    /// The next part of a call's arguments.
    CallArguments {
        /// Which call of the answer.
        index: usize,
        /// Joined, the parts are a JSON object, if the model made no mistake.
        delta: String,
    },
    /// A call is over. Every call that begins ends.
    CallEnd {
        /// Which call of the answer.
        index: usize,
    },
}

/// A call of a function, as the model wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// The function.
    pub name: String,
    /// A JSON object, if the model made no mistake.
    pub arguments: String,
}

impl ToolCall {
    /// `{"name": …, "arguments": …}`, with the arguments as the string that the model wrote where
    /// they are no JSON, or hold integers that would lose digits.
    #[must_use]
    pub fn as_json(&self) -> serde_json::Value {
        let arguments: Option<serde_json::Value> = serde_json::from_str(&self.arguments).ok();
        let arguments = arguments.filter(|_| keeps_integers(&self.arguments));
        let arguments = arguments.unwrap_or_else(|| self.arguments.as_str().into());
        serde_json::json!({"name": self.name, "arguments": arguments})
    }
}

/// Whether a JSON text holds only integers of 64 bits: others would be read as floats.
fn keeps_integers(json: &str) -> bool {
    let mut is_in_string = false;
    let mut is_escaped = false;
    let is_outside = |symbol: &char| {
        let is_quote = *symbol == '"' && !is_escaped;
        is_escaped = *symbol == '\\' && !is_escaped;
        is_in_string ^= is_quote;
        !is_in_string
    };
    let outside: String = json.chars().filter(is_outside).collect();
    let is_of_number = |symbol: char| symbol.is_ascii_alphanumeric() || "+-.".contains(symbol);
    outside.split(|symbol| !is_of_number(symbol)).all(|word| {
        let is_integer = word.strip_prefix('-').unwrap_or(word).bytes().all(|b| b.is_ascii_digit());
        word.is_empty() || !is_integer || word.parse::<i64>().is_ok() || word.parse::<u64>().is_ok()
    })
}

/// An answer, taken apart: all [`ReplyEvent`]s joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Text for the user.
    pub content: String,
    /// Thoughts.
    pub reasoning: String,
    /// Calls, in order.
    pub tool_calls: Vec<ToolCall>,
}

impl Reply {
    /// Add what became certain.
    pub fn add(&mut self, event: &ReplyEvent) {
        match event {
            ReplyEvent::Content(text) => self.content.push_str(text),
            ReplyEvent::Reasoning(text) => self.reasoning.push_str(text),
            ReplyEvent::CallStart { name, .. } => {
                self.tool_calls.push(ToolCall { name: name.clone(), arguments: String::new() });
            }
            ReplyEvent::CallArguments { delta, .. } => {
                if let Some(call) = self.tool_calls.last_mut() {
                    call.arguments.push_str(delta);
                }
            }
            ReplyEvent::CallEnd { .. } => {}
        }
    }
}

/// One way to read an answer, character by character and marker by marker.
trait Grammar: fmt::Debug + Send {
    /// Whether a marker means something now; one that does not is text, or nothing if it is a token.
    fn expects(&self, marker: &Marker, is_token: bool) -> bool;

    /// A character that is in no marker.
    fn symbol(&mut self, symbol: char, sink: &mut Sink);

    /// A marker that is expected.
    fn marker(&mut self, marker: &Marker, sink: &mut Sink);

    /// Nothing more comes.
    fn finish(&mut self, sink: &mut Sink);
}

/// Takes an answer apart while it comes.
#[derive(Debug)]
pub struct ReplyParser {
    format: ReplyFormat,
    /// `None` where all is content.
    grammar: Option<Box<dyn Grammar>>,
    /// Text that may be the beginning of a marker.
    held: String,
    sink: Sink,
}

impl ReplyParser {
    /// A parser at the start of an answer to a prompt whose text, special tokens spelled, ends with
    /// `prompt_end`: templates may open a thought there.
    #[must_use]
    pub fn new(format: &ReplyFormat, prompt_end: &str) -> ReplyParser {
        let mut sink = Sink::default();
        let grammar: Option<Box<dyn Grammar>> = match format {
            _ if format.is_plain() => None,
            _ if format.is_harmony() => {
                Some(Box::new(Harmony::after(prompt_end, format, &mut sink)))
            }
            _ => Some(Box::new(Marked::new(format, prompt_end))),
        };
        ReplyParser { format: format.clone(), grammar, held: String::new(), sink }
    }

    /// Whether a token is a marker of this answer's format: a piece of its own.
    #[must_use]
    pub fn is_marker(&self, token: TokenId) -> bool {
        self.format.marker(token).is_some()
    }

    /// Read one more piece.
    pub fn push(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Text(text) if self.grammar.is_none() => self.sink.content(text),
            Piece::Text(text) => {
                self.held.push_str(text);
                self.advance(false);
            }
            Piece::Special(token) => {
                let Some(marker) = self.format.marker(token).copied() else { return };
                self.advance(true);
                if let Some(grammar) = &mut self.grammar
                    && grammar.expects(&marker, true)
                {
                    grammar.marker(&marker, &mut self.sink);
                }
            }
        }
    }

    /// Nothing more comes: what was held back is decided.
    pub fn finish(&mut self) {
        self.advance(true);
        if let Some(grammar) = &mut self.grammar {
            grammar.finish(&mut self.sink);
        }
    }

    /// What became certain since the last time.
    pub fn take_events(&mut self) -> Vec<ReplyEvent> {
        self.sink.take()
    }

    /// Read what is held, but for what may still become a marker, unless no more text comes.
    fn advance(&mut self, is_whole: bool) {
        if let Some(grammar) = &mut self.grammar {
            let text = Text { markers: Markers::AsTheyAre, is_whole };
            let n_read = read(grammar.as_mut(), &self.format, &self.held, text, &mut self.sink);
            self.held.drain(..n_read);
        }
    }
}

/// How a text is to be read.
#[derive(Clone, Copy)]
struct Text {
    markers: Markers,
    /// No more of it comes, so that nothing in it is the beginning of a marker.
    is_whole: bool,
}

/// Whether markers that are tokens are also looked for as they are spelled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Markers {
    AsTheyAre,
    AllSpelled,
}

/// Let `grammar` read `held`; gives how many bytes of it are decided.
fn read(
    grammar: &mut dyn Grammar,
    format: &ReplyFormat,
    held: &str,
    text: Text,
    sink: &mut Sink,
) -> usize {
    let mut rest = held;
    while let Some(symbol) = rest.chars().next() {
        match look(grammar, format, rest, text) {
            Look::Marker(marker) => {
                rest = &rest[marker.spelling.len()..];
                grammar.marker(&marker, sink);
            }
            Look::Open => break,
            Look::Symbol => {
                rest = &rest[symbol.len_utf8()..];
                grammar.symbol(symbol, sink);
            }
        }
    }
    held.len() - rest.len()
}

/// What a text begins with.
enum Look {
    Marker(Marker),
    /// A marker may begin here.
    Open,
    Symbol,
}

fn look(grammar: &dyn Grammar, format: &ReplyFormat, rest: &str, text: Text) -> Look {
    for marker in format.markers() {
        let is_spelled = marker.token.is_none() || text.markers == Markers::AllSpelled;
        let is_here = rest.starts_with(marker.spelling);
        let may_be = is_here || (!text.is_whole && marker.spelling.starts_with(rest));
        if is_spelled && may_be && grammar.expects(marker, false) {
            return if is_here { Look::Marker(*marker) } else { Look::Open };
        }
    }
    Look::Symbol
}

#[cfg(test)]
mod tests;
