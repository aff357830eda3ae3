//! A prompt in which text of messages stays text.
//!
//! Before a message goes into a template, the first character of whatever is spelled there like a
//! special token is replaced by a character that stands for it, one of Unicode's noncharacters.
//! Whatever the template does with the text, the marks go along. In the rendered text they become
//! the characters again, and it is known where they were.

use super::RenderInput;
use super::message::{Message, value_with};
use crate::jinja::value::Value;

/// Characters that mean nothing in any text.
const MARKS: std::ops::RangeInclusive<char> = '\u{fdd0}'..='\u{fdef}';

/// A rendered prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    text: String,
    typed: Vec<usize>,
}

impl Rendered {
    /// A prompt in which every spelling of a special token is that token.
    pub fn raw(text: String) -> Rendered {
        Rendered { text, typed: Vec::new() }
    }

    /// The prompt as it reads.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where something is spelled like a special token and is text, as offsets of bytes in order.
    #[must_use]
    pub fn typed(&self) -> &[usize] {
        &self.typed
    }
}

/// Marks what messages spell like special tokens.
pub(crate) struct Typed<'a> {
    /// Longer ones first, so that one within another is passed over.
    spellings: &'a [String],
    /// First characters of spellings, and what stands for them.
    marks: Vec<(char, char)>,
}

impl<'a> Typed<'a> {
    /// Marks that occur nowhere in `input`.
    pub(crate) fn new(spellings: &'a [String], input: &RenderInput<'_>) -> Typed<'a> {
        let mut used: Vec<char> = Vec::new();
        let mut look = |json: &serde_json::Value| note_marks(json, &mut used);
        for message in input.messages {
            message.content.iter().chain(message.extra.values()).for_each(&mut look);
        }
        let lists = input.tools.into_iter().chain(input.documents).flatten();
        lists.chain(input.extra.values()).for_each(&mut look);
        let mut free = MARKS.filter(|mark| !used.contains(mark));
        let mut marks: Vec<(char, char)> = Vec::new();
        for first in spellings.iter().filter_map(|spelling| spelling.chars().next()) {
            if !marks.iter().any(|(known, _)| *known == first) {
                marks.extend(free.next().map(|mark| (first, mark)));
            }
        }
        Typed { spellings, marks }
    }

    /// A value of a template, marked.
    pub(crate) fn value_of(&self, json: &serde_json::Value) -> Value {
        value_with(json, &|text| self.marked(text, &|_| false))
    }

    /// A message, marked but for the spellings that are kept.
    pub(crate) fn message(&self, message: &Message, is_kept: &dyn Fn(&str) -> bool) -> Value {
        message.to_value_with(&mut |json| value_with(json, &|text| self.marked(text, is_kept)))
    }

    fn marked(&self, text: &str, is_kept: &dyn Fn(&str) -> bool) -> Value {
        let mut marked = String::new();
        let mut n_copied = 0;
        let mut at = 0;
        while let Some(first) = text[at..].chars().next() {
            let mark = self.marks.iter().find(|(known, _)| *known == first);
            let rest = &text[at..];
            let spelled = || self.spellings.iter().find(|spelling| rest.starts_with(&***spelling));
            let Some((spelling, (_, mark))) = mark.and_then(|mark| Some((spelled()?, mark))) else {
                at += first.len_utf8();
                continue;
            };
            if !is_kept(spelling) {
                marked.push_str(&text[n_copied..at]);
                marked.push(*mark);
                n_copied = at + first.len_utf8();
            }
            at += first.len_utf8();
        }
        if n_copied == 0 {
            return Value::from(text);
        }
        marked.push_str(&text[n_copied..]);
        Value::from(&*marked)
    }

    /// The text without marks, and where they were.
    pub(crate) fn restored(&self, marked: &str) -> Rendered {
        let mut text = String::with_capacity(marked.len());
        let mut typed = Vec::new();
        for symbol in marked.chars() {
            match self.marks.iter().find(|(_, mark)| *mark == symbol) {
                Some((first, _)) => {
                    typed.push(text.len());
                    text.push(*first);
                }
                None => text.push(symbol),
            }
        }
        Rendered { text, typed }
    }
}

fn note_marks(json: &serde_json::Value, used: &mut Vec<char>) {
    match json {
        serde_json::Value::String(text) => {
            used.extend(text.chars().filter(|symbol| MARKS.contains(symbol)));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| note_marks(item, used)),
        serde_json::Value::Object(fields) => {
            fields.values().for_each(|value| note_marks(value, used));
        }
        _ => {}
    }
}
