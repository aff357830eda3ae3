//! Calls of functions, as a model's family writes them.

mod python;

use lapwing_text::{ReplyFormat, Written, WrittenCalls, WrittenMessages};
use serde_json::{Value, json};

use crate::error::FormError;
use crate::rules::{Rules, literal, marker, schema};

/// More calls than these are not in one answer: small models, once they must call, go on with it to the
/// end of their tokens.
const N_CALLS_MAX: usize = 16;

/// A function that may be called.
pub(crate) struct Tool<'a> {
    pub(crate) name: &'a str,
    pub(crate) parameters: Value,
}

/// The rules of calls of `tools`, at least one, or exactly one of `name`; gives the rule's body.
pub(crate) fn rules(
    reply: &ReplyFormat,
    tools: &[Value],
    name: Option<&str>,
    rules: &mut Rules,
) -> Result<String, FormError> {
    let tools: Vec<Tool<'_>> = tools.iter().map(tool).collect::<Result<_, _>>()?;
    if tools.is_empty() {
        return Err(FormError::NoTools);
    }
    let tools: Vec<Tool<'_>> =
        tools.into_iter().filter(|tool| name.is_none_or(|name| tool.name == name)).collect();
    if tools.is_empty() {
        return Err(FormError::NoSuchTool);
    }
    let how = reply.written_calls()?;
    let mut call = |(tool_idx, tool): (usize, &Tool<'_>)| match how {
        WrittenCalls::Objects { .. } => object(tool, ["name", "arguments"]),
        WrittenCalls::List { keys, .. } | WrittenCalls::Bare { keys } => object(tool, keys),
        WrittenCalls::Named { open, arguments } => {
            let (open, arguments) = (marker(open), marker(arguments));
            Ok(format!("{open} {} {arguments} {}", literal(tool.name), schema(&tool.parameters)?))
        }
        WrittenCalls::Python { .. } => python::call(tool, tool_idx, rules),
        WrittenCalls::Nested { each: [open, close], arguments, .. } => {
            nested(tool, [marker(open), marker(arguments), marker(close)])
        }
        WrittenCalls::Message(messages) => message(tool, messages),
    };
    let calls: Vec<String> = tools.iter().enumerate().map(&mut call).collect::<Result<_, _>>()?;
    rules.rule("call", &calls.join(" | "));
    Ok(around(how, name.is_some()))
}

/// What surrounds calls and stands between them.
fn around(how: WrittenCalls, is_one: bool) -> String {
    let several = |separator: &str, call: &str| match is_one {
        true => call.to_owned(),
        false => format!("{call} ({separator} {call}){{0,{}}}", N_CALLS_MAX - 1),
    };
    let list = |separator: &str| several(&literal(separator), "call");
    match how {
        WrittenCalls::Objects { open, close } => {
            let each = format!(r#"{} "\n" call "\n" {}"#, marker(open), marker(close));
            several(r#""\n""#, &each)
        }
        WrittenCalls::List { open, close, .. } => {
            format!(r#"{} "[" {} "]" {}"#, marker(open), list(", "), optional(close))
        }
        WrittenCalls::Python { open, close } => {
            format!(r#"{} "[" {} "]" {}"#, marker(open), list(", "), marker(close))
        }
        WrittenCalls::Named { .. } => several("", "call"),
        WrittenCalls::Nested { all: [open, close], .. } => {
            format!("{} {} {}", marker(open), list("\n"), marker(close))
        }
        WrittenCalls::Bare { .. } | WrittenCalls::Message(_) => "call".to_owned(),
    }
}

fn optional(written: Option<Written>) -> String {
    written.map_or_else(String::new, marker)
}

fn tool(tool: &Value) -> Result<Tool<'_>, FormError> {
    let function = tool.get("function").unwrap_or(tool);
    let name = function.get("name").and_then(Value::as_str).unwrap_or_default();
    let is_readable = |symbol: char| symbol.is_ascii_alphanumeric() || "_-.".contains(symbol);
    if name.is_empty() || !name.chars().all(is_readable) {
        return Err(FormError::ToolName);
    }
    let parameters = match function.get("parameters") {
        None | Some(Value::Null) => json!({"type": "object", "additionalProperties": false}),
        Some(Value::Object(members)) => {
            let mut members = members.clone();
            // Arguments are an object, whatever the schema leaves open.
            members.entry("type").or_insert_with(|| "object".into());
            if members.get("type").and_then(Value::as_str) == Some("object")
                && ["additionalProperties", "patternProperties", "anyOf", "oneOf", "allOf", "$ref"]
                    .iter()
                    .all(|key| !members.contains_key(*key))
            {
                // As the authors of functions mean it: these parameters and no others.
                members.insert("additionalProperties".to_owned(), false.into());
            }
            Value::Object(members)
        }
        Some(_) => {
            let reason = "its parameters are no JSON schema".to_owned();
            return Err(FormError::Parameters { reason });
        }
    };
    Ok(Tool { name, parameters })
}

/// `{"name": "f", "arguments": {…}}`.
fn object(tool: &Tool<'_>, [name, arguments]: [&str; 2]) -> Result<String, FormError> {
    let before = format!(r#"{{"{name}": "{}", "{arguments}": "#, tool.name);
    Ok(format!(r#"{} {} "}}""#, literal(&before), schema(&tool.parameters)?))
}

/// A name and arguments between markers of their own.
fn nested(tool: &Tool<'_>, [open, arguments, close]: [String; 3]) -> Result<String, FormError> {
    let name = literal(tool.name);
    Ok(format!("{open} {name} {arguments} {} {close}", schema(&tool.parameters)?))
}

/// A message to a function.
fn message(tool: &Tool<'_>, messages: WrittenMessages) -> Result<String, FormError> {
    let recipient = literal(&format!("commentary to=functions.{} ", tool.name));
    let [channel, constrain, message] =
        [messages.channel, messages.constrain, messages.message].map(marker);
    let arguments = schema(&tool.parameters)?;
    Ok(format!(r#"{channel} {recipient} {constrain} "json" {message} {arguments}"#))
}
