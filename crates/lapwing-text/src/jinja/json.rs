//! JSON as Python's `json.dumps` writes it.

use super::Fail;
use super::arguments::CallArgs;
use super::python_text;
use super::value::budget::{Budget, Out};
use super::value::{SeqKind, Value};

/// The deepest indentation of one level.
const INDENT_MAX: i128 = 64;

/// How JSON is laid out.
struct Style {
    ensure_ascii: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

/// The filter `tojson`; arguments and defaults as in the transformers library.
pub(super) fn to_json(budget: &Budget, value: &Value, args: CallArgs) -> Result<Value, Fail> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ensure_ascii, indent, separators, sort_keys] = args.bind("tojson", names)?;
    let is_true = |flag: Option<Value>| flag.is_some_and(|flag| flag.is_true());
    let indent = match indent.filter(|indent| !matches!(indent, Value::None)) {
        None => None,
        Some(Value::Str(text)) if text.len() <= INDENT_MAX as usize => Some(text.to_string()),
        Some(indent) => {
            let n_spaces = indent.as_int().ok_or_else(|| Fail::other("indent is no number"))?;
            Some(" ".repeat(n_spaces.clamp(0, INDENT_MAX) as usize))
        }
    };
    let default = if indent.is_some() { "," } else { ", " };
    let (item_separator, key_separator) = match separators {
        None | Some(Value::None) => (default.to_owned(), ": ".to_owned()),
        Some(pair) => match &pair.iterate(budget)?.items[..] {
            [Value::Str(item), Value::Str(key)] => (item.to_string(), key.to_string()),
            _ => return Err(Fail::other("separators are two texts")),
        },
    };
    let style = Style {
        ensure_ascii: is_true(ensure_ascii),
        indent,
        item_separator,
        key_separator,
        sort_keys: is_true(sort_keys),
    };
    let mut writer = Writer { style: &style, out: budget.out(), budget };
    writer.value(value, 0)?;
    writer.out.into_value()
}

struct Writer<'a> {
    style: &'a Style,
    out: Out,
    budget: &'a Budget,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Fail> {
        self.budget.work(1)?;
        match value {
            Value::Str(text) => self.string(text),
            Value::Seq(seq) if matches!(seq.kind, SeqKind::List | SeqKind::Tuple) => {
                let items: Vec<(Option<String>, &Value)> =
                    seq.items.iter().map(|item| (None, item)).collect();
                self.container("[", items, "]", depth)
            }
            Value::Dict(dict) => {
                let mut items = Vec::new();
                for (key, item) in &dict.entries {
                    items.push((Some(self.key(key)?), item));
                }
                if self.style.sort_keys {
                    let marks = self.budget.marks();
                    let plain = |key: &Option<String>| {
                        key.as_deref().map(|key| marks.plain(key).into_owned())
                    };
                    items.sort_by_cached_key(|(key, _)| plain(key));
                }
                self.container("{", items, "}", depth)
            }
            other => {
                let text = scalar(other).ok_or_else(|| {
                    let type_name = other.type_name();
                    Fail::other(format!("Object of type {type_name} is not JSON serializable"))
                })?;
                self.out.push(&text)
            }
        }
    }

    fn container(
        &mut self,
        open: &str,
        items: Vec<(Option<String>, &Value)>,
        close: &str,
        depth: usize,
    ) -> Result<(), Fail> {
        self.out.push(open)?;
        let is_empty = items.is_empty();
        for (item_idx, (key, item)) in items.into_iter().enumerate() {
            if item_idx > 0 {
                self.out.push(&self.style.item_separator)?;
            }
            self.new_line(depth + 1)?;
            if let Some(key) = key {
                self.string(&key)?;
                self.out.push(&self.style.key_separator)?;
            }
            self.value(item, depth + 1)?;
        }
        if !is_empty {
            self.new_line(depth)?;
        }
        self.out.push(close)
    }

    fn new_line(&mut self, depth: usize) -> Result<(), Fail> {
        let Some(indent) = &self.style.indent else { return Ok(()) };
        self.out.push("\n")?;
        (0..depth).try_for_each(|_| self.out.push(indent))
    }

    fn key(&self, key: &Value) -> Result<String, Fail> {
        match key.as_str() {
            Some(text) => {
                self.budget.room(1, text.len())?;
                Ok(text.to_owned())
            }
            None => scalar(key).ok_or_else(|| {
                let type_name = key.type_name();
                Fail::other(format!("keys must be str, int, float, bool or None, not {type_name}"))
            }),
        }
    }

    fn string(&mut self, text: &str) -> Result<(), Fail> {
        self.out.push("\"")?;
        let mut plain_from = 0;
        for (at, given) in text.char_indices() {
            let symbol = self.budget.marks().original(given);
            let is_escaped = matches!(symbol, '"' | '\\' | '\0'..='\x1f');
            let is_plain = !(is_escaped || self.style.ensure_ascii && symbol > '~');
            if is_plain {
                continue;
            }
            self.out.push(&text[plain_from..at])?;
            plain_from = at + given.len_utf8();
            match symbol {
                '"' => self.out.push("\\\"")?,
                '\\' => self.out.push("\\\\")?,
                '\n' => self.out.push("\\n")?,
                '\r' => self.out.push("\\r")?,
                '\t' => self.out.push("\\t")?,
                '\u{8}' => self.out.push("\\b")?,
                '\u{c}' => self.out.push("\\f")?,
                _ => {
                    for unit in symbol.encode_utf16(&mut [0; 2]) {
                        self.out.push(&format!("\\u{unit:04x}"))?;
                    }
                }
            }
        }
        self.out.push(&text[plain_from..])?;
        self.out.push("\"")
    }
}

/// What is neither text nor container; `None` for what JSON has no word for.
fn scalar(value: &Value) -> Option<String> {
    Some(match value {
        Value::None => "null".to_owned(),
        Value::Bool(is_true) => if *is_true { "true" } else { "false" }.to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) if number.is_nan() => "NaN".to_owned(),
        Value::Float(number) if number.is_infinite() => {
            if *number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
        }
        Value::Float(number) => python_text::float(*number),
        _ => return None,
    })
}
