//! `<function=NAME><parameter=P>value</parameter></function>`, as Qwen's coders write calls.

use std::sync::Arc;

use serde::de::IgnoredAny;

use super::super::sink::Sink;
use super::super::tools::Tools;
use super::{Calls, Flow};

const FUNCTION: &str = "function=";
const FUNCTION_END: &str = "/function";
const PARAMETER: &str = "parameter=";
const PARAMETER_END: &str = "</parameter>";

/// Longer tags are none.
const TAG_BYTES_MAX: usize = 512;

/// Makes JSON of parameters. A value is a string where a schema says so, or where it is no JSON.
#[derive(Debug)]
pub(super) struct XmlCalls {
    tools: Arc<Tools>,
    place: Place,
    tag: String,
    function: String,
    n_parameters: usize,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Between tags.
    Between,
    Tag,
    Value,
}

impl XmlCalls {
    pub(super) fn new(tools: Arc<Tools>) -> XmlCalls {
        XmlCalls {
            tools,
            place: Place::Between,
            tag: String::new(),
            function: String::new(),
            n_parameters: 0,
            value: String::new(),
        }
    }

    /// Behind `<function=`.
    pub(super) fn at_name(tools: Arc<Tools>) -> XmlCalls {
        XmlCalls { place: Place::Tag, tag: FUNCTION.to_owned(), ..XmlCalls::new(tools) }
    }

    fn end_tag(&mut self, sink: &mut Sink) -> Flow {
        self.place = Place::Between;
        let tag = std::mem::take(&mut self.tag);
        let name = |start: &str| tag.strip_prefix(start).map(str::trim).map(str::to_owned);
        if !sink.is_open() {
            let Some(name) = name(FUNCTION).filter(|name| !name.is_empty()) else {
                return Flow::Foreign;
            };
            sink.start(&name);
            self.function = name;
            self.n_parameters = 0;
            return Flow::On;
        }
        if let Some(name) = name(PARAMETER) {
            let start = if self.n_parameters == 0 { '{' } else { ',' };
            sink.arguments(&format!("{start}{}:", json_string(&name)));
            self.n_parameters += 1;
            self.tag = name;
            self.value.clear();
            self.place = Place::Value;
        } else if tag == FUNCTION_END {
            self.end_call(sink);
            return Flow::Settled;
        } else {
            sink.arguments(&format!("<{tag}>"));
        }
        Flow::On
    }

    fn end_call(&mut self, sink: &mut Sink) {
        if self.n_parameters != 0 {
            sink.arguments("}");
        }
        sink.end();
    }

    fn value(&mut self, symbol: char, sink: &mut Sink) {
        self.value.push(symbol);
        if symbol != '>' || !self.value.ends_with(PARAMETER_END) {
            return;
        }
        self.value.truncate(self.value.len() - PARAMETER_END.len());
        let value = self.value.strip_suffix('\n').unwrap_or(&self.value);
        let value = value.strip_prefix('\n').unwrap_or(value);
        let is_json = match self.tools.is_string(&self.function, &self.tag) {
            Some(true) => false,
            _ => !value.trim_start().starts_with('"') || self.is_no_string(),
        };
        let is_json = is_json && serde_json::from_str::<IgnoredAny>(value).is_ok();
        match is_json {
            true => sink.arguments(value.trim()),
            false => sink.arguments(&json_string(value)),
        }
        self.tag.clear();
        self.value.clear();
        self.place = Place::Between;
    }

    fn is_no_string(&self) -> bool {
        self.tools.is_string(&self.function, &self.tag) == Some(false)
    }
}

impl Calls for XmlCalls {
    fn symbol(&mut self, symbol: char, sink: &mut Sink) -> Flow {
        match (self.place, symbol) {
            (Place::Value, _) => self.value(symbol, sink),
            (Place::Tag, '>') => return self.end_tag(sink),
            (Place::Tag, _) if self.tag.len() < TAG_BYTES_MAX => self.tag.push(symbol),
            (Place::Between, '<') => self.place = Place::Tag,
            (Place::Between, _) if symbol.is_whitespace() => {}
            _ if !sink.is_open() => return Flow::Foreign,
            // What is no parameter stays where it was.
            (Place::Tag, _) => {
                let tag = std::mem::take(&mut self.tag);
                sink.arguments(&format!("<{tag}{symbol}"));
                self.place = Place::Between;
            }
            (Place::Between, _) => sink.argument_symbol(symbol),
        }
        Flow::On
    }

    fn is_in_text(&self) -> bool {
        self.place == Place::Value
    }

    fn reads_markup(&self) -> bool {
        true
    }

    fn close(&mut self, by_marker: bool, sink: &mut Sink) -> bool {
        let is_open = sink.is_open();
        match self.place {
            // A value that was cut off stays open, so that nobody takes it for a whole one.
            Place::Value => {
                let text = json_string(self.value.strip_prefix('\n').unwrap_or(&self.value));
                sink.arguments(text.strip_suffix('"').unwrap_or(&text));
            }
            Place::Tag => sink.arguments(&format!("<{}", self.tag)),
            Place::Between if by_marker => self.end_call(sink),
            Place::Between if self.n_parameters == 0 => sink.arguments("{"),
            Place::Between => {}
        }
        is_open
    }
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
