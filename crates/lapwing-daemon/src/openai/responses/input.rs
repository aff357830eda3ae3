//! What a response answers: items become messages of a conversation.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::refusal::Refusal;

/// A text, or items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a text or a list of items")]
pub(crate) enum InputItems {
    /// A message of the user.
    Text(String),
    /// Messages, thoughts, calls and what came of them.
    Items(Vec<Map<String, Value>>),
}

impl Default for InputItems {
    fn default() -> InputItems {
        InputItems::Items(Vec::new())
    }
}

impl InputItems {
    /// The messages, with the instructions before them.
    pub(super) fn messages(self, instructions: Option<String>) -> Result<Vec<Value>, Refusal> {
        let mut messages = Messages::default();
        if let Some(instructions) = instructions.filter(|text| !text.is_empty()) {
            messages.list.push(json!({"role": "system", "content": instructions}));
        }
        match self {
            InputItems::Text(text) => messages.list.push(json!({"role": "user", "content": text})),
            InputItems::Items(items) => {
                for (idx, item) in items.into_iter().enumerate() {
                    messages
                        .add(item)
                        .map_err(|message| Refusal::field(format!("input[{idx}]"), message))?;
                }
            }
        }
        if messages.list.is_empty() {
            return Err(Refusal::field("input", "expected a text or items, found nothing"));
        }
        Ok(messages.list)
    }
}

/// Messages as they come together.
#[derive(Default)]
struct Messages {
    list: Vec<Value>,
    /// A thought that belongs to the next message of the assistant.
    thought: Option<String>,
}

impl Messages {
    fn add(&mut self, item: Map<String, Value>) -> Result<(), String> {
        let text = |key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
        let needed = |key: &str| text(key).ok_or_else(|| format!("it has no {key}"));
        match item.get("type").and_then(Value::as_str) {
            None | Some("message") => {
                let content = content(item.get("content"))?;
                self.message(&needed("role")?, content);
            }
            Some("function_call") => {
                let function = json!({"name": needed("name")?, "arguments": needed("arguments")?});
                let call =
                    json!({"id": needed("call_id")?, "type": "function", "function": function});
                self.call(call);
            }
            Some("function_call_output") => {
                let content = content(item.get("output"))?;
                let id = needed("call_id")?;
                self.list.push(json!({"role": "tool", "tool_call_id": id, "content": content}));
            }
            Some("reasoning") => {
                let parts = item.get("content").and_then(Value::as_array);
                let texts = parts.into_iter().flatten().filter_map(|part| part.get("text"));
                let thought: Vec<&str> = texts.filter_map(Value::as_str).collect();
                self.thought = Some(thought.join("\n")).filter(|thought| !thought.is_empty());
            }
            Some("item_reference") => return Err("no items are stored".to_owned()),
            Some(_) => {
                return Err("expected a message, function_call, function_call_output or reasoning"
                    .to_owned());
            }
        }
        Ok(())
    }

    fn message(&mut self, role: &str, content: String) {
        let mut message = json!({"role": role, "content": content});
        if role == "assistant" {
            self.think(&mut message);
        }
        self.list.push(message);
    }

    /// Calls belong to the message of the assistant before them, if there is one.
    fn call(&mut self, call: Value) {
        let is_assistant = |message: &&mut Value| message["role"] == "assistant";
        if let Some(message) = self.list.last_mut().filter(is_assistant)
            && self.thought.is_none()
        {
            match message.get_mut("tool_calls").and_then(Value::as_array_mut) {
                Some(calls) => calls.push(call),
                None => message["tool_calls"] = json!([call]),
            }
            return;
        }
        let mut message = json!({"role": "assistant", "content": "", "tool_calls": [call]});
        self.think(&mut message);
        self.list.push(message);
    }

    fn think(&mut self, message: &mut Value) {
        if let Some(thought) = self.thought.take() {
            message["reasoning_content"] = thought.into();
        }
    }
}

