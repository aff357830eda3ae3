//! Messages of Ollama's interface, and the same in OpenAI's form, which workers read.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::checks::no_images;
use crate::refusal::Refusal;

/// A message of a request or an answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ollama::conversation::Message)]
pub(super) struct Message {
    pub(super) role: String,
    /// Text; always there in answers.
    #[serde(default)]
    pub(super) content: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) thinking: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) images: Option<Vec<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tool_calls: Option<Vec<ToolCall>>,
    /// Of a result: which function gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tool_name: Option<String>,
    /// Of a result: which call it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tool_call_id: Option<String>,
}

/// A call of a function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ollama::conversation::ToolCall)]
pub(super) struct ToolCall {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    pub(super) function: Function,
}

/// A function with its arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ollama::conversation::Function)]
pub(super) struct Function {
    /// Which call of the message, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<usize>,
    pub(super) name: String,
    /// An object. Some clients send back a string that spells one.
    #[serde(default)]
    pub(super) arguments: Value,
}

/// Messages in OpenAI's form. Calls without ids get some, and results that do not say which call
/// they answer answer the calls before them in order: templates of some families ask for both.
pub(super) fn messages(messages: Vec<Message>) -> Result<Vec<Value>, Refusal> {
    let mut n_calls = 0;
    // Calls that have no result yet: id and name.
    let mut open: Vec<(String, String)> = Vec::new();
    messages.into_iter().map(|message| of_message(message, &mut n_calls, &mut open)).collect()
}

fn of_message(
    message: Message,
    n_calls: &mut usize,
    open: &mut Vec<(String, String)>,
) -> Result<Value, Refusal> {
    let Message { role, content, thinking, images, tool_calls, tool_name, tool_call_id } = message;
    if images.is_some_and(|images| !images.is_empty()) {
        return Err(no_images("messages"));
    }
    let mut fields = Map::new();
    let content = if content.is_null() { "".into() } else { content };
    fields.insert("content".to_owned(), content);
    if let Some(thinking) = thinking.filter(|thinking| !thinking.is_empty()) {
        fields.insert("reasoning_content".to_owned(), thinking.into());
    }
    if let Some(calls) = tool_calls.filter(|calls| !calls.is_empty()) {
        open.clear();
        let calls = calls.into_iter().map(|call| {
            *n_calls += 1;
            // Nine letters and digits: a family of templates takes nothing else.
            let id = call.id.unwrap_or_else(|| format!("call{n_calls:05}"));
            let Function { name, arguments, .. } = call.function;
            open.push((id.clone(), name.clone()));
            let arguments = if arguments.is_null() { json!({}) } else { arguments };
            let function = json!({"name": name, "arguments": arguments});
            json!({"id": id, "type": "function", "function": function})
        });
        fields.insert("tool_calls".to_owned(), calls.collect());
    }
    if role == "tool" {
        let answers = |(id, name): &(String, String)| match (&tool_call_id, &tool_name) {
            (Some(wanted), _) => wanted == id,
            (None, Some(wanted)) => wanted == name,
            (None, None) => true,
        };
        let call = open.iter().position(answers).map(|idx| open.remove(idx));
        let (id, name) = call.unzip();
        if let Some(id) = tool_call_id.or(id) {
            fields.insert("tool_call_id".to_owned(), id.into());
        }
        if let Some(name) = tool_name.or(name) {
            fields.insert("name".to_owned(), name.into());
        }
    }
    fields.insert("role".to_owned(), role.into());
    Ok(Value::Object(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: Value, expected: Value) {
        let read: Vec<Message> = serde_json::from_value(given).unwrap();
        let again = serde_json::to_value(&read).unwrap();
        assert_eq!(serde_json::from_value::<Vec<Message>>(again).unwrap(), read);
        assert_eq!(Value::Array(messages(read).unwrap()), expected);
    }

    #[test]
    fn calls_and_results_find_each_other_without_ids() {
        let call = |name: &str| json!({"function": {"name": name, "arguments": {"x": 1}}});
        let told = |id: &str, name: &str| {
            let function = json!({"name": name, "arguments": {"x": 1}});
            json!({"id": id, "type": "function", "function": function})
        };
        check(
            json!([
                {"role": "user", "content": "hi"},
                {"role": "assistant", "tool_calls": [call("f"), call("g"), call("g")]},
                {"role": "tool", "content": "1", "tool_name": "g"},
                {"role": "tool", "content": "2"},
                {"role": "tool", "content": "3"},
                {"role": "tool", "content": "4"},
            ]),
            json!([
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "", "tool_calls": [
                    told("call00001", "f"), told("call00002", "g"), told("call00003", "g"),
                ]},
                {"role": "tool", "content": "1", "tool_call_id": "call00002", "name": "g"},
                {"role": "tool", "content": "2", "tool_call_id": "call00001", "name": "f"},
                {"role": "tool", "content": "3", "tool_call_id": "call00003", "name": "g"},
                {"role": "tool", "content": "4"},
            ]),
        );
    }

    #[test]
    fn ids_thoughts_and_nulls_are_taken_as_they_are() {
        let call = json!({"id": "x", "function": {"index": 0, "name": "f", "arguments": "{}"}});
        check(
            json!([
                {"role": "assistant", "content": null, "thinking": "hm", "tool_calls": [call],
                    "images": null},
                {"role": "tool", "content": "1", "tool_call_id": "x"},
                {"role": "assistant", "content": "done", "thinking": "", "tool_calls": []},
            ]),
            json!([
                {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [
                    {"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                ]},
                {"role": "tool", "content": "1", "tool_call_id": "x", "name": "f"},
                {"role": "assistant", "content": "done"},
            ]),
        );
    }

    #[test]
    fn pictures_are_refused() {
        let message = json!([{"role": "user", "content": "what is it?", "images": ["aGk="]}]);
        let refusal = messages(serde_json::from_value(message).unwrap()).unwrap_err();
        assert!(refusal.message.contains("pictures"), "{refusal}");
    }
}
