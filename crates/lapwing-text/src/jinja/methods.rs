//! Methods of Python's texts, lists and dictionaries.

mod translation;

use std::sync::Arc;

use super::arguments::CallArgs;
use super::checks::is_cased;
use super::value::budget::Budget;
use super::value::{Native, Seq, SeqKind, Value};
use super::{Fail, access, filters, format, python_text};

/// `value.method(…)`.
pub(super) fn call(
    budget: &Budget,
    value: &Value,
    method: &str,
    arguments: CallArgs,
) -> Result<Value, Fail> {
    match value {
        Value::Str(text) => {
            budget.read(text.len())?;
            budget.as_read(text, arguments, &|text, arguments| {
                text_method(budget, text, method, arguments)
            })
        }
        Value::Seq(seq) => list_method(budget, value, seq, method, arguments),
        Value::Dict(dict) => match method {
            "get" => {
                let [key, default] = arguments.bind("get", ["key", "default"])?;
                let key = key.ok_or_else(|| Fail::other("get() needs a key"))?;
                let found = dict.get(&key, budget)?.cloned();
                Ok(found.or(default).unwrap_or(Value::None))
            }
            "keys" => {
                let [] = arguments.bind("keys", [])?;
                let keys = dict.entries.iter().map(|(key, _)| key.clone());
                budget.collect(SeqKind::View("dict_keys"), keys)
            }
            "values" => {
                let [] = arguments.bind("values", [])?;
                let values = dict.entries.iter().map(|(_, value)| value.clone());
                budget.collect(SeqKind::View("dict_values"), values)
            }
            "items" => {
                let [] = arguments.bind("items", [])?;
                filters::entries(budget, value, SeqKind::View("dict_items"))
            }
            _ => {
                let [] = arguments.bind("copy", [])?;
                Ok(value.clone())
            }
        },
        Value::Native(Native::Cycle(cycle)) => {
            let (values, next) = &**cycle;
            let idx = next.get() % values.items.len();
            next.set(if method == "next" { idx + 1 } else { 0 });
            Ok(if method == "next" { values.items[idx].clone() } else { Value::None })
        }
        other => Err(Fail::other(format!("'{}' has no method '{method}'", other.type_name()))),
    }
}

fn list_method(
    budget: &Budget,
    value: &Value,
    seq: &Seq,
    method: &str,
    arguments: CallArgs,
) -> Result<Value, Fail> {
    if method == "copy" {
        let [] = arguments.bind("copy", [])?;
        return Ok(value.clone());
    }
    let [wanted, from, to] = arguments.bind(method, ["value", "start", "stop"])?;
    let wanted = wanted.ok_or_else(|| Fail::other(format!("{method}() needs a value")))?;
    let n_items = seq.items.len();
    let place = |bound: Option<Value>, default: usize| {
        let bound = bound.and_then(|bound| bound.as_int()).unwrap_or(default as i128);
        let bound = if bound < 0 { bound + n_items as i128 } else { bound };
        bound.clamp(0, n_items as i128) as usize
    };
    let (from, to) = (place(from, 0), place(to, n_items));
    let mut n_found = 0_usize;
    for (idx, item) in seq.items.iter().enumerate() {
        if item.equals(&wanted, budget)? {
            if method == "index" && from <= idx && idx < to {
                return Ok(idx.into());
            }
            n_found += 1;
        }
    }
    match method {
        "count" => Ok(n_found.into()),
        _ => Err(Fail::other("value is not in list")),
    }
}