/// The text of a content.
fn content(content: Option<&Value>) -> Result<String, String> {
    let part = |part: &Value| match part.get("type").and_then(Value::as_str) {
        Some("input_text" | "output_text" | "text") => {
            let text = part.get("text").and_then(Value::as_str);
            text.map(str::to_owned).ok_or_else(|| "a text has no text".to_owned())
        }
        Some("refusal") => {
            Ok(part.get("refusal").and_then(Value::as_str).unwrap_or_default().to_owned())
        }
        Some("input_image" | "input_audio" | "input_file") => {
            Err("only text can be read: pictures, sounds and files are not understood".to_owned())
        }
        _ => Err("expected a part of the type input_text or output_text".to_owned()),
    };
    match content {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            Ok(parts.iter().map(part).collect::<Result<Vec<_>, _>>()?.join("\n"))
        }
        _ => Err("expected content as a text or a list of parts".to_owned()),
    }
}

/// A function in the form of the chat interface. Tools that OpenAI itself runs are none here.
pub(super) fn tool(tool: &Value) -> Option<Value> {
    let mut function = tool.as_object()?.clone();
    let is_function = function.shift_remove("type").is_some_and(|kind| kind == "function");
    let is_flat = function.contains_key("name");
    match (is_function, is_flat) {
        (true, true) => Some(json!({"type": "function", "function": function})),
        (true, false) => Some(tool.clone()),
        (false, _) => None,
    }
}

/// A function as it is told in the response: the schema requires all its fields.
pub(super) fn told_tool(tool: &Value) -> Value {
    let mut told = tool.clone();
    if let Some(function) = told.as_object_mut() {
        function.entry("parameters").or_insert_with(|| json!({}));
        function.entry("strict").or_insert(Value::Null);
    }
    told
}

/// Which tool is to be called, in the form of the chat interface.
pub(super) fn tool_choice(choice: &Value) -> Result<Value, Refusal> {
    match choice.get("type").and_then(Value::as_str) {
        None | Some("function") => Ok(choice.clone()),
        // The others stay on offer: their schemas are a part of the prompt.
        Some("allowed_tools") => Ok(choice.get("mode").cloned().unwrap_or_else(|| "auto".into())),
        Some(_) => {
            let message = "expected none, auto, required or a function";
            Err(Refusal::field("tool_choice", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: Value, expected: Value) {
        let items: InputItems = serde_json::from_value(input.clone()).unwrap();
        assert_eq!(serde_json::to_value(&items).unwrap(), input);
        assert_eq!(Value::Array(items.messages(None).unwrap()), expected);
    }

    #[test]
    fn items_become_messages() {
        check(json!("hello"), json!([{"role": "user", "content": "hello"}]));
        check(
            json!([
                {"role": "developer", "content": "be kind"},
                {"type": "message", "role": "user", "content": [
                    {"type": "input_text", "text": "one"}, {"type": "input_text", "text": "two"}]},
                {"type": "reasoning", "id": "rs_1", "summary": [],
                    "content": [{"type": "reasoning_text", "text": "hm"}]},
                {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                    "content": [{"type": "output_text", "text": "I look", "annotations": []}]},
                {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
                {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "1"},
                {"type": "function_call_output", "call_id": "c2",
                    "output": [{"type": "input_text", "text": "2"}]},
            ]),
            json!([
                {"role": "developer", "content": "be kind"},
                {"role": "user", "content": "one\ntwo"},
                {"role": "assistant", "content": "I look", "reasoning_content": "hm", "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "1"},
                {"role": "tool", "tool_call_id": "c2", "content": "2"},
            ]),
        );
    }

    #[test]
    fn what_is_no_item_is_refused_by_its_place() {
        let check = |input: Value, param: &str, expected: &str| {
            let items: InputItems = serde_json::from_value(input).unwrap();
            let refusal = items.messages(None).unwrap_err();
            assert_eq!(refusal.param.as_deref(), Some(param));
            assert!(refusal.message.contains(expected), "{refusal}");
        };
        check(json!([]), "input", "found nothing");
        let user = json!({"role": "user", "content": "a"});
        check(json!([user, {"type": "item_reference", "id": "x"}]), "input[1]", "stored");
        check(json!([{"role": "user"}]), "input[0]", "content");
        check(json!([{"content": "a"}]), "input[0]", "role");
        let image = json!([{"type": "input_image", "image_url": "x"}]);
        check(json!([{"role": "user", "content": image}]), "input[0]", "pictures");
        check(json!([{"type": "web_search_call"}]), "input[0]", "expected a message");
    }
}
