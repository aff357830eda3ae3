//! `[name(a=1, b="x")]`: calls of a Python-like text.

use super::super::sink::Sink;
use super::literal::Literal;
use super::{Calls, Flow, is_between};

/// Makes JSON of keyword arguments. Others are passed on as they are written.
#[derive(Debug)]
pub(super) struct PythonCalls {
    /// Only `name.call(…)` is a call, since anything else may be code.
    needs_call: bool,
    place: Place,
    in_list: bool,
    /// A name, of a function or an argument.
    name: String,
    n_arguments: usize,
    literal: Literal,
    json: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Between,
    Name,
    /// Before an argument's name.
    Argument,
    ArgumentName,
    Value,
    /// In arguments that are passed on as written.
    Raw,
}

const CALL: &str = ".call";

impl PythonCalls {
    pub(super) fn new(needs_call: bool) -> PythonCalls {
        PythonCalls {
            needs_call,
            place: Place::Between,
            in_list: false,
            name: String::new(),
            n_arguments: 0,
            literal: Literal::default(),
            json: String::new(),
        }
    }

    fn between(&mut self, symbol: char) -> Flow {
        match symbol {
            _ if is_between(symbol, &mut self.in_list) => Flow::On,
            _ if begins_name(symbol) => {
                self.place = Place::Name;
                self.name.clear();
                self.name.push(symbol);
                Flow::On
            }
            _ => Flow::Foreign,
        }
    }

    fn name(&mut self, symbol: char, sink: &mut Sink) -> Flow {
        if symbol != '(' {
            self.name.push(symbol);
            let goes_on = begins_name(symbol) || symbol.is_numeric() || ".-".contains(symbol);
            return if goes_on { Flow::On } else { Flow::Foreign };
        }
        let name = self.name.strip_suffix(CALL).filter(|_| self.needs_call);
        let Some(name) = name.or((!self.needs_call).then_some(&*self.name)) else {
            return Flow::Foreign;
        };
        sink.start(name);
        self.place = Place::Argument;
        self.n_arguments = 0;
        self.literal = Literal::default();
        Flow::On
    }

    fn argument(&mut self, symbol: char, sink: &mut Sink) -> Flow {
        match symbol {
            ')' => return self.end_call(sink),
            ',' => {}
            _ if symbol.is_whitespace() => {}
            _ if begins_name(symbol) => {
                self.place = Place::ArgumentName;
                self.name.clear();
                self.name.push(symbol);
            }
            _ => return self.raw("", symbol, sink),
        }
        Flow::On
    }

    fn argument_name(&mut self, symbol: char, sink: &mut Sink) -> Flow {
        match symbol {
            '=' => {
                let start = if self.n_arguments == 0 { '{' } else { ',' };
                let name = serde_json::Value::from(self.name.trim_end());
                sink.arguments(&format!("{start}{name}:"));
                self.n_arguments += 1;
                self.place = Place::Value;
            }
            _ if begins_name(symbol) || symbol.is_numeric() || symbol == ' ' => {
                self.name.push(symbol);
            }
            _ => {
                let name = std::mem::take(&mut self.name);
                return self.raw(&name, symbol, sink);
            }
        }
        Flow::On
    }

    fn value(&mut self, symbol: char, sink: &mut Sink) -> Flow {
        let is_outside = !self.literal.is_in_string() && self.literal.n_open() == 0;
        let is_over = is_outside && matches!(symbol, ',' | ')');
        match is_over {
            true => self.literal.finish(&mut self.json),
            false => self.literal.push(symbol, &mut self.json),
        }
        sink.arguments(&self.json);
        self.json.clear();
        match symbol {
            ')' if is_over => return self.end_call(sink),
            ',' if is_over => self.place = Place::Argument,
            _ => {}
        }
        Flow::On
    }

    /// Pass on `before` and all that follows, up to the bracket that closes the call.
    fn raw(&mut self, before: &str, symbol: char, sink: &mut Sink) -> Flow {
        if self.place != Place::Raw {
            self.place = Place::Raw;
            sink.arguments(before);
        }
        let is_over = symbol == ')' && !self.literal.is_in_string() && self.literal.n_open() == 0;
        if is_over {
            return self.end_call(sink);
        }
        sink.argument_symbol(symbol);
        self.literal.push(symbol, &mut self.json);
        self.json.clear();
        Flow::On
    }

    fn end_call(&mut self, sink: &mut Sink) -> Flow {
        if self.n_arguments != 0 && self.place != Place::Raw {
            sink.arguments("}");
        }
        sink.end();
        self.place = Place::Between;
        Flow::Settled
    }
}

impl Calls for PythonCalls {
    fn symbol(&mut self, symbol: char, sink: &mut Sink) -> Flow {
        match self.place {
            Place::Between => self.between(symbol),
            Place::Name => self.name(symbol, sink),
            Place::Argument => self.argument(symbol, sink),
            Place::ArgumentName => self.argument_name(symbol, sink),
            Place::Value => self.value(symbol, sink),
            Place::Raw => self.raw("", symbol, sink),
        }
    }

    fn is_in_text(&self) -> bool {
        matches!(self.place, Place::Value | Place::Raw) && self.literal.is_in_string()
    }

    fn close(&mut self, _by_marker: bool, sink: &mut Sink) -> bool {
        let is_open = sink.is_open();
        match self.place {
            Place::Value => {
                self.literal.finish(&mut self.json);
                sink.arguments(&self.json);
                self.json.clear();
            }
            Place::ArgumentName => sink.arguments(&self.name),
            // Arguments that were cut off are none that are empty.
            Place::Argument if self.n_arguments == 0 => sink.arguments("{"),
            _ => {}
        }
        is_open
    }
}

fn begins_name(symbol: char) -> bool {
    symbol.is_alphabetic() || symbol == '_'
}
