//! `{"name": "f", "arguments": {…}}`, alone, one behind the other, or in a list.

use std::sync::Arc;

use super::super::sink::Sink;
use super::super::tools::Tools;
use super::value::{Reach, ValueScan};
use super::{Calls, Flow, is_between};

/// Reads objects; what else they hold is passed over. A call ends with its arguments, since only they
/// and its name count.
#[derive(Debug, Default)]
pub(super) struct JsonCalls {
    /// For calls without a marker: only an object that can be nothing else is one.
    bare: Option<Arc<Tools>>,
    place: Place,
    in_list: bool,
    /// `"function": {` opened and not closed, or a brace that was doubled.
    n_wraps: usize,
    /// The raw text of a key, or of a value that is decoded.
    text: String,
    name: Option<String>,
    /// Arguments that came before the name.
    early: Option<String>,
    /// The call of this object is complete.
    is_done: bool,
    scan: ValueScan,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Outside of any object.
    #[default]
    Between,
    /// Before a key, or behind a value.
    Object,
    Key,
    Colon(Field),
    Value(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Arguments,
    Function,
    Other,
}

impl Field {
    fn of(key: &str) -> Field {
        match key {
            "name" | "tool_name" => Field::Name,
            "arguments" | "parameters" => Field::Arguments,
            "function" => Field::Function,
            _ => Field::Other,
        }
    }
}

/// Keys that a call may have beside its own.
const KNOWN_BESIDE: [&str; 3] = ["type", "id", "tool_call_id"];

impl JsonCalls {
    pub(super) fn bare(tools: Arc<Tools>) -> JsonCalls {
        JsonCalls { bare: Some(tools), ..JsonCalls::default() }
    }

    fn between(&mut self, symbol: char) -> Flow {
        match symbol {
            _ if is_between(symbol, &mut self.in_list) => Flow::On,
            '{' => {
                self.place = Place::Object;
                self.text.clear();
                self.name = None;
                self.early = None;
                self.is_done = false;
                self.n_wraps = 0;
                Flow::On
            }
            _ => Flow::Foreign,
        }
    }

    fn object(&mut self, symbol: char, sink: &mut Sink) -> Flow {
        match symbol {
            ',' => Flow::On,
            _ if symbol.is_whitespace() => Flow::On,
            // A template shows the form of a call with braces doubled, and models write it so.
            '{' if self.text.is_empty() && self.n_wraps == 0 => {
                self.n_wraps = 1;
                Flow::On
            }
            '"' => {
                self.place = Place::Key;
                self.begin_value(symbol);
                Flow::On
            }
            '}' if self.n_wraps != 0 => {
                self.n_wraps -= 1;
                Flow::On
            }
            '}' => self.end_object(sink),
            _ => Flow::Foreign,
        }
    }

    fn end_object(&mut self, sink: &mut Sink) -> Flow {
        self.place = Place::Between;
        match &self.name {
            _ if self.is_done => Flow::Settled,
            // Without arguments it is a call only where a marker says so.
            Some(name) if self.bare.is_none() => {
                sink.start(name);
                sink.end();
                Flow::Settled
            }
            _ => Flow::Foreign,
        }
    }

    fn begin_value(&mut self, symbol: char) -> Reach {
        self.text.clear();
        self.text.push(symbol);
        self.scan = ValueScan::default();
        self.scan.push(symbol)
    }

    fn end_key(&mut self) -> Flow {
        let Ok(key) = serde_json::from_str::<String>(&self.text) else { return Flow::Foreign };
        let field = Field::of(&key);
        let is_known = field != Field::Other || KNOWN_BESIDE.contains(&key.as_str());
        if self.bare.is_some() && !self.is_done && !is_known {
            return Flow::Foreign;
        }
        self.place = Place::Colon(if self.is_done { Field::Other } else { field });
        Flow::On
    }

