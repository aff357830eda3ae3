//! Messages, and JSON as template values.

use minijinja::Value;
use serde_json::Map;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool`, or what else the template knows.
    pub role: String,
    /// A text, a list of content parts, or null; `None` when the message has no such field.
    pub content: Option<serde_json::Value>,
    /// Further fields: `tool_calls`, `name`, `reasoning_content`, …
    pub extra: Map<String, serde_json::Value>,
}

impl Message {
    /// A message that is only text.
    pub fn new(role: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: Some(serde_json::Value::String(text.into())),
            extra: Map::new(),
        }
    }

    /// A message from its JSON object.
    ///
    /// # Errors
    ///
    /// When it is no object, or has no `role` that is a string.
    pub fn from_json(json: serde_json::Value) -> Result<Self, NotAMessage> {
        let serde_json::Value::Object(mut extra) = json else { return Err(NotAMessage) };
        let Some(serde_json::Value::String(role)) = extra.shift_remove("role") else {
            return Err(NotAMessage);
        };
        let content = extra.shift_remove("content");
        Ok(Self { role, content, extra })
    }

    pub(crate) fn to_value(&self) -> Value {
        let role = ("role", Value::from(&self.role));
        let content = self.content.iter().map(|content| ("content", value_of(content)));
        let extra = self.extra.iter().map(|(name, value)| (&**name, value_of(value)));
        Value::from_pairs(std::iter::once(role).chain(content).chain(extra))
    }
}

/// JSON that is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message is a JSON object with a `role` that is a string")]
pub struct NotAMessage;

/// JSON as a value of the template engine; objects keep their order.
pub(crate) fn value_of(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(value) => Value::from(*value),
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(items) => items.iter().map(value_of).collect(),
        serde_json::Value::Object(fields) => {
            Value::from_pairs(fields.iter().map(|(name, value)| (&**name, value_of(value))))
        }
        serde_json::Value::Number(number) => {
            let integer = number.as_i64().map(Value::from);
            let integer = integer.or_else(|| number.as_u64().map(Value::from));
            integer.unwrap_or_else(|| Value::from(number.as_f64()))
        }
    }
}
