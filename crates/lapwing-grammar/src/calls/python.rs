//! `name(a=1, b="x")`: calls with keyword arguments, whose values are written as JSON.

use serde_json::{Map, Value};

use super::Tool;
use crate::error::FormError;
use crate::rules::{Rules, literal, schema};

/// What may stand beside `properties` where arguments are written one by one.
const KNOWN: [&str; 11] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "$defs",
    "definitions",
    "$schema",
    "title",
    "description",
    "strict",
    "default",
];

/// A call of the `tool_idx`th tool: what is required comes, in the order of the schema; the rest may.
pub(crate) fn call(
    tool: &Tool<'_>,
    tool_idx: usize,
    rules: &mut Rules,
) -> Result<String, FormError> {
    let refused = |reason: String| FormError::Parameters { reason };
    let nothing = Map::new();
    let members = tool.parameters.as_object().unwrap_or(&nothing);
    if let Some(key) = members.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(refused(format!("this model writes arguments one by one, beside {key:?}")));
    }
    let properties = members.get("properties").and_then(Value::as_object).unwrap_or(&nothing);
    let required: Vec<&str> = members
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    if let Some(name) = required.iter().find(|name| !properties.contains_key(**name)) {
        return Err(refused(format!("{name:?} is required and not described")));
    }
    let open = literal(&format!("{}(", tool.name));
    // From the last: what may come from an argument on, where none came before it (`first`) and
    // behind others (`more`).
    let (mut first, mut more): (Option<String>, Option<String>) = (None, None);
    for (idx, (name, described)) in properties.iter().enumerate().rev() {
        if !is_name(name) {
            return Err(refused(format!("{name:?} is no name of an argument in Python")));
        }
        let (argument, next) = (format!("argument_{tool_idx}_{idx}"), format!("{tool_idx}_{idx}"));
        let described = schema(&with_definitions(described, members))?;
        rules.rule(&argument, &format!("{} {described}", literal(&format!("{name}="))));
        let behind = more.take().unwrap_or_default();
        let is_required = required.contains(&name.as_str());
        let begun = format!("{argument} {behind}");
        let body = match first.take() {
            _ if is_required => begun,
            None => format!("({begun})?"),
            Some(first) => format!("({begun}) | {first}"),
        };
        rules.rule(&format!("first_{next}"), &body);
        let optional = if is_required { "" } else { "?" };
        rules.rule(&format!("more_{next}"), &format!(r#"(", " {argument}){optional} {behind}"#));
        first = Some(format!("first_{next}"));
        more = Some(format!("more_{next}"));
    }
    Ok(format!(r#"{open} {} ")""#, first.unwrap_or_default()))
}

fn is_name(name: &str) -> bool {
    let mut symbols = name.chars();
    symbols.next().is_some_and(|symbol| symbol.is_ascii_alphabetic() || symbol == '_')
        && symbols.all(|symbol| symbol.is_ascii_alphanumeric() || symbol == '_')
}

/// A parameter's schema with the definitions that it may refer to.
fn with_definitions(described: &Value, members: &Map<String, Value>) -> Value {
    let mut described = described.clone();
    if let Some(own) = described.as_object_mut() {
        for key in ["$defs", "definitions"] {
            if let Some(definitions) = members.get(key) {
                own.insert(key.to_owned(), definitions.clone());
            }
        }
    }
    described
}
