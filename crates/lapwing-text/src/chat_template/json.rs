//! JSON as Python's `json.dumps` writes it.

use std::fmt::Write as _;

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

/// The deepest indentation of one level.
pub(super) const INDENT_MAX: usize = 64;

/// Values nested deeper than this are refused.
const DEPTH_MAX: usize = 200;

/// How JSON is laid out.
pub(super) struct Style {
    ensure_ascii: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

impl Style {
    pub(super) fn new(
        ensure_ascii: bool,
        indent: Option<String>,
        separators: Option<(String, String)>,
        sort_keys: bool,
    ) -> Self {
        let item_separator = if indent.is_some() { "," } else { ", " };
        let (item_separator, key_separator) =
            separators.unwrap_or_else(|| (item_separator.to_owned(), ": ".to_owned()));
        Self { ensure_ascii, indent, item_separator, key_separator, sort_keys }
    }
}

/// The JSON text of `value`.
pub(super) fn dumps(value: &Value, style: &Style) -> Result<String, Error> {
    let mut writer = Writer { style, text: String::new() };
    writer.value(value, 0)?;
    Ok(writer.text)
}

struct Writer<'a> {
    style: &'a Style,
    text: String,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(refused("a value that is nested too deeply"));
        }
        match value.kind() {
            ValueKind::None => self.text.push_str("null"),
            ValueKind::Bool => self.text.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.text.push_str(&number(value)?),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?.map(|item| (None, item)).collect();
                self.container('[', items, ']', depth)?;
            }
            ValueKind::Map => {
                let mut items = Vec::new();
                for key in value.try_iter()? {
                    let item = value.get_item(&key)?;
                    items.push((Some(self.key(&key)?), item));
                }
                if self.style.sort_keys {
                    items.sort_by(|(a, _), (b, _)| a.cmp(b));
                }
                self.container('{', items, '}', depth)?;
            }
            _ => return Err(refused(value.kind())),
        }
        Ok(())
    }

    fn container(
        &mut self,
        open: char,
        items: Vec<(Option<String>, Value)>,
        close: char,
        depth: usize,
    ) -> Result<(), Error> {
        self.text.push(open);
        let is_empty = items.is_empty();
        for (item_idx, (key, item)) in items.into_iter().enumerate() {
            if item_idx > 0 {
                self.text.push_str(&self.style.item_separator);
            }
            self.new_line(depth + 1);
            if let Some(key) = key {
                self.string(&key);
                self.text.push_str(&self.style.key_separator);
            }
            self.value(&item, depth + 1)?;
        }
        if !is_empty {
            self.new_line(depth);
        }
        self.text.push(close);
        Ok(())
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.style.indent {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    }

    fn key(&self, key: &Value) -> Result<String, Error> {
        match key.kind() {
            ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
            ValueKind::None => Ok("null".to_owned()),
            ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_owned()),
            ValueKind::Number => number(key),
            kind => Err(refused(format_args!("a key that is a {kind}"))),
        }
    }

    fn string(&mut self, text: &str) {
        self.text.push('"');
        for symbol in text.chars() {
            match symbol {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                _ if symbol < ' ' || (self.style.ensure_ascii && symbol > '~') => {
                    for unit in symbol.encode_utf16(&mut [0; 2]) {
                        write!(self.text, "\\u{unit:04x}").expect("a string takes all text");
                    }
                }
                _ => self.text.push(symbol),
            }
        }
        self.text.push('"');
    }
}

/// A number as Python prints it.
fn number(value: &Value) -> Result<String, Error> {
    if value.is_integer() {
        return Ok(value.to_string());
    }
    let number = f64::try_from(value.clone())?;
    if number.is_nan() {
        return Ok("NaN".to_owned());
    }
    if number.is_infinite() {
        return Ok(if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned());
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        return Ok(format!("{number:?}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    Ok(format!("{digits}e{sign}{:02}", exponent.unsigned_abs()))
}

fn refused(what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("tojson cannot write {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_python() {
        let check = |input: f64, expected: &str| {
            assert_eq!(number(&Value::from(input)).unwrap(), expected);
        };
        check(1.0, "1.0");
        check(-0.5, "-0.5");
        check(0.0001, "0.0001");
        check(0.00001, "1e-05");
        check(1.25e-7, "1.25e-07");
        check(1e15, "1000000000000000.0");
        check(1e16, "1e+16");
        check(1.5e300, "1.5e+300");
        check(-1e-300, "-1e-300");
        check(0.1 + 0.2, "0.30000000000000004");
        check(f64::NAN, "NaN");
        check(f64::NEG_INFINITY, "-Infinity");
    }

    #[test]
    fn deep_nesting_is_refused() {
        let mut value = Value::from(1);
        for _ in 0..500 {
            value = Value::from(vec![value]);
        }
        assert!(dumps(&value, &Style::new(false, None, None, false)).is_err());
    }
}
