//! Names, attributes, indices and slices.

use std::rc::Rc;
use std::sync::Arc;

use super::Fail;
use super::value::budget::Budget;
use super::value::{Native, SeqKind, Value};

const TEXT_METHODS: [&str; 47] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];
const LIST_METHODS: [&str; 3] = ["copy", "count", "index"];
const DICT_METHODS: [&str; 5] = ["copy", "get", "items", "keys", "values"];

/// Methods that change a dictionary: jinja2's sandbox gives none of them, nor a key of that name.
const DICT_CHANGES: [&str; 6] = ["clear", "fromkeys", "pop", "popitem", "setdefault", "update"];

/// What the engine itself knows by `name`.
pub(super) fn native(name: &str) -> Option<Value> {
    Some(Value::Native(match name {
        "range" => Native::Range,
        "dict" => Native::Dict,
        "namespace" => Native::Namespace,
        "joiner" => Native::Joiner,
        "cycler" => Native::Cycler,
        "raise_exception" => Native::RaiseException,
        "strftime_now" => Native::StrftimeNow,
        _ => return None,
    }))
}

/// `value.name`: an attribute first, then an item.
pub(super) fn attribute(value: &Value, name: &Arc<str>, budget: &Budget) -> Result<Value, Fail> {
    let method = || Some(Value::Method(Rc::new((value.clone(), name.clone()))));
    let found = match value {
        Value::Undefined(Some(undefined)) => {
            return Err(Fail::other(format!("'{undefined}' is undefined")));
        }
        Value::Undefined(None) => {
            return Err(Fail::other(format!("nothing has an attribute '{name}'")));
        }
        Value::Str(_) if TEXT_METHODS.contains(&&**name) => method(),
        Value::Dict(_) if DICT_METHODS.contains(&&**name) => method(),
        Value::Dict(_) if DICT_CHANGES.contains(&&**name) => None,
        Value::Dict(dict) => dict.get_str(name, budget)?.cloned(),
        Value::Seq(seq) => match (&**name, seq.kind, &seq.items[..]) {
            ("grouper", SeqKind::Tuple, [grouper, _]) => Some(grouper.clone()),
            ("list", SeqKind::Tuple, [_, list]) => Some(list.clone()),
            ("copy", SeqKind::Tuple, _) | (_, SeqKind::View(_) | SeqKind::Generator, _) => None,
            _ if LIST_METHODS.contains(&&**name) => method(),
            _ => None,
        },
        Value::Namespace(namespace) => {
            budget.work(1 + namespace.fields.borrow().len() / 4)?;
            namespace.get(name)
        }
        Value::Loop(_) if ["cycle", "changed"].contains(&&**name) => method(),
        Value::Loop(state) => state.attribute(name),
        Value::Macro(called) if &**name == "name" => Some(Value::from(&called.def.name)),
        Value::Macro(called) if &**name == "arguments" => {
            let names = called.def.parameters.iter().map(|(name, _)| Value::from(name));
            Some(budget.collect(SeqKind::Tuple, names)?)
        }
        Value::Native(Native::Cycle(cycle)) => match &**name {
            "next" | "reset" => method(),
            "current" => Some(cycle.0.items[cycle.1.get() % cycle.0.items.len()].clone()),
            _ => None,
        },
        _ => None,
    };
    Ok(found.unwrap_or_else(|| Value::Undefined(Some(name.clone()))))
}

/// `value[index]`: an item first, then an attribute.
pub(super) fn item(value: &Value, index: &Value, budget: &Budget) -> Result<Value, Fail> {
    let nothing = || Ok(Value::Undefined(None));
    match (value, index) {
        (Value::Undefined(_), _) => attribute(value, &Arc::from("[]"), budget),
        (Value::Dict(dict), _) => match (dict.get(index, budget)?, index.as_str()) {
            (Some(found), _) => Ok(found.clone()),
            (None, Some(name)) if DICT_METHODS.contains(&&*budget.plain(name)?) => {
                attribute(value, &Arc::from(&*budget.plain(name)?), budget)
            }
            (None, Some(name)) => Ok(Value::Undefined(Some(name.into()))),
            (None, None) => nothing(),
        },
        (Value::Seq(seq), Value::Int(_) | Value::Bool(_)) => {
            let is_indexed = !matches!(seq.kind, SeqKind::View(_) | SeqKind::Generator);
            let idx = index.as_int().and_then(|idx| place(idx, seq.items.len()));
            match idx {
                Some(idx) if is_indexed => Ok(seq.items[idx].clone()),
                _ => nothing(),
            }
        }
        (Value::Str(text), Value::Int(_) | Value::Bool(_)) => {
            let n_chars = value.len(budget)?;
            let idx = index.as_int().and_then(|idx| place(idx, n_chars));
            match idx.and_then(|idx| text.chars().nth(idx)) {
                Some(symbol) => budget.text(symbol.encode_utf8(&mut [0; 4])),
                None => nothing(),
            }
        }
        (_, Value::Str(name)) => attribute(value, &Arc::from(&*budget.plain(name)?), budget),
        _ => nothing(),
    }
}

