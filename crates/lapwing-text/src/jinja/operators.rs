//! Arithmetic, comparisons and `in`.

use std::cmp::Ordering;

use super::arguments::CallArgs;
use super::tree::{Binary, Comparison};
use super::value::budget::Budget;
use super::value::{SeqKind, Value};
use super::{Fail, MORE, format};

/// `left operator right`.
pub(super) fn binary(
    budget: &Budget,
    operator: Binary,
    left: &Value,
    right: &Value,
) -> Result<Value, Fail> {
    match (operator, left, right) {
        (Binary::Remainder, Value::Str(text), _) => {
            return budget.as_read(text, CallArgs::default(), &|text, _| {
                format::percent(budget, text, right)
            });
        }
        (Binary::Add, Value::Str(left), Value::Str(right)) => {
            let mut out = budget.out();
            out.push(left)?;
            out.push(right)?;
            return out.into_value();
        }
        (Binary::Add, Value::Seq(a), Value::Seq(b)) => {
            if let (SeqKind::List, SeqKind::List) | (SeqKind::Tuple, SeqKind::Tuple) =
                (a.kind, b.kind)
            {
                let items = a.items.iter().chain(&b.items).cloned();
                return budget.collect(a.kind, items);
            }
        }
        (Binary::Multiply, Value::Str(_) | Value::Seq(_), _) => {
            if let Some(n) = right.as_int() {
                return repeated(budget, left, n);
            }
        }
        (Binary::Multiply, _, Value::Str(_) | Value::Seq(_)) => {
            if let Some(n) = left.as_int() {
                return repeated(budget, right, n);
            }
        }
        _ => {}
    }
    if let (Some(a), Some(b)) = (left.as_int(), right.as_int()) {
        return integers(operator, a, b);
    }
    match (left.as_float(), right.as_float()) {
        (Some(a), Some(b)) => floats(operator, a, b),
        _ => Err(unsupported(operator, left, right)),
    }
}

fn unsupported(operator: Binary, left: &Value, right: &Value) -> Fail {
    for operand in [left, right] {
        if let Value::Undefined(name) = operand {
            let name = name.as_deref().unwrap_or("an operand");
            return Fail::other(format!("'{name}' is undefined"));
        }
    }
    let sign = match operator {
        Binary::Add => "+",
        Binary::Subtract => "-",
        Binary::Multiply => "*",
        Binary::Divide => "/",
        Binary::FloorDivide => "//",
        Binary::Remainder => "%",
        Binary::Power => "**",
    };
    let (left, right) = (left.type_name(), right.type_name());
    Fail::other(format!("unsupported operand type(s) for {sign}: '{left}' and '{right}'"))
}

fn repeated(budget: &Budget, value: &Value, n: i128) -> Result<Value, Fail> {
    let too_many = |_| Fail::memory(format_args!("{n} copies"));
    let n = usize::try_from(n.max(0)).map_err(too_many)?;
    match value {
        Value::Str(text) => {
            let mut out = budget.out();
            out.repeat(text, n)?;
            out.into_value()
        }
        Value::Seq(seq) if matches!(seq.kind, SeqKind::List | SeqKind::Tuple) => {
            let mut items = budget.items();
            if !seq.items.is_empty() {
                for _ in 0..n {
                    seq.items.iter().try_for_each(|item| items.push(item.clone()))?;
                }
            }
            items.into_value(seq.kind)
        }
        other => Err(Fail::other(format!("a {} cannot be repeated", other.type_name()))),
    }
}

fn integers(operator: Binary, a: i128, b: i128) -> Result<Value, Fail> {
    let by_zero = || Fail::other("division by zero");
    let result = match operator {
        Binary::Add => a.checked_add(b),
        Binary::Subtract => a.checked_sub(b),
        Binary::Multiply => a.checked_mul(b),
        Binary::Divide if b == 0 => return Err(by_zero()),
        Binary::Divide => return Ok(Value::Float(a as f64 / b as f64)),
        Binary::FloorDivide | Binary::Remainder if b == 0 => return Err(by_zero()),
        Binary::FloorDivide => {
            let is_cut = a.checked_rem(b).is_some_and(|rest| rest != 0) && (a < 0) != (b < 0);
            a.checked_div(b).map(|quotient| quotient - i128::from(is_cut))
        }
        Binary::Remainder => {
            let rest = a.checked_rem(b);
            rest.map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
        }
        Binary::Power if b < 0 => return Ok(Value::Float((a as f64).powf(b as f64))),
        Binary::Power => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
    };
    result.map(Value::Int).ok_or_else(number_too_large)
}

