//! Tests: what stands behind `is`.

use std::cmp::Ordering;

use super::Fail;
use super::arguments::CallArgs;
use super::filters::known;
use super::operators::{contains, order};
use super::value::budget::Budget;
use super::value::{SeqKind, Value};

/// The tests that there are.
const KNOWN: [&str; 39] = [
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

/// `value is name(…)`.
pub(super) fn check(
    budget: &Budget,
    name: &str,
    value: &Value,
    arguments: CallArgs,
) -> Result<bool, Fail> {
    let [other] = match name {
        "defined" | "undefined" | "none" | "filter" | "test" => {
            let [] = arguments.bind(name, [])?;
            [None]
        }
        _ => arguments.bind(name, ["other"])?,
    };
    let other = other.as_ref();
    let needed = || other.ok_or_else(|| Fail::other(format!("the test '{name}' needs a value")));
    let ordering = |wanted: fn(Ordering) -> bool| -> Result<bool, Fail> {
        Ok(order(budget, value, needed()?)?.is_some_and(wanted))
    };
    let whole = || {
        let number = value.as_int();
        number.ok_or_else(|| Fail::other(format!("the test '{name}' is for integers")))
    };
    Ok(match name {
        "defined" => !value.is_undefined(),
        "undefined" => value.is_undefined(),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => value.as_float().is_some(),
        "string" => matches!(value, Value::Str(_)),
        "mapping" => matches!(value, Value::Dict(_)),
        "sequence" => match value {
            Value::Seq(seq) => !matches!(seq.kind, SeqKind::View(_) | SeqKind::Generator),
            other => matches!(other, Value::Str(_) | Value::Dict(_) | Value::Undefined(_)),
        },
        "iterable" => matches!(
            value,
            Value::Str(_) | Value::Dict(_) | Value::Seq(_) | Value::Undefined(_) | Value::Loop(_)
        ),
        "callable" => match value {
            Value::Loop(_) | Value::Macro(_) | Value::Method(_) => true,
            Value::Native(native) => !matches!(native, super::value::Native::Cycle(_)),
            // jinja2's undefined has a `__call__`, which fails.
            other => other.is_undefined(),
        },
        "sameas" => match (value, needed()?) {
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Bool(_), _) | (_, Value::Bool(_)) => false,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => false,
            (a, b) => a.equals(b, budget)?,
        },
        "eq" | "equalto" | "==" => value.equals(needed()?, budget)?,
        "ne" | "!=" => !value.equals(needed()?, budget)?,
        "lt" | "lessthan" | "<" => ordering(Ordering::is_lt)?,
        "le" | "<=" => ordering(Ordering::is_le)?,
        "gt" | "greaterthan" | ">" => ordering(Ordering::is_gt)?,
        "ge" | ">=" => ordering(Ordering::is_ge)?,
        "in" => contains(budget, needed()?, value)?,
        "even" => whole()? % 2 == 0,
        "odd" => whole()? % 2 != 0,
        "divisibleby" => match needed()?.as_int() {
            Some(divisor) if divisor != 0 => whole()?.checked_rem(divisor) == Some(0),
            _ => return Err(Fail::other("division by zero")),
        },
        "lower" | "upper" => {
            let text = super::python_text::text_of(value, budget)?;
            let text = text.as_str().unwrap_or_default();
            budget.read(text.len())?;
            is_cased(&budget.plain(text)?, name == "upper")
        }
        "escaped" => false,
        "filter" => value.as_str().is_some_and(known::is_known),
        "test" => value.as_str().is_some_and(|name| KNOWN.contains(&name)),
        _ => return Err(Fail::other(format!("no test named '{name}'"))),
    })
}

/// Python's `isupper` and `islower`: letters with case, and none of the other one.
pub(super) fn is_cased(text: &str, upper: bool) -> bool {
    let is_other = |c: char| if upper { c.is_lowercase() } else { c.is_uppercase() };
    let is_wanted = |c: char| if upper { c.is_uppercase() } else { c.is_lowercase() };
    text.contains(is_wanted) && !text.contains(is_other)
}