/// Where `idx` is, from the end if negative.
fn place(idx: i128, len: usize) -> Option<usize> {
    let idx = if idx < 0 { idx.checked_add(len as i128)? } else { idx };
    usize::try_from(idx).ok().filter(|&idx| idx < len)
}

/// `value[from:to:step]`.
pub(super) fn slice(
    value: &Value,
    bounds: &[Option<Value>; 3],
    budget: &Budget,
) -> Result<Value, Fail> {
    let mut numbers = [None; 3];
    for (number, bound) in numbers.iter_mut().zip(bounds) {
        if let Some(bound) = bound {
            let bound = bound.as_int();
            let bound = bound.ok_or_else(|| Fail::other("slice indices must be integers"))?;
            *number = Some(bound);
        }
    }
    if numbers[2] == Some(0) {
        return Err(Fail::other("slice step cannot be zero"));
    }
    match value {
        Value::Str(text) => {
            let n_chars = value.len(budget)?;
            let mut out = budget.out();
            if let [from, to, None | Some(1)] = numbers {
                out.push(sub_text(text, from, to))?;
                return out.into_value();
            }
            budget.room(n_chars, size_of::<char>())?;
            let symbols: Vec<char> = text.chars().collect();
            for idx in places(numbers, n_chars) {
                out.push_char(symbols[idx])?;
            }
            out.into_value()
        }
        Value::Seq(seq) => match seq.kind {
            SeqKind::View(_) | SeqKind::Generator => Err(not_sliced(value)),
            SeqKind::Tuple => {
                let items = places(numbers, seq.items.len()).map(|idx| seq.items[idx].clone());
                budget.collect(SeqKind::Tuple, items)
            }
            SeqKind::List | SeqKind::Range(..) => {
                let items = places(numbers, seq.items.len()).map(|idx| seq.items[idx].clone());
                budget.collect(SeqKind::List, items)
            }
        },
        Value::Undefined(_) => attribute(value, &Arc::from("[]"), budget),
        other => Err(not_sliced(other)),
    }
}

fn not_sliced(value: &Value) -> Fail {
    Fail::other(format!("'{}' object cannot be sliced", value.type_name()))
}

/// The indices of a slice of `len` things, as Python counts them.
fn places([from, to, step]: [Option<i128>; 3], len: usize) -> impl Iterator<Item = usize> {
    let (len, step) = (len as i128, step.unwrap_or(1));
    let (lowest, highest) = if step < 0 { (-1, len - 1) } else { (0, len) };
    let clamp = |bound: i128| {
        let bound = if bound < 0 { bound.saturating_add(len) } else { bound };
        bound.clamp(lowest, highest)
    };
    let from = from.map_or(if step < 0 { highest } else { lowest }, clamp);
    let to = to.map_or(if step < 0 { lowest } else { highest }, clamp);
    let is_before = move |idx: &i128| if step < 0 { *idx > to } else { *idx < to };
    std::iter::successors(Some(from), move |idx| idx.checked_add(step))
        .take_while(is_before)
        .filter_map(|idx| usize::try_from(idx).ok())
}

/// The characters of `text` between two places, as Python counts them.
pub(super) fn sub_text(text: &str, from: Option<i128>, to: Option<i128>) -> &str {
    let offset = |bound: i128| {
        let n = |bound: i128| usize::try_from(bound).unwrap_or(usize::MAX);
        if bound < 0 {
            let n_back = n(bound.saturating_neg());
            text.char_indices().rev().nth(n_back.saturating_sub(1)).map_or(0, |(at, _)| at)
        } else {
            text.char_indices().nth(n(bound)).map_or(text.len(), |(at, _)| at)
        }
    };
    let from = from.map_or(0, offset);
    let to = to.map_or(text.len(), offset);
    text.get(from..to).unwrap_or_default()
}