fn text_method(
    budget: &Budget,
    text: &str,
    method: &str,
    arguments: CallArgs,
) -> Result<Value, Fail> {
    match method {
        "format" => return format::braces(budget, text, arguments),
        "format_map" => {
            let [mapping] = arguments.bind("format_map", ["mapping"])?;
            let Some(Value::Dict(mapping)) = mapping else {
                return Err(Fail::other("format_map() needs a mapping"));
            };
            let named = mapping.entries.iter().filter_map(|(name, value)| {
                let name = budget.marks().plain(name.as_str()?);
                Some((Arc::from(&*name), value.clone()))
            });
            let arguments = CallArgs { positional: Vec::new(), named: named.collect() };
            return format::braces(budget, text, arguments);
        }
        "split" | "rsplit" => return split(budget, text, method == "rsplit", arguments),
        "splitlines" => {
            let [keep_ends] = arguments.bind("splitlines", ["keepends"])?;
            let keep_ends = keep_ends.is_some_and(|keep_ends| keep_ends.is_true());
            let mut lines = budget.items();
            for (line, end) in filters::lines(text) {
                let line = if keep_ends { &text[line.start..end] } else { &text[line] };
                lines.push(budget.text(line)?)?;
            }
            return lines.into_value(SeqKind::List);
        }
        "replace" => {
            let [old, new, count] = arguments.bind("replace", ["old", "new", "count"])?;
            let (old, new) = (needed(method, &old)?, needed(method, &new)?);
            let count = count.and_then(|count| count.as_int()).unwrap_or(-1);
            return filters::replaced(budget, text, old, new, usize::try_from(count).ok());
        }
        "join" => {
            let [items] = arguments.bind("join", ["iterable"])?;
            let items = items.ok_or_else(|| Fail::other("join() needs an iterable"))?;
            let mut out = budget.out();
            for (idx, item) in items.iterate(budget)?.items.iter().enumerate() {
                if idx > 0 {
                    out.push(text)?;
                }
                let item = item.as_str();
                out.push(item.ok_or_else(|| Fail::other("join(): expected a text"))?)?;
            }
            return out.into_value();
        }
        "find" | "rfind" | "index" | "rindex" | "count" => {
            return search(budget, text, method, arguments);
        }
        "startswith" | "endswith" => return affix(text, method, arguments),
        "removeprefix" | "removesuffix" | "partition" | "rpartition" => {
            return parts(budget, text, method, arguments);
        }
        "strip" | "lstrip" | "rstrip" => {
            let [symbols] = arguments.bind(method, ["chars"])?;
            let symbols = symbols.filter(|symbols| !matches!(symbols, Value::None));
            return filters::stripped(
                budget,
                text,
                symbols.as_ref().map(|symbols| symbols.as_str().unwrap_or_default()),
                (method != "rstrip", method != "lstrip"),
            );
        }
        "center" | "ljust" | "rjust" | "zfill" => {
            return filters::justified(budget, text, method, arguments);
        }
        "expandtabs" => return expand_tabs(budget, text, arguments),
        "translate" => return translation::translate(budget, text, arguments),
        "maketrans" => return translation::table(budget, arguments),
        "encode" | "isidentifier" => {
            return Err(Fail::other(format!("the method '{method}' of texts is not supported")));
        }
        _ => {}
    }
    let [] = arguments.bind(method, [])?;
    let all = |is_wanted: fn(char) -> bool| {
        Ok(Value::Bool(!text.is_empty() && text.chars().all(is_wanted)))
    };
    match method {
        "isalnum" => all(char::is_alphanumeric),
        "isalpha" => all(char::is_alphabetic),
        "isdecimal" | "isdigit" | "isnumeric" => all(char::is_numeric),
        "isspace" => all(char::is_whitespace),
        "isprintable" => {
            Ok(Value::Bool(text.chars().all(|c| c == ' ' || python_text::is_printable(c))))
        }
        "isascii" => Ok(Value::Bool(text.is_ascii())),
        "islower" | "isupper" => Ok(Value::Bool(is_cased(text, method == "isupper"))),
        "istitle" => {
            let title = filters::recased(budget, text, "titlecase")?;
            Ok(Value::Bool(title.as_str() == Some(text) && text.contains(char::is_uppercase)))
        }
        "title" => filters::recased(budget, text, "titlecase"),
        _ => filters::recased(budget, text, method),
    }
}

fn needed<'v>(method: &str, value: &'v Option<Value>) -> Result<&'v str, Fail> {
    let text = value.as_ref().and_then(Value::as_str);
    text.ok_or_else(|| Fail::other(format!("{method}() needs a text")))
}

fn split(budget: &Budget, text: &str, at_end: bool, arguments: CallArgs) -> Result<Value, Fail> {
    let [separator, n_max] = arguments.bind("split", ["sep", "maxsplit"])?;
    let n_max = n_max.and_then(|n_max| n_max.as_int()).unwrap_or(-1);
    let n_max = usize::try_from(n_max).unwrap_or(usize::MAX);
    let mut parts = budget.items();
    let separator = separator.filter(|separator| !matches!(separator, Value::None));
    let Some(separator) = separator else {
        return split_at_space(budget, text, at_end, n_max);
    };
    let separator = separator.as_str().filter(|separator| !separator.is_empty());
    let separator = separator.ok_or_else(|| Fail::other("empty separator"))?;
    if at_end {
        let mut found: Vec<Value> = Vec::new();
        budget.room(text.len() / separator.len(), size_of::<Value>())?;
        for part in text.rsplitn(n_max.saturating_add(1), separator) {
            found.push(budget.text(part)?);
        }
        return budget.collect(SeqKind::List, found.into_iter().rev());
    }
    for part in text.splitn(n_max.saturating_add(1), separator) {
        parts.push(budget.text(part)?)?;
    }
    parts.into_value(SeqKind::List)
}

