//! Answers in which thoughts and calls stand between markers.

use std::sync::Arc;

use super::calls::{self, Calls, Flow, Opened};
use super::format::{FENCE_MARK, Marker, ReplyFormat, Role, Syntax, Thought};
use super::sink::Sink;
use super::tools::Tools;
use super::{Grammar, RAW_BYTES_MAX};

/// What Gemma writes behind the marker that opens a thought.
const CHANNEL_NAME: &str = "thought";

/// Reads content, and in it thoughts and blocks of calls.
#[derive(Debug)]
pub(super) struct Marked {
    place: Place,
    tools: Arc<Tools>,
    /// A JSON object at the start, or at that of a block of code, may be a call.
    has_bare_calls: bool,
    /// Nothing but white space and thoughts came so far.
    is_start: bool,
    /// Nothing but white space came since the last line's end.
    is_line_start: bool,
    /// White space that comes now belongs to the marker before it.
    drops_space: bool,
    /// White space at the end of a thought, or at the start of an answer that may be a bare call.
    space: String,
    block: Block,
}

#[derive(Debug)]
enum Place {
    Content,
    Thought {
        thought: Thought,
        /// Characters of the channel's name that came, while it comes.
        n_name: Option<usize>,
    },
    /// Behind the marker that opens calls, before it is clear how they are written.
    Opening(Syntax),
    Calls(Box<dyn Calls>),
}

/// What is known of the last block of calls.
#[derive(Debug, Default)]
struct Block {
    /// The marker that opened it; empty for a bare call.
    opener: &'static str,
    /// What came since, or since its last call.
    raw: String,
    /// Calls of the answer before it.
    n_calls_before: usize,
    /// It is over, and its closing marker may still come.
    rest: Option<Rest>,
}

/// What comes of a closing marker behind a block that ended before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// The block had calls: it is theirs.
    Marker,
    /// It had none: it is content.
    Content,
}

impl Block {
    /// Whether it is one of code.
    fn is_fenced(&self) -> bool {
        self.opener.starts_with(FENCE_MARK)
    }
}

impl Marked {
    pub(super) fn new(format: &ReplyFormat, prompt_end: &str) -> Marked {
        let end = prompt_end.trim_end();
        let opened = format.markers().iter().find_map(|marker| match marker.role {
            Role::ThoughtOpen(Thought::Announced) => None,
            Role::ThoughtOpen(thought) => {
                let end = match thought {
                    Thought::Channel => end.strip_suffix(CHANNEL_NAME).unwrap_or(end),
                    _ => end,
                };
                end.ends_with(marker.spelling).then_some(thought)
            }
            _ => None,
        });
        let has_name = end.ends_with(CHANNEL_NAME);
        let place = opened.map_or(Place::Content, |thought| Place::Thought {
            thought,
            n_name: (thought == Thought::Channel && !has_name).then_some(0),
        });
        Marked {
            drops_space: opened.is_some(),
            place,
            has_bare_calls: format.has_bare_calls(),
            tools: format.tools().clone(),
            is_start: true,
            is_line_start: true,
            space: String::new(),
            block: Block::default(),
        }
    }

    fn content(&mut self, symbol: char, sink: &mut Sink) {
        let is_space = symbol.is_whitespace();
        self.is_line_start = symbol == '\n' || (self.is_line_start && is_space);
        if is_space && self.drops_space {
            return;
        }
        self.drops_space = false;
        if self.has_bare_calls && self.is_start {
            if is_space {
                self.space.push(symbol);
                return;
            }
            if symbol == '{' {
                let space = std::mem::take(&mut self.space);
                self.open("", Place::Calls(calls::bare(self.tools.clone())), sink);
                self.block.raw = space;
                return self.call_symbol(symbol, sink);
            }
        }
        sink.content(&self.space);
        self.space.clear();
        self.is_start &= is_space;
        sink.content(symbol.encode_utf8(&mut [0; 4]));
    }

    fn open_thought(&mut self, thought: Thought, sink: &mut Sink) {
        sink.content(&self.space);
        self.space.clear();
        sink.break_reasoning();
        let n_name = (thought == Thought::Channel).then_some(0);
        self.place = Place::Thought { thought, n_name };
        self.drops_space = true;
    }

