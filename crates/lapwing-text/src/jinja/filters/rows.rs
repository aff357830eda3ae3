//! Filters of lists, dictionaries and other things in a row.

use std::cmp::Ordering;

use super::super::arguments::CallArgs;
use super::super::operators::{binary, order};
use super::super::tree::Binary;
use super::super::value::budget::Budget;
use super::super::value::{SeqKind, Value};
use super::super::{Fail, checks, python_text};
use super::groups;
use super::keys::{Keys, attribute, sorted};

pub(super) fn apply(
    budget: &Budget,
    name: &str,
    value: &Value,
    arguments: CallArgs,
) -> Result<Value, Fail> {
    match name {
        "list" | "first" | "last" | "reverse" | "items" => {
            let [] = arguments.bind(name, [])?;
            simple(budget, name, value)
        }
        "join" => join(budget, value, arguments),
        "map" => map(budget, value, arguments),
        "select" | "reject" => choose(budget, value, arguments, name == "select", false),
        "selectattr" | "rejectattr" => choose(budget, value, arguments, name == "selectattr", true),
        "sort" => {
            let [reverse, case_sensitive, attribute] =
                arguments.bind(name, ["reverse", "case_sensitive", "attribute"])?;
            let keys = Keys::new(case_sensitive, attribute);
            let items = &value.iterate(budget)?.items;
            let sorted = sorted(budget, items, is_true(reverse), |item| keys.of(item, budget))?;
            budget.collect(SeqKind::List, sorted)
        }
        "unique" => {
            let [case_sensitive, attribute] =
                arguments.bind(name, ["case_sensitive", "attribute"])?;
            unique(budget, value, &Keys::new(case_sensitive, attribute))
        }
        "min" | "max" => {
            let [case_sensitive, attribute] =
                arguments.bind(name, ["case_sensitive", "attribute"])?;
            extreme(budget, value, name == "max", &Keys::new(case_sensitive, attribute))
        }
        "sum" => {
            let [attribute, start] = arguments.bind(name, ["attribute", "start"])?;
            let keys = Keys::new(Some(Value::Bool(true)), attribute);
            let mut sum = start.unwrap_or(Value::Int(0));
            for item in &value.iterate(budget)?.items {
                sum = binary(budget, Binary::Add, &sum, &keys.of(item, budget)?)?;
            }
            Ok(sum)
        }
        "dictsort" => dict_sort(budget, value, arguments),
        "groupby" => groups::group_by(budget, value, arguments),
        "batch" | "slice" => groups::groups(budget, value, name, arguments),
        _ => Err(Fail::other(format!("no filter named '{name}'"))),
    }
}

fn is_true(flag: Option<Value>) -> bool {
    flag.is_some_and(|flag| flag.is_true())
}

/// The entries of a dictionary as pairs.
pub(crate) fn entries(budget: &Budget, value: &Value, kind: SeqKind) -> Result<Value, Fail> {
    let mut pairs = budget.items();
    match value {
        Value::Dict(dict) => {
            for (key, value) in &dict.entries {
                let pair = [key.clone(), value.clone()];
                pairs.push(budget.collect(SeqKind::Tuple, pair)?)?;
            }
        }
        Value::Undefined(_) => {}
        _ => return Err(Fail::other("can only get item pairs from a mapping")),
    }
    pairs.into_value(kind)
}

fn simple(budget: &Budget, name: &str, value: &Value) -> Result<Value, Fail> {
    match (name, value) {
        ("items", _) => entries(budget, value, SeqKind::Generator),
        ("reverse", Value::Str(text)) => {
            let mut out = budget.out();
            text.chars().rev().try_for_each(|symbol| out.push_char(symbol))?;
            out.into_value()
        }
        ("first", Value::Str(text)) => match text.chars().next() {
            Some(symbol) => budget.text(symbol.encode_utf8(&mut [0; 4])),
            None => Ok(Value::Undefined(None)),
        },
        ("last", Value::Str(text)) => match text.chars().next_back() {
            Some(symbol) => budget.text(symbol.encode_utf8(&mut [0; 4])),
            None => Ok(Value::Undefined(None)),
        },
        _ => {
            let items = value.iterate(budget)?;
            match name {
                "list" => budget.collect(SeqKind::List, items.items.iter().cloned()),
                "reverse" => budget.collect(SeqKind::Generator, items.items.iter().rev().cloned()),
                "first" => Ok(items.items.first().cloned().unwrap_or(Value::Undefined(None))),
                _ => Ok(items.items.last().cloned().unwrap_or(Value::Undefined(None))),
            }
        }
    }
}