    fn begin_field(&mut self, field: Field, symbol: char, sink: &mut Sink) -> Flow {
        if field == Field::Function && symbol == '{' {
            self.n_wraps += 1;
            self.place = Place::Object;
            return Flow::On;
        }
        let is_odd = field == Field::Arguments && self.bare.is_some() && symbol != '{';
        let is_odd = is_odd || (field == Field::Name && symbol != '"');
        if is_odd || self.begin_value(symbol) == Reach::Beyond {
            return Flow::Foreign;
        }
        if field == Field::Arguments {
            match &self.name {
                Some(name) => sink.start(name),
                None => self.early = Some(String::new()),
            }
            self.argument(symbol, sink);
        }
        self.place = Place::Value(field);
        Flow::On
    }

    /// Arguments are passed on as they come, but for a string that holds them.
    fn argument(&mut self, symbol: char, sink: &mut Sink) {
        if self.is_string() {
            return;
        }
        match &mut self.early {
            Some(early) => early.push(symbol),
            None => sink.argument_symbol(symbol),
        }
    }

    fn is_string(&self) -> bool {
        self.text.starts_with('"')
    }

    fn value(&mut self, field: Field, symbol: char, sink: &mut Sink) -> Flow {
        let reach = self.scan.push(symbol);
        if reach == Reach::Beyond {
            let flow = self.end_value(field, sink);
            return if flow == Flow::Foreign { flow } else { self.object(symbol, sink) };
        }
        if field == Field::Name || self.is_string() {
            self.text.push(symbol);
        }
        if field == Field::Arguments {
            self.argument(symbol, sink);
        }
        if reach == Reach::Last { self.end_value(field, sink) } else { Flow::On }
    }

    fn end_value(&mut self, field: Field, sink: &mut Sink) -> Flow {
        self.place = Place::Object;
        match field {
            Field::Name => self.end_name(sink),
            Field::Arguments => self.end_arguments(sink),
            Field::Function | Field::Other => Flow::On,
        }
    }

    fn end_name(&mut self, sink: &mut Sink) -> Flow {
        let name = serde_json::from_str::<String>(&self.text).unwrap_or_default();
        let is_offered = self.bare.as_ref().is_none_or(|tools| tools.offers(&name));
        if name.is_empty() || !is_offered {
            return Flow::Foreign;
        }
        if let Some(early) = self.early.take() {
            sink.start(&name);
            sink.arguments(&early);
            sink.end();
            self.is_done = true;
            return Flow::Settled;
        }
        self.name = Some(name);
        Flow::On
    }

    fn end_arguments(&mut self, sink: &mut Sink) -> Flow {
        if self.is_string() {
            let decoded = serde_json::from_str::<String>(&self.text);
            let text = decoded.unwrap_or_else(|_| std::mem::take(&mut self.text));
            match &mut self.early {
                Some(early) => *early = text,
                None => sink.arguments(&text),
            }
        }
        if self.early.is_some() {
            return Flow::On;
        }
        sink.end();
        self.is_done = true;
        Flow::Settled
    }
}

impl Calls for JsonCalls {
    fn symbol(&mut self, symbol: char, sink: &mut Sink) -> Flow {
        match self.place {
            Place::Between => self.between(symbol),
            Place::Object => self.object(symbol, sink),
            Place::Key => {
                self.text.push(symbol);
                match self.scan.push(symbol) {
                    Reach::Last => self.end_key(),
                    _ => Flow::On,
                }
            }
            Place::Colon(_) if symbol == ':' || symbol.is_whitespace() => Flow::On,
            Place::Colon(field) => self.begin_field(field, symbol, sink),
            Place::Value(field) => self.value(field, symbol, sink),
        }
    }

    fn is_in_text(&self) -> bool {
        matches!(self.place, Place::Key | Place::Value(_)) && self.scan.is_in_string()
    }

    fn close(&mut self, _by_marker: bool, sink: &mut Sink) -> bool {
        if sink.is_open() {
            // Of a string that holds arguments nothing was passed on yet.
            if self.is_string() {
                sink.arguments(&self.text);
            }
            return true;
        }
        // What an object holds behind its arguments does not count.
        self.is_done && self.place != Place::Between
    }
}