    fn thought(&mut self, symbol: char, sink: &mut Sink) {
        if let Place::Thought { n_name: Some(n_name), .. } = &mut self.place
            && CHANNEL_NAME[*n_name..].starts_with(symbol)
        {
            *n_name += symbol.len_utf8();
            return;
        }
        self.end_name(symbol.is_whitespace(), sink);
        if symbol.is_whitespace() {
            if !self.drops_space {
                self.space.push(symbol);
            }
            return;
        }
        self.drops_space = false;
        sink.reasoning(&self.space);
        self.space.clear();
        sink.reasoning(symbol.encode_utf8(&mut [0; 4]));
    }

    /// The name of a thought's channel is over; what is none is a part of the thought.
    fn end_name(&mut self, is_word: bool, sink: &mut Sink) {
        let Place::Thought { n_name, .. } = &mut self.place else { return };
        let Some(n_name) = n_name.take() else { return };
        if !is_word || n_name < CHANNEL_NAME.len() {
            sink.reasoning(&CHANNEL_NAME[..n_name]);
        }
    }

    fn open(&mut self, opener: &'static str, place: Place, sink: &mut Sink) {
        sink.content(&self.space);
        self.space.clear();
        let n_calls_before = sink.n_calls();
        self.block = Block { opener, n_calls_before, ..Block::default() };
        self.place = place;
    }

    /// A character of a block of calls.
    fn call_symbol(&mut self, symbol: char, sink: &mut Sink) {
        let was_open = sink.is_open();
        if !was_open {
            self.block.raw.push(symbol);
        }
        let flow = match &mut self.place {
            Place::Opening(_) if symbol.is_whitespace() => Flow::On,
            Place::Opening(syntax) => match calls::open(*syntax, &self.block.raw, &self.tools) {
                Opened::NotYet => Flow::On,
                Opened::No => Flow::Foreign,
                Opened::Calls(mut opened) => {
                    let mut flow = Flow::On;
                    for symbol in self.block.raw.chars() {
                        flow = opened.symbol(symbol, sink);
                    }
                    self.place = Place::Calls(opened);
                    flow
                }
            },
            Place::Calls(calls) => calls.symbol(symbol, sink),
            Place::Content | Place::Thought { .. } => Flow::On,
        };
        if was_open && flow == Flow::Foreign {
            self.block.raw.push(symbol);
        }
        self.follow(flow, sink);
    }

    fn follow(&mut self, flow: Flow, sink: &mut Sink) {
        if flow == Flow::Settled || sink.is_open() {
            self.block.raw.clear();
        }
        if flow == Flow::Foreign || RAW_BYTES_MAX < self.block.raw.len() {
            self.give_back(sink);
        }
    }

    /// What came since the last call is none: it is content.
    fn give_back(&mut self, sink: &mut Sink) {
        sink.end();
        let Block { opener, raw, n_calls_before, .. } = &self.block;
        let has_calls = *n_calls_before < sink.n_calls();
        if has_calls {
            sink.content(raw.trim_start());
        } else {
            sink.content(opener);
            sink.content(raw);
        }
        self.block.raw.clear();
        self.block.rest = Some(if has_calls { Rest::Marker } else { Rest::Content });
        self.place = Place::Content;
        self.is_start = false;
        self.is_line_start = false;
        self.drops_space = false;
    }

    /// End the block of calls, by a marker if there is one, or at the end of the answer.
    fn close(&mut self, marker: Option<&Marker>, sink: &mut Sink) {
        let is_over = match &mut self.place {
            Place::Calls(calls) => calls.close(marker.is_some(), sink),
            _ => false,
        };
        sink.end();
        let is_separator = |symbol: char| symbol.is_whitespace() || ",;[]".contains(symbol);
        let has_calls = self.block.n_calls_before < sink.n_calls();
        if is_over || (has_calls && self.block.raw.chars().all(is_separator)) {
            self.block.rest = Some(Rest::Marker);
            self.place = Place::Content;
            self.is_start = false;
        } else {
            self.give_back(sink);
        }
        let closes = |marker: &&Marker| matches!(marker.role, Role::CallsClose | Role::FenceClose);
        if let Some(marker) = marker.filter(closes) {
            self.close_rest(marker, sink);
        }
    }

