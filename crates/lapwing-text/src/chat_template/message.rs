//! Messages, and JSON as template values.

use serde_json::Map;

use crate::jinja::value::{Dict, Value};

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

    /// Its JSON object, of which [`Message::from_json`] makes the same.
    pub fn to_json(&self) -> serde_json::Value {
        let role = ("role".to_owned(), serde_json::Value::String(self.role.clone()));
        let content = self.content.clone().map(|content| ("content".to_owned(), content));
        let extra = self.extra.iter().map(|(name, value)| (name.clone(), value.clone()));
        [role].into_iter().chain(content).chain(extra).collect()
    }

    pub(crate) fn to_value(&self) -> Value {
        self.to_value_with(&mut value_of)
    }

    /// The value of a template, whose texts and containers `value` makes.
    pub(crate) fn to_value_with(
        &self,
        value: &mut dyn FnMut(&serde_json::Value) -> Value,
    ) -> Value {
        let mut entries = vec![("role".into(), Value::from(&*self.role))];
        entries.extend(self.content.iter().map(|content| ("content".into(), value(content))));
        for (name, extra) in &self.extra {
            let name = serde_json::Value::String(name.clone());
            entries.push((value(&name), value(extra)));
        }
        Dict::given(entries)
    }
}

/// JSON that is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message is a JSON object with a `role` that is a string")]
pub struct NotAMessage;

/// JSON as a value of the template engine; objects keep their order.
pub(crate) fn value_of(json: &serde_json::Value) -> Value {
    value_with(json, &|text| Value::from(text))
}

/// JSON as a value of the template engine, whose texts, names among them, `text` makes.
pub(crate) fn value_with(json: &serde_json::Value, text: &dyn Fn(&str) -> Value) -> Value {
    match json {
        serde_json::Value::Null => Value::None,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::String(string) => text(string),
        serde_json::Value::Array(items) => {
            Value::given_list(items.iter().map(|item| value_with(item, text)))
        }
        serde_json::Value::Object(fields) => {
            Dict::given(fields.iter().map(|(name, value)| (text(name), value_with(value, text))))
        }
        serde_json::Value::Number(number) => {
            let integer = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
            let float = || Value::Float(number.as_f64().unwrap_or(f64::NAN));
            integer.map_or_else(float, Value::Int)
        }
    }
}