fn split_at_space(budget: &Budget, text: &str, at_end: bool, n_max: usize) -> Result<Value, Fail> {
    let mut found: Vec<&str> = Vec::new();
    let mut rest = if at_end { text.trim_end() } else { text.trim_start() };
    budget.room(text.len() / 2 + 1, size_of::<&str>())?;
    while !rest.is_empty() {
        let border = match found.len() == n_max {
            true => None,
            false if at_end => rest.rfind(char::is_whitespace),
            false => rest.find(char::is_whitespace),
        };
        let Some(at) = border else {
            found.push(rest);
            break;
        };
        let (before, behind) = rest.split_at(at);
        if at_end {
            found.push(behind.trim_start());
            rest = before.trim_end();
        } else {
            found.push(before);
            rest = behind.trim_start();
        }
    }
    if at_end {
        found.reverse();
    }
    let mut parts = budget.items();
    for part in found {
        parts.push(budget.text(part)?)?;
    }
    parts.into_value(SeqKind::List)
}

/// The bounds of a search, and what lies between them with its first character's index.
fn within<'t>(text: &'t str, from: &Option<Value>, to: &Option<Value>) -> Option<(&'t str, usize)> {
    let n_chars = text.chars().count() as i128;
    let bound = |bound: &Option<Value>, default: i128| {
        let bound = bound.as_ref().and_then(Value::as_int).unwrap_or(default);
        if bound < 0 { bound.saturating_add(n_chars).max(0) } else { bound }
    };
    let (from, to) = (bound(from, 0), bound(to, n_chars).min(n_chars));
    if from > to {
        return None;
    }
    let part = access::sub_text(text, Some(from), Some(to));
    Some((part, from as usize))
}

fn search(budget: &Budget, text: &str, method: &str, arguments: CallArgs) -> Result<Value, Fail> {
    let [wanted, from, to] = arguments.bind(method, ["sub", "start", "end"])?;
    let wanted = needed(method, &wanted)?;
    let within = within(text, &from, &to);
    budget.read(4 * text.len())?;
    if method == "count" {
        return Ok(within.map_or(0, |(part, _)| part.matches(wanted).count()).into());
    }
    let is_last = method.starts_with('r');
    let found = within.and_then(|(part, first)| {
        let at = if is_last { part.rfind(wanted) } else { part.find(wanted) }?;
        Some(first + part[..at].chars().count())
    });
    match found {
        Some(idx) => Ok(idx.into()),
        None if method.ends_with("find") => Ok(Value::Int(-1)),
        None => Err(Fail::other("substring not found")),
    }
}

fn affix(text: &str, method: &str, arguments: CallArgs) -> Result<Value, Fail> {
    let [wanted, from, to] = arguments.bind(method, ["affix", "start", "end"])?;
    let Some((part, _)) = within(text, &from, &to) else { return Ok(Value::Bool(false)) };
    let is_there = |wanted: &Value| match wanted.as_str() {
        Some(wanted) if method == "startswith" => Ok(part.starts_with(wanted)),
        Some(wanted) => Ok(part.ends_with(wanted)),
        None => Err(Fail::other(format!("{method}() needs a text or a tuple of texts"))),
    };
    match &wanted {
        Some(Value::Seq(all)) if all.kind == SeqKind::Tuple => {
            for wanted in &all.items {
                if is_there(wanted)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        Some(wanted) => is_there(wanted).map(Value::Bool),
        None => Err(Fail::other(format!("{method}() needs a text"))),
    }
}

fn parts(budget: &Budget, text: &str, method: &str, arguments: CallArgs) -> Result<Value, Fail> {
    let [given] = arguments.bind(method, ["text"])?;
    let given = needed(method, &given)?;
    let parts = match method {
        "removeprefix" => return budget.text(text.strip_prefix(given).unwrap_or(text)),
        "removesuffix" => return budget.text(text.strip_suffix(given).unwrap_or(text)),
        _ if given.is_empty() => return Err(Fail::other("empty separator")),
        "partition" => match text.split_once(given) {
            Some((head, tail)) => [head, given, tail],
            None => [text, "", ""],
        },
        _ => match text.rsplit_once(given) {
            Some((head, tail)) => [head, given, tail],
            None => ["", "", text],
        },
    };
    let mut made = budget.items();
    for part in parts {
        made.push(budget.text(part)?)?;
    }
    made.into_value(SeqKind::Tuple)
}

fn expand_tabs(budget: &Budget, text: &str, arguments: CallArgs) -> Result<Value, Fail> {
    let [size] = arguments.bind("expandtabs", ["tabsize"])?;
    let size = size.and_then(|size| size.as_int()).unwrap_or(8).max(0);
    let size = usize::try_from(size).map_err(|_| Fail::memory(format_args!("{size} spaces")))?;
    let mut out = budget.out();
    let mut column = 0;
    for symbol in text.chars() {
        match symbol {
            '\t' => {
                let n_spaces = if size == 0 { 0 } else { size - column % size };
                out.fill(' ', n_spaces)?;
                column += n_spaces;
            }
            _ => {
                out.push_char(symbol)?;
                column = if matches!(symbol, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    out.into_value()
}