fn join(budget: &Budget, value: &Value, arguments: CallArgs) -> Result<Value, Fail> {
    let [separator, path] = arguments.bind("join", ["d", "attribute"])?;
    let separator = match separator {
        Some(separator) => python_text::text_of(&separator, budget)?,
        None => Value::from(""),
    };
    let separator = separator.as_str().unwrap_or_default();
    let keys = Keys::new(Some(Value::Bool(true)), path);
    let mut out = budget.out();
    for (idx, item) in value.iterate(budget)?.items.iter().enumerate() {
        if idx > 0 {
            out.push(separator)?;
        }
        python_text::write_str(&keys.of(item, budget)?, &mut out)?;
    }
    out.into_value()
}

fn map(budget: &Budget, value: &Value, arguments: CallArgs) -> Result<Value, Fail> {
    let items = value.iterate(budget)?;
    let mut mapped = budget.items();
    let CallArgs { positional, named } = arguments;
    let mut positional = positional.into_iter();
    let Some(filter) = positional.next() else {
        let named = CallArgs { positional: Vec::new(), named };
        let [path, default] = named.bind("map", ["attribute", "default"])?;
        let path = path.ok_or_else(|| Fail::other("map requires a filter argument"))?;
        let path = python_text::text_of(&path, budget)?;
        let path = path.as_str().unwrap_or_default();
        for item in &items.items {
            mapped.push(attribute(item, path, default.as_ref(), budget)?)?;
        }
        return mapped.into_value(SeqKind::Generator);
    };
    let filter = filter.as_str().ok_or_else(|| Fail::other("map needs the name of a filter"))?;
    if ["map", "select", "reject"].contains(&filter) {
        // Filters that call filters would nest without a bound.
        return Err(Fail::other(format!("map cannot apply '{filter}'")));
    }
    let rest: Vec<Value> = positional.collect();
    for item in &items.items {
        let arguments = CallArgs { positional: rest.clone(), named: named.clone() };
        mapped.push(super::apply(budget, filter, item, arguments)?)?;
    }
    mapped.into_value(SeqKind::Generator)
}

fn choose(
    budget: &Budget,
    value: &Value,
    arguments: CallArgs,
    wanted: bool,
    by_attribute: bool,
) -> Result<Value, Fail> {
    let CallArgs { positional, named } = arguments;
    let mut positional = positional.into_iter();
    let path = match by_attribute {
        true => Some(positional.next().ok_or_else(|| Fail::other("missing attribute name"))?),
        false => None,
    };
    let path = path.map(|path| python_text::text_of(&path, budget)).transpose()?;
    let test = positional.next();
    let rest: Vec<Value> = positional.collect();
    let mut chosen = budget.items();
    for item in &value.iterate(budget)?.items {
        budget.work(1)?;
        let subject = match path.as_ref().and_then(Value::as_str) {
            Some(path) => attribute(item, path, None, budget)?,
            None => item.clone(),
        };
        let is_so = match test.as_ref().and_then(Value::as_str) {
            Some(test) => {
                let arguments = CallArgs { positional: rest.clone(), named: named.clone() };
                checks::check(budget, test, &subject, arguments)?
            }
            None => subject.is_true(),
        };
        if is_so == wanted {
            chosen.push(item.clone())?;
        }
    }
    chosen.into_value(SeqKind::Generator)
}

fn unique(budget: &Budget, value: &Value, keys: &Keys) -> Result<Value, Fail> {
    let mut seen: Vec<Value> = Vec::new();
    let mut kept = budget.items();
    'items: for item in &value.iterate(budget)?.items {
        let key = keys.of(item, budget)?;
        for known in &seen {
            if known.equals(&key, budget)? {
                continue 'items;
            }
        }
        seen.push(key);
        kept.push(item.clone())?;
    }
    kept.into_value(SeqKind::Generator)
}

fn extreme(budget: &Budget, value: &Value, is_max: bool, keys: &Keys) -> Result<Value, Fail> {
    let items = value.iterate(budget)?;
    let mut best: Option<(Value, &Value)> = None;
    for item in &items.items {
        let key = keys.of(item, budget)?;
        let is_better = match &best {
            None => true,
            Some((known, _)) => {
                let wanted = if is_max { Ordering::Greater } else { Ordering::Less };
                order(budget, &key, known)? == Some(wanted)
            }
        };
        if is_better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or(Value::Undefined(None), |(_, item)| item.clone()))
}

fn dict_sort(budget: &Budget, value: &Value, arguments: CallArgs) -> Result<Value, Fail> {
    let [case_sensitive, by, reverse] =
        arguments.bind("dictsort", ["case_sensitive", "by", "reverse"])?;
    let idx = match by.as_ref().map(|by| by.as_str().unwrap_or_default()) {
        None | Some("key") => Value::Int(0),
        Some("value") => Value::Int(1),
        Some(_) => return Err(Fail::other("You can only sort by either \"key\" or \"value\"")),
    };
    let keys = Keys::new(case_sensitive, Some(idx));
    let pairs = entries(budget, value, SeqKind::List)?.iterate(budget)?;
    let sorted = sorted(budget, &pairs.items, is_true(reverse), |pair| keys.of(pair, budget))?;
    budget.collect(SeqKind::List, sorted)
}