fn number_too_large() -> Fail {
    Fail::bound("the size of a number", format_args!("{} bits", i128::BITS), MORE)
}

fn floats(operator: Binary, a: f64, b: f64) -> Result<Value, Fail> {
    let divides = matches!(operator, Binary::Divide | Binary::FloorDivide | Binary::Remainder);
    if divides && b == 0.0 {
        return Err(Fail::other("division by zero"));
    }
    Ok(Value::Float(match operator {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Divide => a / b,
        Binary::FloorDivide => (a / b).floor(),
        Binary::Remainder => {
            let rest = a % b;
            if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
        }
        Binary::Power => a.powf(b),
    }))
}

/// `-value` or `+value`.
pub(super) fn signed(value: &Value, is_negative: bool) -> Result<Value, Fail> {
    match (value.as_int(), value) {
        (Some(number), _) if is_negative => {
            number.checked_neg().map(Value::Int).ok_or_else(number_too_large)
        }
        (Some(number), _) => Ok(Value::Int(number)),
        (None, Value::Float(number)) => {
            Ok(Value::Float(if is_negative { -number } else { *number }))
        }
        (None, other) => {
            Err(Fail::other(format!("bad operand type for a sign: '{}'", other.type_name())))
        }
    }
}

/// `left comparison right`.
pub(super) fn compare(
    budget: &Budget,
    comparison: Comparison,
    left: &Value,
    right: &Value,
) -> Result<bool, Fail> {
    Ok(match comparison {
        Comparison::Equal => left.equals(right, budget)?,
        Comparison::NotEqual => !left.equals(right, budget)?,
        Comparison::Less => order(budget, left, right)? == Some(Ordering::Less),
        Comparison::Greater => order(budget, left, right)? == Some(Ordering::Greater),
        Comparison::LessOrEqual => order(budget, left, right)?.is_some_and(Ordering::is_le),
        Comparison::GreaterOrEqual => order(budget, left, right)?.is_some_and(Ordering::is_ge),
        Comparison::In => contains(budget, right, left)?,
        Comparison::NotIn => !contains(budget, right, left)?,
    })
}

/// Which of two values comes first; `None` for numbers that are none.
pub(super) fn order(
    budget: &Budget,
    left: &Value,
    right: &Value,
) -> Result<Option<Ordering>, Fail> {
    budget.work(1)?;
    if let (Some(a), Some(b)) = (left.as_int(), right.as_int()) {
        return Ok(Some(a.cmp(&b)));
    }
    if let (Some(a), Some(b)) = (left.as_float(), right.as_float()) {
        return Ok(a.partial_cmp(&b));
    }
    match (left, right) {
        (Value::Str(a), Value::Str(b)) => {
            budget.read(a.len().min(b.len()))?;
            Ok(Some(budget.plain(a)?.cmp(&budget.plain(b)?)))
        }
        (Value::Seq(a), Value::Seq(b))
            if matches!(
                (a.kind, b.kind),
                (SeqKind::List, SeqKind::List) | (SeqKind::Tuple, SeqKind::Tuple)
            ) =>
        {
            for (a, b) in a.items.iter().zip(&b.items) {
                if !a.equals(b, budget)? {
                    return order(budget, a, b);
                }
            }
            Ok(Some(a.items.len().cmp(&b.items.len())))
        }
        _ => {
            let (left, right) = (left.type_name(), right.type_name());
            Err(Fail::other(format!("'{left}' and '{right}' have no order")))
        }
    }
}

/// `wanted in container`.
pub(super) fn contains(budget: &Budget, container: &Value, wanted: &Value) -> Result<bool, Fail> {
    match container {
        Value::Undefined(_) => Ok(false),
        Value::Str(text) => match wanted {
            Value::Str(wanted) => {
                budget.read(text.len())?;
                Ok(budget.plain(text)?.contains(&*budget.plain(wanted)?))
            }
            other => {
                let got = other.type_name();
                Err(Fail::other(format!("'in <string>' requires string, not {got}")))
            }
        },
        Value::Dict(dict) => Ok(dict.get(wanted, budget)?.is_some()),
        Value::Seq(seq) => {
            for item in &seq.items {
                if item.equals(wanted, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        other => {
            Err(Fail::other(format!("argument of type '{}' is not iterable", other.type_name())))
        }
    }
}
