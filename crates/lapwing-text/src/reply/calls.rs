//! The ways in which calls are written between their markers.

mod deepseek;
mod gemma;
mod json;
mod literal;
mod named;
mod python;
mod value;
mod xml;

use std::fmt;
use std::sync::Arc;

use super::format::{Role, Syntax};
use super::sink::Sink;
use super::tools::Tools;

/// Reads calls character by character.
pub(super) trait Calls: fmt::Debug + Send {
    /// One more character.
    fn symbol(&mut self, symbol: char, sink: &mut Sink) -> Flow;

    /// Whether a marker within calls means something now.
    fn expects(&self, _role: Role) -> bool {
        false
    }

    /// A marker that is expected.
    fn marker(&mut self, _role: Role, _sink: &mut Sink) -> Flow {
        Flow::Foreign
    }

    /// Whether what comes now is text within a value, in which no marker counts that is text too.
    fn is_in_text(&self) -> bool;

    /// Whether `<function=` is a part of these calls.
    fn reads_markup(&self) -> bool {
        false
    }

    /// The block ends, by a marker or with the answer; what was begun may be completed. Whether
    /// everything in it was calls, whatever came since the last one.
    fn close(&mut self, _by_marker: bool, sink: &mut Sink) -> bool {
        sink.is_open()
    }
}

/// What a character was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It may be a part of a call.
    On,
    /// It was the last of a call, or of what surrounds one.
    Settled,
    /// What came since the last call is none.
    Foreign,
}

/// How calls turn out to be written.
pub(super) enum Opened {
    NotYet,
    Calls(Box<dyn Calls>),
    /// These are no calls.
    No,
}

/// A JSON object without any marker.
pub(super) fn bare(tools: Arc<Tools>) -> Box<dyn Calls> {
    Box::new(json::JsonCalls::bare(tools))
}

/// How calls are written where the marker alone says so.
pub(super) fn without_look(syntax: Syntax, tools: &Arc<Tools>) -> Option<Box<dyn Calls>> {
    match syntax {
        Syntax::XmlName => Some(Box::new(xml::XmlCalls::at_name(tools.clone()))),
        Syntax::Gemma => Some(Box::new(gemma::GemmaCalls::default())),
        Syntax::DeepSeek => Some(Box::new(deepseek::DeepSeekCalls::default())),
        _ => None,
    }
}

/// How calls are written of which this is the beginning.
pub(super) fn open(syntax: Syntax, beginning: &str, tools: &Arc<Tools>) -> Opened {
    let text = beginning.trim_start();
    let in_list = text.starts_with('[');
    let text = text.strip_prefix('[').map_or(text, str::trim_start);
    let Some(first) = text.chars().next() else {
        // Only these leave open what comes behind the bracket.
        let is_open =
            !in_list || matches!(syntax, Syntax::Python | Syntax::PythonCall | Syntax::Fenced);
        return if is_open { Opened::NotYet } else { Opened::Calls(json_calls()) };
    };
    let is_name = first.is_alphabetic() || first == '_';
    match syntax {
        Syntax::Fenced if first == '{' => Opened::Calls(bare(tools.clone())),
        Syntax::Fenced => Opened::No,
        _ if first == '{' => Opened::Calls(json_calls()),
        _ if in_list && !matches!(syntax, Syntax::Python | Syntax::PythonCall) => {
            Opened::Calls(json_calls())
        }
        Syntax::JsonOrXml if first == '<' => {
            Opened::Calls(Box::new(xml::XmlCalls::new(tools.clone())))
        }
        Syntax::JsonOrNamed => Opened::Calls(Box::new(named::NamedCalls::default())),
        Syntax::Python if is_name => Opened::Calls(Box::new(python::PythonCalls::new(false))),
        Syntax::PythonCall if is_name => Opened::Calls(Box::new(python::PythonCalls::new(true))),
        _ => Opened::No,
    }
}

fn json_calls() -> Box<dyn Calls> {
    Box::new(json::JsonCalls::default())
}

/// Whether a character stands between calls, or around them where they are a list.
fn is_between(symbol: char, in_list: &mut bool) -> bool {
    match symbol {
        '[' if !*in_list => *in_list = true,
        ']' if *in_list => *in_list = false,
        ',' | ';' => {}
        _ => return symbol.is_whitespace(),
    }
    true
}
