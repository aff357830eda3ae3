//! A prompt in which text of messages stays text.
//!
//! Wherever a control token could begin or end in a message, a [mark](crate::jinja::value::marks)
//! stands for the character. Whatever the template does with the text, the marks go along. In the
//! rendered text they become the characters again, and what is spelled there like a control token
//! is one only if both its ends are the template's own.

use std::borrow::Cow;

use super::RenderInput;
use super::message::{Message, value_with};
use crate::jinja::value::Value;
use crate::jinja::value::marks::Marks;

/// Characters that mean nothing in any text, and further ones that stand for nothing by themselves.
const MARKS: [std::ops::RangeInclusive<char>; 2] =
    ['\u{fdd0}'..='\u{fdef}', '\u{10f000}'..='\u{10fffd}'];

/// A rendered prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    text: String,
    typed: Vec<usize>,
}

impl Rendered {
    /// A prompt in which every spelling of a control token is that token.
    pub fn raw(text: String) -> Rendered {
        Rendered { text, typed: Vec::new() }
    }

    /// The prompt as it reads.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where something is spelled like a control token and is text, as offsets of bytes in order.
    #[must_use]
    pub fn typed(&self) -> &[usize] {
        &self.typed
    }
}

/// Marks what messages spell like control tokens.
pub(crate) struct Typed<'a> {
    /// Longer ones first, so that one within another is passed over.
    spellings: Vec<&'a str>,
    marks: Marks,
    /// Occurs nowhere.
    free: Option<char>,
}

impl<'a> Typed<'a> {
    /// Marks that occur neither in `input` nor in the template's `source`; `spellings` has longer
    /// ones first.
    pub(crate) fn new(spellings: Vec<&'a str>, input: &RenderInput<'_>, source: &str) -> Typed<'a> {
        let mut used: Vec<char> = source.chars().filter(is_mark).collect();
        let mut look = |json: &serde_json::Value| note_marks(json, &mut used);
        for message in input.messages {
            message.content.iter().chain(message.extra.values()).for_each(&mut look);
        }
        let lists = input.tools.into_iter().chain(input.documents).flatten();
        lists.chain(input.extra.values()).for_each(&mut look);
        let mut free = MARKS.into_iter().flatten().filter(|mark| !used.contains(mark));
        let mut marks: Vec<(char, char)> = Vec::new();
        let ends = spellings
            .iter()
            .flat_map(|spelling| [spelling.chars().next(), spelling.chars().next_back()]);
        for end in ends.flatten() {
            if !marks.iter().any(|(known, _)| *known == end) {
                marks.extend(free.next().map(|mark| (end, mark)));
            }
        }
        let free = free.next();
        Typed { spellings, marks: Marks::new(marks), free }
    }

    /// The messages with a mark behind the last one's text, and that mark; `None` if it has no text.
    pub(crate) fn with_open_end(&self, messages: &[Message]) -> Option<(Vec<Message>, char)> {
        let mark = self.free?;
        let mut messages = messages.to_vec();
        let text = match messages.last_mut()?.content.as_mut()? {
            serde_json::Value::Array(parts) => parts.last_mut()?.get_mut("text")?,
            content => content,
        };
        match text {
            serde_json::Value::String(text) if !text.is_empty() => text.push(mark),
            _ => return None,
        }
        Some((messages, mark))
    }

    pub(crate) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// A value of a template, marked.
    pub(crate) fn value_of(&self, json: &serde_json::Value) -> Value {
        value_with(json, &|text| Value::from(&*self.marked(text, &|_| false)))
    }

    /// A message, marked but for the spellings that are kept.
    pub(crate) fn message(&self, message: &Message, is_kept: &dyn Fn(&str) -> bool) -> Value {
        let text = |text: &str| Value::from(&*self.marked(text, is_kept));
        message.to_value_with(&mut |json| value_with(json, &text))
    }

    fn marked<'t>(&self, text: &'t str, is_kept: &dyn Fn(&str) -> bool) -> Cow<'t, str> {
        let mut marked = String::new();
        let mut n_copied = 0;
        let mut at = 0;
        while let Some(symbol) = text[at..].chars().next() {
            let behind = at + symbol.len_utf8();
            let Some(mark) = self.marks.mark_of(symbol) else {
                at = behind;
                continue;
            };
            let spelling = self.spelled(&text[at..]).next();
            if let Some(spelling) = spelling.filter(|spelling| is_kept(spelling)) {
                at += spelling.len();
                continue;
            }
            marked.push_str(&text[n_copied..at]);
            marked.push(mark);
            (n_copied, at) = (behind, behind);
        }
        if n_copied == 0 {
            return text.into();
        }
        marked.push_str(&text[n_copied..]);
        marked.into()
    }

    /// The spellings at the beginning of a text.
    fn spelled(&self, text: &str) -> impl Iterator<Item = &'a str> {
        self.spellings.iter().copied().filter(move |spelling| text.starts_with(spelling))
    }

    /// The text without marks, and where it has what is not the template's alone.
    pub(crate) fn restored(&self, marked: &str) -> Rendered {
        let mut text = String::with_capacity(marked.len());
        let mut ends = Vec::new();
        for symbol in marked.chars() {
            let original = self.marks.original(symbol);
            if original != symbol {
                ends.push(text.len());
            }
            text.push(original);
        }
        if ends.is_empty() {
            return Rendered { text, typed: ends };
        }
        let is_end = |at: usize| ends.binary_search(&at).is_ok();
        let is_typed = |at: usize, spelling: &str| {
            let n_last = spelling.chars().next_back().map_or(0, char::len_utf8);
            is_end(at) || is_end(at + spelling.len() - n_last)
        };
        let starts =
            text.char_indices().filter(|(_, symbol)| self.marks.mark_of(*symbol).is_some());
        let typed = starts
            .map(|(at, _)| at)
            .filter(|&at| self.spelled(&text[at..]).any(|spelling| is_typed(at, spelling)))
            .collect();
        Rendered { text, typed }
    }
}

fn is_mark(symbol: &char) -> bool {
    MARKS.iter().any(|marks| marks.contains(symbol))
}

fn note_marks(json: &serde_json::Value, used: &mut Vec<char>) {
    match json {
        serde_json::Value::String(text) => used.extend(text.chars().filter(is_mark)),
        serde_json::Value::Array(items) => items.iter().for_each(|item| note_marks(item, used)),
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                used.extend(name.chars().filter(is_mark));
                note_marks(value, used);
            }
        }
        _ => {}
    }
}
