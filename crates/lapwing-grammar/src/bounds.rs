//! What is looked at in a schema before anything is compiled.

use serde_json::Value;

use crate::error::FormError;

/// Bytes of a schema as JSON.
const BYTES_MAX: u64 = 256 << 10;
/// How deep a schema may be.
const DEPTH_MAX: u64 = 64;
/// Values in a schema.
const VALUES_MAX: u64 = 20_000;
/// The largest number that says how often something comes at least, as `minItems`.
const LEAST_MAX: u64 = 1_000;
/// The largest number that says how often something may come, as `maxLength`.
const MOST_MAX: u64 = 100_000;
/// Bytes of a regular expression.
const PATTERN_BYTES_MAX: u64 = 1_000;

/// Demand that a schema is not beyond what is tried.
pub(crate) fn check(schema: &Value) -> Result<(), FormError> {
    let mut n_values = 0;
    walk(schema, 1, &mut n_values)?;
    require("its size in bytes", schema.to_string().len() as u64, BYTES_MAX)
}

fn walk(value: &Value, depth: u64, n_values: &mut u64) -> Result<(), FormError> {
    *n_values += 1;
    require("its depth", depth, DEPTH_MAX)?;
    require("the number of its values", *n_values, VALUES_MAX)?;
    match value {
        Value::Object(members) => members.iter().try_for_each(|(key, value)| {
            keyword(key, value)?;
            walk(value, depth + 1, n_values)
        }),
        Value::Array(values) => {
            values.iter().try_for_each(|value| walk(value, depth + 1, n_values))
        }
        _ => Ok(()),
    }
}

/// Keywords whose number or text is work by itself.
fn keyword(key: &str, value: &Value) -> Result<(), FormError> {
    let number = value.as_u64().unwrap_or(0);
    match key {
        "minItems" => require("minItems", number, LEAST_MAX),
        "minProperties" => require("minProperties", number, LEAST_MAX),
        "minLength" => require("minLength", number, LEAST_MAX),
        "maxLength" => require("maxLength", number, MOST_MAX),
        "pattern" => {
            let n_bytes = value.as_str().map_or(0, |pattern| pattern.len() as u64);
            require("the size of a pattern in bytes", n_bytes, PATTERN_BYTES_MAX)
        }
        _ => Ok(()),
    }
}

fn require(what: &'static str, found: u64, allowed: u64) -> Result<(), FormError> {
    if found <= allowed { Ok(()) } else { Err(FormError::TooLarge { what, found, allowed }) }
}
