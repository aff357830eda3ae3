//! Filters: what stands behind `|`. Those of texts are in [`texts`], those of rows in [`rows`].

mod groups;
mod keys;
pub(super) mod known;
mod rows;
mod tags;
mod texts;

use std::sync::Arc;

use super::arguments::CallArgs;
use super::value::Value;
use super::value::budget::Budget;
use super::{Fail, access, json, python_text};

pub(super) use rows::entries;
pub(super) use texts::{justified, lines, recased, replaced, stripped};

/// `value | name(…)`.
pub(super) fn apply(
    budget: &Budget,
    name: &str,
    value: &Value,
    arguments: CallArgs,
) -> Result<Value, Fail> {
    budget.work(1)?;
    if let ("int" | "float" | "abs" | "round", Value::Undefined(undefined)) = (name, value) {
        let undefined = undefined.as_deref().unwrap_or("a value");
        return Err(Fail::other(format!("'{undefined}' is undefined")));
    }
    match name {
        "tojson" => json::to_json(budget, value, arguments),
        "default" | "d" => {
            let [default, boolean] = arguments.bind(name, ["default_value", "boolean"])?;
            let also_false = boolean.is_some_and(|boolean| boolean.is_true());
            let is_missing = value.is_undefined() || (also_false && !value.is_true());
            let default = || default.unwrap_or_else(|| Value::from(""));
            Ok(if is_missing { default() } else { value.clone() })
        }
        "length" | "count" => {
            let [] = arguments.bind(name, [])?;
            value.len(budget).map(Value::from)
        }
        "string" => {
            let [] = arguments.bind(name, [])?;
            python_text::text_of(value, budget)
        }
        "attr" => {
            let [attribute] = arguments.bind(name, ["name"])?;
            let attribute = attribute.as_ref().and_then(Value::as_str);
            let attribute = attribute.ok_or_else(|| Fail::other("attr needs a name"))?;
            match value {
                Value::Dict(_) => Ok(Value::Undefined(Some(attribute.into()))),
                _ => access::attribute(value, &Arc::from(&*budget.plain(attribute)?), budget),
            }
        }
        "abs" => {
            let [] = arguments.bind(name, [])?;
            match (value.as_int(), value) {
                (Some(number), _) => Ok(Value::Int(number.saturating_abs())),
                (None, Value::Float(number)) => Ok(Value::Float(number.abs())),
                _ => Err(Fail::other("abs is for numbers")),
            }
        }
        "int" => int(budget, value, arguments),
        "float" => {
            let [default] = arguments.bind(name, ["default"])?;
            let number = match value.as_str() {
                Some(text) => number_of(&budget.plain(text)?),
                None => value.as_float(),
            };
            let default = || default.unwrap_or(Value::Float(0.0));
            Ok(number.map_or_else(default, Value::Float))
        }
        "round" => round(value, arguments),
        "safe" | "forceescape" | "escape" | "e" | "trim" | "upper" | "lower" | "capitalize"
        | "title" | "replace" | "indent" | "center" | "truncate" | "wordcount" | "format"
        | "urlencode" | "striptags" => texts::apply(budget, name, value, arguments),
        _ if known::MISSING.contains(&name) => {
            Err(Fail::other(format!("the filter '{name}' of jinja2 is not supported")))
        }
        _ => rows::apply(budget, name, value, arguments),
    }
}

/// A number that a text spells as Python reads it.
fn number_of(text: &str) -> Option<f64> {
    text.trim().replace('_', "").parse().ok()
}

fn int(budget: &Budget, value: &Value, arguments: CallArgs) -> Result<Value, Fail> {
    let [default, base] = arguments.bind("int", ["default", "base"])?;
    let base = base.and_then(|base| base.as_int()).unwrap_or(10);
    let whole = |number: f64| number.is_finite().then(|| Value::Int(number.trunc() as i128));
    let number = match value {
        Value::Str(text) => {
            budget.read(text.len())?;
            let text = budget.plain(text)?;
            let digits = text.trim().replace('_', "");
            let digits = match base {
                16 => digits.trim_start_matches("0x").trim_start_matches("0X"),
                8 => digits.trim_start_matches("0o"),
                2 => digits.trim_start_matches("0b"),
                _ => &digits,
            };
            let radix = u32::try_from(base).ok().filter(|radix| (2..=36).contains(radix));
            let number = radix.and_then(|radix| i128::from_str_radix(digits, radix).ok());
            number.map(Value::Int).or_else(|| whole(number_of(&text)?))
        }
        Value::Float(number) => whole(*number),
        other => other.as_int().map(Value::Int),
    };
    Ok(number.or(default).unwrap_or(Value::Int(0)))
}

fn round(value: &Value, arguments: CallArgs) -> Result<Value, Fail> {
    let [precision, method] = arguments.bind("round", ["precision", "method"])?;
    let precision = precision.and_then(|precision| precision.as_int()).unwrap_or(0);
    let precision = precision.clamp(-300, 300) as i32;
    let method = method.as_ref().and_then(Value::as_str).unwrap_or("common");
    let number = value.as_float().ok_or_else(|| Fail::other("round is for numbers"))?;
    let scale = 10_f64.powi(precision);
    match method {
        "ceil" => Ok(Value::Float((number * scale).ceil() / scale)),
        "floor" => Ok(Value::Float((number * scale).floor() / scale)),
        "common" => match value.as_int() {
            Some(number) if precision >= 0 => Ok(Value::Int(number)),
            _ if precision >= 0 => {
                let text = format!("{number:.*}", precision as usize);
                Ok(Value::Float(text.parse().unwrap_or(number)))
            }
            _ => {
                let rounded = (number * scale).round_ties_even() / scale;
                Ok(match value.as_int() {
                    Some(_) => Value::Int(rounded as i128),
                    None => Value::Float(rounded),
                })
            }
        },
        _ => Err(Fail::other("method must be common, ceil or floor")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::marks::Marks;
    use super::*;

    #[test]
    fn known_filters_are_there_and_missing_ones_are_named() {
        let said = |name: &str| {
            let budget = Budget::new(Marks::default());
            let result = apply(&budget, name, &Value::from("a"), CallArgs::default());
            result.err().map(|fail| format!("{fail:?}")).unwrap_or_default()
        };
        for name in known::KNOWN {
            assert!(!said(name).contains("no filter named"), "{name}: {}", said(name));
        }
        for name in known::MISSING {
            assert!(said(name).contains(&format!("'{name}' of jinja2 is not supported")), "{name}");
        }
        assert!(said("nonsense").contains("no filter named 'nonsense'"));
    }
}
