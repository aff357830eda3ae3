//! Answers of gpt-oss: messages, each with a header that says what it is.
//!
//! ```text
//! <|start|> assistant <|channel|> commentary to=functions.f <|constrain|> json <|message|> {} <|call|>
//! ```

use super::format::{Marker, ReplyFormat, Role, START};
use super::sink::Sink;
use super::{Grammar, Markers, Text, read};

/// Longer ones are no headers.
const HEADER_BYTES_MAX: usize = 1024;

/// The word before a recipient.
const TO: &str = "to=";

/// What every function's name begins with as a recipient.
const NAMESPACE: &str = "functions.";

/// Reads messages. What is in none is content. A header that the answer's end cuts off is dropped: it
/// is no text.
#[derive(Debug, Default)]
pub(super) struct Harmony {
    place: Place,
    header: Header,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before a message.
    #[default]
    Between,
    Header,
    Content,
    Reasoning,
    Call,
}

#[derive(Debug, Default)]
struct Header {
    /// All of it, with its markers.
    text: String,
    /// What stands before the channel, in the channel, and behind `<|constrain|>`.
    parts: [String; 3],
    part_idx: usize,
    /// Text of the answer, behind a header that the prompt began.
    n_prompt_bytes: Option<usize>,
}

impl Header {
    fn symbol(&mut self, symbol: char) {
        self.text.push(symbol);
        self.parts[self.part_idx].push(symbol);
    }

    fn part(&mut self, part_idx: usize, spelling: &str) {
        self.text.push_str(spelling);
        self.part_idx = part_idx;
    }

    /// What the header says of its message, and a call's function.
    fn kind(&self) -> (Place, Option<&str>) {
        let mut words = self.parts.iter().flat_map(|part| part.split_whitespace());
        if let Some(recipient) = words.find_map(|word| word.strip_prefix(TO)) {
            let name = recipient.strip_prefix(NAMESPACE).unwrap_or(recipient);
            if !name.is_empty() {
                return (Place::Call, Some(name));
            }
        }
        match self.parts[1].split_whitespace().next() {
            Some("analysis") => (Place::Reasoning, None),
            _ => (Place::Content, None),
        }
    }

    /// Whether the answer goes on with the header that the prompt began, rather than with text.
    fn may_go_on(&self) -> bool {
        let Some(n_prompt_bytes) = self.n_prompt_bytes.filter(|_| self.part_idx == 0) else {
            return true;
        };
        let more = self.text[n_prompt_bytes..].trim_start();
        more.starts_with(TO) || TO.starts_with(more)
    }
}

impl Harmony {
    /// For an answer to a prompt that ends so: with a message's beginning, which the answer goes on
    /// from.
    pub(super) fn after(prompt_end: &str, format: &ReplyFormat, sink: &mut Sink) -> Harmony {
        let mut harmony = Harmony::default();
        let start = prompt_end.rfind(START).unwrap_or(prompt_end.len());
        let text = Text { markers: Markers::AllSpelled, is_whole: true };
        read(&mut harmony, format, &prompt_end[start..], text, sink);
        harmony.header.n_prompt_bytes = Some(harmony.header.text.len());
        if !sink.is_open() {
            *sink = Sink::default();
        }
        harmony
    }

    fn give_back(&mut self, sink: &mut Sink) {
        let header = std::mem::take(&mut self.header);
        sink.content(&header.text[header.n_prompt_bytes.unwrap_or(0)..]);
        self.place = Place::Between;
    }

    /// What turns out to be no header is content.
    fn check_header(&mut self, sink: &mut Sink) {
        if HEADER_BYTES_MAX < self.header.text.len() || !self.header.may_go_on() {
            self.give_back(sink);
        }
    }

    fn go_on(&mut self, part_idx: usize, spelling: &str, sink: &mut Sink) {
        self.header.part(part_idx, spelling);
        self.check_header(sink);
    }

    fn begin_header(&mut self, part_idx: usize, spelling: &str, sink: &mut Sink) {
        sink.end();
        self.header = Header::default();
        self.header.part(part_idx, spelling);
        self.place = Place::Header;
    }

    fn begin_message(&mut self, sink: &mut Sink) {
        let (place, name) = self.header.kind();
        match place {
            Place::Reasoning => sink.break_reasoning(),
            Place::Call => sink.start(name.unwrap_or_default()),
            _ => sink.break_content(),
        }
        self.place = place;
    }
}

impl Grammar for Harmony {
    fn expects(&self, marker: &Marker, _is_token: bool) -> bool {
        match marker.role {
            Role::Start | Role::Channel | Role::End => true,
            Role::Constrain | Role::Message => self.place == Place::Header,
            _ => false,
        }
    }

    fn symbol(&mut self, symbol: char, sink: &mut Sink) {
        let mut bytes = [0; 4];
        let text = symbol.encode_utf8(&mut bytes);
        match self.place {
            Place::Between | Place::Content => sink.content(text),
            Place::Reasoning => sink.reasoning(text),
            Place::Call => sink.arguments(text),
            Place::Header => {
                self.header.symbol(symbol);
                self.check_header(sink);
            }
        }
    }

    fn marker(&mut self, marker: &Marker, sink: &mut Sink) {
        let is_header = self.place == Place::Header;
        match marker.role {
            Role::Channel if is_header => self.go_on(1, marker.spelling, sink),
            Role::Constrain => self.go_on(2, marker.spelling, sink),
            Role::Message => self.begin_message(sink),
            Role::Start => self.begin_header(0, marker.spelling, sink),
            Role::Channel => self.begin_header(1, marker.spelling, sink),
            _ => {
                sink.end();
                self.place = Place::Between;
            }
        }
    }

    fn finish(&mut self, sink: &mut Sink) {
        sink.end();
        let is_text = self.header.part_idx == 0 && self.header.n_prompt_bytes.is_some();
        if self.place == Place::Header && is_text {
            self.give_back(sink);
        }
    }
}
