//! Other characters for those of a text.

use super::super::Fail;
use super::super::arguments::CallArgs;
use super::super::value::budget::Budget;
use super::super::value::{Dict, Value};

/// Python's `str.translate` with a dictionary of code points.
pub(super) fn translate(budget: &Budget, text: &str, arguments: CallArgs) -> Result<Value, Fail> {
    let [table] = arguments.bind("translate", ["table"])?;
    let Some(Value::Dict(table)) = table else {
        return Err(Fail::other("translate() takes a dictionary of code points here"));
    };
    let mut out = budget.out();
    for symbol in text.chars() {
        match table.get(&Value::Int(u32::from(symbol).into()), budget)? {
            None => out.push_char(symbol)?,
            Some(Value::None) => {}
            Some(Value::Str(new)) => out.push(new)?,
            Some(new) => {
                let code = new.as_int().and_then(|code| u32::try_from(code).ok());
                let new = code.and_then(char::from_u32);
                out.push_char(new.ok_or_else(|| Fail::other("translate() gives no character"))?)?;
            }
        }
    }
    out.into_value()
}

/// Python's `str.maketrans`: a dictionary, or two texts of equal length and one of what goes.
pub(super) fn table(budget: &Budget, arguments: CallArgs) -> Result<Value, Fail> {
    let [first, to, gone] = arguments.bind("maketrans", ["x", "y", "z"])?;
    let code = |symbol: char| Value::Int(u32::from(symbol).into());
    let mut pairs = Vec::new();
    match (&first, &to) {
        (Some(Value::Dict(table)), None) => {
            budget.room(table.entries.len(), 2 * size_of::<Value>())?;
            for (key, value) in &table.entries {
                let mut symbols = key.as_str().unwrap_or_default().chars();
                let key = match (key, symbols.next(), symbols.next()) {
                    (Value::Str(_), Some(symbol), None) => code(symbol),
                    (Value::Int(_), ..) => key.clone(),
                    _ => return Err(Fail::other("maketrans() needs keys of one character")),
                };
                pairs.push((key, value.clone()));
            }
        }
        (Some(Value::Str(from)), Some(Value::Str(to))) => {
            budget.room(from.len(), 2 * size_of::<Value>())?;
            if from.chars().count() != to.chars().count() {
                return Err(Fail::other("maketrans() needs texts of equal length"));
            }
            pairs.extend(from.chars().zip(to.chars()).map(|(from, to)| (code(from), code(to))));
            let gone = gone.as_ref().and_then(Value::as_str).unwrap_or_default();
            budget.room(gone.len(), 2 * size_of::<Value>())?;
            pairs.extend(gone.chars().map(|symbol| (code(symbol), Value::None)));
        }
        _ => return Err(Fail::other("maketrans() needs a dictionary, or two texts")),
    }
    Dict::made(budget, pairs)
}