    /// A closing marker behind a block that ended before it.
    fn close_rest(&mut self, marker: &Marker, sink: &mut Sink) {
        let rest = self.block.rest.take();
        self.is_line_start = false;
        self.drops_space = rest != Some(Rest::Content);
        if !self.drops_space {
            sink.content(marker.spelling);
        }
    }
}

impl Grammar for Marked {
    fn expects(&self, marker: &Marker, is_token: bool) -> bool {
        match (&self.place, marker.role) {
            (Place::Content, Role::ThoughtOpen(Thought::Announced)) => self.is_start,
            (Place::Content, Role::CallsOpen(Syntax::Fenced)) => {
                self.has_bare_calls && self.is_line_start
            }
            (Place::Content, Role::ThoughtOpen(_) | Role::Response | Role::CallsOpen(_)) => true,
            (Place::Content, Role::CallsClose) => self.block.rest.is_some(),
            (Place::Content, Role::FenceClose) => {
                self.block.rest.is_some() && self.block.is_fenced()
            }
            (Place::Opening(_) | Place::Calls(_), Role::CallsOpen(Syntax::Fenced)) => false,
            (Place::Opening(_), Role::FenceClose) => self.block.is_fenced(),
            (Place::Calls(calls), Role::FenceClose) => {
                self.block.is_fenced() && !calls.is_in_text()
            }
            (Place::Thought { thought, .. }, Role::ThoughtClose(closed)) => *thought == closed,
            (Place::Opening(_), Role::CallsOpen(Syntax::XmlName)) => false,
            (Place::Opening(_), Role::CallsOpen(_) | Role::CallsClose) => true,
            (Place::Calls(calls), Role::CallsOpen(Syntax::XmlName)) => {
                !calls.reads_markup() && !calls.is_in_text()
            }
            (Place::Calls(calls), Role::CallsOpen(_) | Role::CallsClose) => {
                is_token || !calls.is_in_text()
            }
            (Place::Calls(calls), Role::Quote) => calls.expects(Role::Quote),
            (Place::Calls(calls), role) => calls.expects(role) && (is_token || !calls.is_in_text()),
            _ => false,
        }
    }

    fn symbol(&mut self, symbol: char, sink: &mut Sink) {
        match self.place {
            Place::Content => self.content(symbol, sink),
            Place::Thought { .. } => self.thought(symbol, sink),
            Place::Opening(_) | Place::Calls(_) => self.call_symbol(symbol, sink),
        }
    }

    fn marker(&mut self, marker: &Marker, sink: &mut Sink) {
        match (&mut self.place, marker.role) {
            (Place::Content, Role::CallsClose | Role::FenceClose) => self.close_rest(marker, sink),
            (Place::Content, Role::ThoughtOpen(thought)) => self.open_thought(thought, sink),
            (Place::Thought { .. }, _) => {
                self.end_name(true, sink);
                self.space.clear();
                self.place = Place::Content;
                self.drops_space = true;
            }
            (Place::Opening(_) | Place::Calls(_), Role::CallsClose | Role::FenceClose) => {
                self.close(Some(marker), sink);
            }
            (place, Role::CallsOpen(syntax)) => {
                if !matches!(place, Place::Content) {
                    self.close(Some(marker), sink);
                }
                let opened = calls::without_look(syntax, &self.tools);
                let place = opened.map_or(Place::Opening(syntax), Place::Calls);
                self.open(marker.spelling, place, sink);
            }
            (Place::Calls(calls), role) => {
                if !sink.is_open() {
                    self.block.raw.push_str(marker.spelling);
                }
                let flow = calls.marker(role, sink);
                self.follow(flow, sink);
            }
            (_, _) => self.drops_space = true,
        }
    }

    fn finish(&mut self, sink: &mut Sink) {
        match self.place {
            Place::Content => sink.content(&self.space),
            Place::Thought { .. } => {}
            Place::Opening(_) | Place::Calls(_) => self.close(None, sink),
        }
        self.space.clear();
    }
}
