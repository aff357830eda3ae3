//! `call:NAME{key:<|"|>text<|"|>,n:1}`, as Gemma writes calls.

use super::super::format::Role;
use super::super::sink::Sink;
use super::literal::Literal;
use super::{Calls, Flow};

const CALL: &str = "call:";

/// Makes JSON of arguments whose names have no quotation marks.
#[derive(Debug, Default)]
pub(super) struct GemmaCalls {
    /// What came of `call:NAME`.
    head: String,
    literal: Literal,
    json: String,
}

impl GemmaCalls {
    fn head(&mut self, symbol: char, sink: &mut Sink) -> Flow {
        match symbol {
            _ if symbol.is_whitespace() || symbol == ',' => return Flow::On,
            '{' => {
                let name = self.head.strip_prefix(CALL).unwrap_or_default();
                if name.is_empty() {
                    return Flow::Foreign;
                }
                sink.start(name);
                self.head.clear();
                self.literal = Literal::default();
                self.pass_on(symbol, sink);
            }
            _ => {
                self.head.push(symbol);
                let n_bytes = self.head.len().min(CALL.len());
                if self.head.as_bytes()[..n_bytes] != CALL.as_bytes()[..n_bytes] {
                    return Flow::Foreign;
                }
            }
        }
        Flow::On
    }

    fn pass_on(&mut self, symbol: char, sink: &mut Sink) {
        self.literal.push(symbol, &mut self.json);
        sink.arguments(&self.json);
        self.json.clear();
    }
}

impl Calls for GemmaCalls {
    fn symbol(&mut self, symbol: char, sink: &mut Sink) -> Flow {
        if !sink.is_open() {
            return self.head(symbol, sink);
        }
        self.pass_on(symbol, sink);
        if self.literal.n_open() != 0 {
            return Flow::On;
        }
        sink.end();
        Flow::Settled
    }

    fn expects(&self, role: Role) -> bool {
        role == Role::Quote
    }

    fn marker(&mut self, _role: Role, sink: &mut Sink) -> Flow {
        if !sink.is_open() {
            return Flow::Foreign;
        }
        self.literal.quote(&mut self.json);
        sink.arguments(&self.json);
        self.json.clear();
        Flow::On
    }

    fn is_in_text(&self) -> bool {
        self.literal.is_in_string()
    }

    fn close(&mut self, _by_marker: bool, sink: &mut Sink) -> bool {
        let is_open = sink.is_open();
        if is_open {
            self.literal.finish(&mut self.json);
            sink.arguments(&self.json);
        }
        is_open
    }
}
