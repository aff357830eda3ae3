//! `<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{…}<｜tool▁call▁end｜>`, as DeepSeek writes calls; its earlier
//! models write `function` first, then the name, and the arguments in a fence.

use super::super::format::Role;
use super::super::sink::Sink;
use super::value::{Reach, ValueScan};
use super::{Calls, Flow};

const FUNCTION: &str = "function";

/// A call between its markers.
#[derive(Debug, Default)]
pub(super) struct DeepSeekCalls {
    place: Place,
    name: String,
    /// What stands before the arguments.
    fence: String,
    scan: ValueScan,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Between,
    /// Before the separator.
    Head,
    /// The name's line, behind it.
    Name,
    /// Before the arguments.
    Fence,
    Arguments,
    /// Behind them.
    Tail,
}

impl DeepSeekCalls {
    fn begin(&mut self, sink: &mut Sink) -> Flow {
        let name = self.name.trim();
        if name.is_empty() {
            return Flow::Foreign;
        }
        sink.start(name);
        self.fence.clear();
        self.scan = ValueScan::default();
        self.place = Place::Fence;
        Flow::On
    }

    fn argument(&mut self, symbol: char, sink: &mut Sink) {
        let reach = self.scan.push(symbol);
        if reach != Reach::Within {
            self.place = Place::Tail;
        }
        if reach != Reach::Beyond {
            sink.argument_symbol(symbol);
        }
    }
}

impl Calls for DeepSeekCalls {
    fn symbol(&mut self, symbol: char, sink: &mut Sink) -> Flow {
        match self.place {
            Place::Between if symbol.is_whitespace() => {}
            Place::Between => return Flow::Foreign,
            Place::Name if symbol == '\n' => return self.begin(sink),
            Place::Head | Place::Name => self.name.push(symbol),
            Place::Fence if symbol == '{' => {
                self.place = Place::Arguments;
                // Only a fence is no part of the arguments.
                if !["", "json"].contains(&self.fence.trim().trim_start_matches('`')) {
                    sink.arguments(&self.fence);
                }
                self.argument(symbol, sink);
            }
            Place::Fence => self.fence.push(symbol),
            Place::Arguments => self.argument(symbol, sink),
            Place::Tail if symbol == '`' || symbol.is_whitespace() => {}
            // It belongs to the call, which then has no JSON.
            Place::Tail => sink.argument_symbol(symbol),
        }
        Flow::On
    }

    fn expects(&self, role: Role) -> bool {
        match role {
            Role::CallOpen => matches!(self.place, Place::Between | Place::Tail),
            Role::Arguments => self.place == Place::Head,
            Role::CallClose => self.place != Place::Between,
            _ => false,
        }
    }

    fn marker(&mut self, role: Role, sink: &mut Sink) -> Flow {
        match role {
            Role::CallOpen => {
                self.close(true, sink);
                sink.end();
                self.name.clear();
                self.place = Place::Head;
            }
            Role::Arguments if self.name.trim() == FUNCTION => {
                self.name.clear();
                self.place = Place::Name;
            }
            Role::Arguments => return self.begin(sink),
            _ => {
                if !self.close(true, sink) {
                    return Flow::Foreign;
                }
                sink.end();
                self.place = Place::Between;
                return Flow::Settled;
            }
        }
        Flow::On
    }

    fn is_in_text(&self) -> bool {
        self.place == Place::Arguments && self.scan.is_in_string()
    }

    fn close(&mut self, _by_marker: bool, sink: &mut Sink) -> bool {
        if self.place == Place::Fence && !self.fence.trim().is_empty() {
            sink.arguments(self.fence.trim());
        }
        sink.is_open()
    }
}
