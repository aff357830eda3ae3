//! Methods of Python's strings and lists that templates call.

use minijinja::value::{Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Call `method` of `value`: ours first, then the engine's own Python methods.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let ours = match (value.as_str(), value.kind(), method) {
        (Some(text), _, _) => string_method(text, method, args)?,
        (_, ValueKind::Seq, "index") => {
            let (wanted,): (&Value,) = from_args(args)?;
            let idx = value.try_iter()?.position(|item| item == *wanted);
            Some(idx.ok_or_else(|| failed("value is not in the list"))?.into())
        }
        (_, ValueKind::Map, "copy") => {
            let () = from_args(args)?;
            Some(value.clone())
        }
        _ => None,
    };
    match ours {
        Some(result) => Ok(result),
        None => unknown_method_callback(state, value, method, args),
    }
}

fn string_method(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "partition" => {
            let (separator,): (&str,) = from_args(args)?;
            match text.split_once(non_empty(separator)?) {
                Some((head, tail)) => parts([head, separator, tail]),
                None => parts([text, "", ""]),
            }
        }
        "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            match text.rsplit_once(non_empty(separator)?) {
                Some((head, tail)) => parts([head, separator, tail]),
                None => parts(["", "", text]),
            }
        }
        "rsplit" => {
            let (separator, n_max): (&str, Option<i64>) = from_args(args)?;
            split_from_end(text, non_empty(separator)?, n_max)
        }
        "index" => {
            let (wanted,): (&str,) = from_args(args)?;
            let idx = text.find(wanted).ok_or_else(|| failed("substring not found"))?;
            text[..idx].chars().count().into()
        }
        _ => return Ok(None),
    }))
}

fn split_from_end(text: &str, separator: &str, n_max: Option<i64>) -> Value {
    let n_max = n_max.and_then(|n_max| usize::try_from(n_max).ok()).unwrap_or(usize::MAX - 1);
    let mut fields: Vec<&str> = text.rsplitn(n_max.saturating_add(1), separator).collect();
    fields.reverse();
    fields.into_iter().collect()
}

fn parts(parts: [&str; 3]) -> Value {
    Value::from(Tuple::from(parts.map(Value::from)))
}

fn non_empty(separator: &str) -> Result<&str, Error> {
    if separator.is_empty() {
        return Err(failed("empty separator"));
    }
    Ok(separator)
}

fn failed(why: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}
