//! Values as Python prints them: `str`, `repr`, and how it writes numbers.

use super::Fail;
use super::value::budget::{Budget, Out};
use super::value::{SeqKind, Value};

/// Python's `str(value)`, as a value.
pub(super) fn text_of(value: &Value, budget: &Budget) -> Result<Value, Fail> {
    if let Value::Str(_) = value {
        return Ok(value.clone());
    }
    let mut out = budget.out();
    write_str(value, &mut out)?;
    out.into_value()
}

/// Write Python's `str(value)`.
pub(super) fn write_str(value: &Value, out: &mut Out) -> Result<(), Fail> {
    match value {
        Value::Undefined(_) => Ok(()),
        Value::Str(text) => out.push(text),
        _ => write_repr(value, out),
    }
}

/// Write Python's `repr(value)`.
pub(super) fn write_repr(value: &Value, out: &mut Out) -> Result<(), Fail> {
    match value {
        Value::Undefined(_) => out.push("Undefined"),
        Value::None => out.push("None"),
        Value::Bool(is_true) => out.push(if *is_true { "True" } else { "False" }),
        Value::Int(number) => out.push(&number.to_string()),
        Value::Float(number) => out.push(&float(*number)),
        Value::Str(text) => quoted(text, out),
        Value::Seq(seq) => match seq.kind {
            SeqKind::List => row("[", &seq.items, "]", out),
            SeqKind::Tuple if seq.items.len() == 1 => row("(", &seq.items, ",)", out),
            SeqKind::Tuple => row("(", &seq.items, ")", out),
            SeqKind::Range(start, stop, 1) => out.push(&format!("range({start}, {stop})")),
            SeqKind::Range(start, stop, step) => {
                out.push(&format!("range({start}, {stop}, {step})"))
            }
            SeqKind::View(name) => {
                out.push(name)?;
                row("([", &seq.items, "])", out)
            }
            SeqKind::Generator => out.push("<generator object>"),
        },
        Value::Dict(dict) => entries("{", &dict.entries, "}", out),
        Value::Namespace(namespace) => {
            entries("<Namespace {", &namespace.fields.borrow(), "}>", out)
        }
        other => out.push(&format!("<{}>", other.type_name())),
    }
}

fn row(open: &str, items: &[Value], close: &str, out: &mut Out) -> Result<(), Fail> {
    out.push(open)?;
    for (idx, item) in items.iter().enumerate() {
        if idx > 0 {
            out.push(", ")?;
        }
        write_repr(item, out)?;
    }
    out.push(close)
}

fn entries(open: &str, entries: &[(Value, Value)], close: &str, out: &mut Out) -> Result<(), Fail> {
    out.push(open)?;
    for (idx, (key, value)) in entries.iter().enumerate() {
        if idx > 0 {
            out.push(", ")?;
        }
        write_repr(key, out)?;
        out.push(": ")?;
        write_repr(value, out)?;
    }
    out.push(close)
}

/// A text in quotes: single ones, unless it holds only those.
fn quoted(text: &str, out: &mut Out) -> Result<(), Fail> {
    let budget = out.budget().clone();
    let has = |wanted| text.contains(|symbol| budget.marks().original(symbol) == wanted);
    let quote = if has('\'') && !has('"') { '"' } else { '\'' };
    out.push_char(quote)?;
    for given in text.chars() {
        let symbol = budget.marks().original(given);
        let code = u32::from(symbol);
        match symbol {
            '\\' => out.push("\\\\")?,
            '\n' => out.push("\\n")?,
            '\r' => out.push("\\r")?,
            '\t' => out.push("\\t")?,
            _ if symbol == quote => {
                out.push("\\")?;
                out.push_char(given)?;
            }
            ' '..='~' => out.push_char(given)?,
            _ if is_printable(symbol) => out.push_char(given)?,
            _ if code <= 0xff => out.push(&format!("\\x{code:02x}"))?,
            _ if code <= 0xffff => out.push(&format!("\\u{code:04x}"))?,
            _ => out.push(&format!("\\U{code:08x}"))?,
        }
    }
    out.push_char(quote)
}

/// Whether Python prints a character as it is.
pub(super) fn is_printable(symbol: char) -> bool {
    // Combining marks are escaped by Rust only at the start of a text.
    let mut text = String::from("a");
    text.push(symbol);
    !symbol.is_whitespace() && text.escape_debug().nth(1) != Some('\\')
}

/// A floating-point number as Python's `repr` and `json` write it.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        return format!("{number:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_python() {
        let check = |input: f64, expected: &str| assert_eq!(float(input), expected);
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
        check(f64::NAN, "nan");
        check(f64::NEG_INFINITY, "-inf");
    }
}
