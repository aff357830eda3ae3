//! `NAME[ARGS]{…}`, as Mistral's later models write calls.

use super::super::format::Role;
use super::super::sink::Sink;
use super::value::{Reach, ValueScan};
use super::{Calls, Flow};

/// A name, perhaps an id, and the arguments, behind a marker or a brace.
#[derive(Debug, Default)]
pub(super) struct NamedCalls {
    place: Place,
    name: String,
    scan: ValueScan,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Name,
    /// The id is the model's own, and nobody's to keep.
    Id,
    Arguments,
    /// Behind a call.
    Over,
}

impl NamedCalls {
    fn begin(&mut self, sink: &mut Sink) -> Flow {
        let name = self.name.trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Flow::Foreign;
        }
        sink.start(name);
        self.place = Place::Arguments;
        Flow::On
    }

    fn argument(&mut self, symbol: char, sink: &mut Sink) -> Flow {
        if symbol.is_whitespace() && !self.scan.is_begun() {
            return Flow::On;
        }
        let reach = self.scan.push(symbol);
        if reach != Reach::Beyond {
            sink.argument_symbol(symbol);
        }
        if reach == Reach::Within {
            return Flow::On;
        }
        sink.end();
        self.place = Place::Over;
        match reach {
            Reach::Beyond if !symbol.is_whitespace() => Flow::Foreign,
            _ => Flow::Settled,
        }
    }
}

impl Calls for NamedCalls {
    fn symbol(&mut self, symbol: char, sink: &mut Sink) -> Flow {
        match self.place {
            Place::Name if symbol == '{' => match self.begin(sink) {
                Flow::On => self.argument(symbol, sink),
                flow => flow,
            },
            Place::Name => {
                self.name.push(symbol);
                Flow::On
            }
            Place::Id => Flow::On,
            Place::Arguments => self.argument(symbol, sink),
            Place::Over if symbol.is_whitespace() => Flow::On,
            Place::Over => Flow::Foreign,
        }
    }

    fn expects(&self, role: Role) -> bool {
        match role {
            Role::Arguments => matches!(self.place, Place::Name | Place::Id),
            Role::CallId => self.place == Place::Name,
            _ => false,
        }
    }

    fn marker(&mut self, role: Role, sink: &mut Sink) -> Flow {
        if role == Role::Arguments {
            return self.begin(sink);
        }
        self.place = Place::Id;
        Flow::On
    }

    fn is_in_text(&self) -> bool {
        self.place == Place::Arguments && self.scan.is_in_string()
    }
}
