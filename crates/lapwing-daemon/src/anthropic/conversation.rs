//! Messages and tools of Anthropic's interface in OpenAI's form, which workers read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::content::{Block, Content, Source};
use crate::checks::no_images;
use crate::refusal::Refusal;

/// A message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = anthropic::conversation::Message)]
pub(super) struct Message {
    pub(super) role: String,
    pub(super) content: Content,
}

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct Tool {
    /// `custom`, if anything: others are of Anthropic's own making.
    pub(super) r#type: Option<String>,
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) input_schema: Option<Map<String, Value>>,
}

/// The conversation in OpenAI's form.
pub(super) fn conversation(
    system: Option<Content>,
    messages: Vec<Message>,
) -> Result<Vec<Value>, Refusal> {
    if messages.is_empty() {
        return Err(Refusal::field("messages", "expected at least one message"));
    }
    let mut told = Conversation::default();
    if let Some(system) = system {
        told.say("system", texts(system, "system")?, Map::new());
    }
    for Message { role, content } in messages {
        match &*role {
            "user" => told.user(content)?,
            "assistant" => told.assistant(content)?,
            "system" => told.say("system", texts(content, "messages")?, Map::new()),
            _ => {
                let message = format!("expected role user, assistant or system, found {role:?}");
                return Err(Refusal::field("messages", message));
            }
        }
    }
    Ok(told.messages)
}

/// Tools in OpenAI's form.
pub(super) fn tools(tools: Vec<Tool>) -> Result<Vec<Value>, Refusal> {
    let tool = |Tool { r#type, name, description, input_schema }: Tool| {
        let (None | Some("custom"), Some(parameters)) = (r#type.as_deref(), input_schema) else {
            let kind = r#type.as_deref().unwrap_or("custom");
            let message = format!(
                "tool '{name}' of type {kind:?} cannot be offered: expected an input_schema, and \
                 no tool of Anthropic's own making"
            );
            return Err(Refusal::field("tools", message));
        };
        // In the order in which models have seen them, since templates write them out.
        let mut function = Map::from_iter([("name".to_owned(), name.into())]);
        if let Some(description) = description {
            function.insert("description".to_owned(), description.into());
        }
        function.insert("parameters".to_owned(), parameters.into());
        Ok(json!({"type": "function", "function": function}))
    };
    tools.into_iter().map(tool).collect()
}

#[derive(Default)]
struct Conversation {
    messages: Vec<Value>,
    /// Names of called functions by the ids of their calls.
    names: BTreeMap<String, String>,
}

impl Conversation {
    /// Add a message, unless there is nothing in it.
    fn say(&mut self, role: &str, texts: Vec<String>, fields: Map<String, Value>) {
        if texts.iter().all(String::is_empty) && fields.is_empty() && role == "system" {
            return;
        }
        let content = match <[String; 1]>::try_from(texts) {
            Ok([text]) => text.into(),
            Err(texts) if texts.is_empty() => match fields.contains_key("tool_calls") {
                true => Value::Null,
                false => "".into(),
            },
            Err(texts) => {
                texts.into_iter().map(|text| json!({"type": "text", "text": text})).collect()
            }
        };
        let mut message = Map::from_iter([("role".to_owned(), role.into())]);
        message.insert("content".to_owned(), content);
        message.extend(fields);
        self.messages.push(Value::Object(message));
    }

    /// A user's message: results of calls become messages of their own.
    fn user(&mut self, content: Content) -> Result<(), Refusal> {
        let mut said: Vec<String> = Vec::new();
        let n_before = self.messages.len();
        for block in blocks(content) {
            match block {
                Block::ToolResult { tool_use_id, content, is_error } => {
                    self.flush(&mut said);
                    let mut fields = Map::new();
                    if let Some(name) = self.names.get(&tool_use_id) {
                        fields.insert("name".to_owned(), name.clone().into());
                    }
                    fields.insert("tool_call_id".to_owned(), tool_use_id.into());
                    if is_error == Some(true) {
                        fields.insert("is_error".to_owned(), true.into());
                    }
                    let content = content.map(|content| texts(content, "messages"));
                    self.say("tool", content.transpose()?.unwrap_or_default(), fields);
                }
                Block::MidConvSystem { content } => {
                    self.flush(&mut said);
                    self.say("system", texts(content, "messages")?, Map::new());
                }
                block => said.extend(text(block, "messages")?),
            }
        }
        self.flush(&mut said);
        if self.messages.len() == n_before {
            self.say("user", said, Map::new());
        }
        Ok(())
    }

    fn flush(&mut self, said: &mut Vec<String>) {
        if !said.is_empty() {
            self.say("user", std::mem::take(said), Map::new());
        }
    }

    /// A message of the model.
    fn assistant(&mut self, content: Content) -> Result<(), Refusal> {
        let (mut said, mut thoughts, mut calls) = (Vec::new(), String::new(), Vec::new());
        for block in blocks(content) {
            match block {
                Block::ToolUse { id, name, input } => {
                    self.names.insert(id.clone(), name.clone());
                    let function = json!({"name": name, "arguments": input});
                    calls.push(json!({"id": id, "type": "function", "function": function}));
                }
                Block::Thinking { thinking, .. } => thoughts.push_str(&thinking),
                Block::RedactedThinking { .. } => {}
                block => said.extend(text(block, "messages")?),
            }
        }
        let mut fields = Map::new();
        if !thoughts.is_empty() {
            // Templates that show earlier thoughts read them here.
            fields.insert("reasoning_content".to_owned(), thoughts.into());
        }
        if !calls.is_empty() {
            fields.insert("tool_calls".to_owned(), calls.into());
        }
        self.say("assistant", said, fields);
        Ok(())
    }
}

fn blocks(content: Content) -> Vec<Block> {
    match content {
        Content::Text(text) => vec![Block::Text { text }],
        Content::Blocks(blocks) => blocks,
    }
}

/// The texts of content that can have nothing else.
fn texts(content: Content, param: &str) -> Result<Vec<String>, Refusal> {
    let texts: Result<Vec<Vec<String>>, Refusal> =
        blocks(content).into_iter().map(|block| text(block, param)).collect();
    Ok(texts?.concat())
}

/// The text of a block.
fn text(block: Block, param: &str) -> Result<Vec<String>, Refusal> {
    let wrong = |what: &str| Err(Refusal::field(param, format!("{what} cannot stand here")));
    match block {
        Block::Text { text } => Ok(vec![text]),
        Block::Image { .. } => Err(no_images(param)),
        Block::Document { source, title, context } => {
            let body = match source {
                Source::Text { data } => vec![data],
                Source::Content { content } => texts(content, param)?,
                Source::Base64 { .. } | Source::Url { .. } => {
                    let message = "documents are understood as text only, and none is fetched";
                    return Err(Refusal::field(param, message));
                }
            };
            Ok(title.into_iter().chain(context).chain(body).collect())
        }
        Block::SearchResult { title, source, content } => {
            Ok([vec![title, source], texts(content, param)?].concat())
        }
        Block::ToolUse { .. } => wrong("a tool_use block"),
        Block::ToolResult { .. } => wrong("a tool_result block"),
        Block::Thinking { .. } | Block::RedactedThinking { .. } => wrong("a thinking block"),
        Block::MidConvSystem { .. } => wrong("a mid_conv_system block"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(system: Value, messages: Value) -> Result<Value, Refusal> {
        let system: Option<Content> = serde_json::from_value(system).unwrap();
        let messages: Vec<Message> = serde_json::from_value(messages).unwrap();
        let again = serde_json::to_value(&messages).unwrap();
        assert_eq!(serde_json::from_value::<Vec<Message>>(again).unwrap(), messages);
        conversation(system, messages).map(Value::Array)
    }

    #[test]
    fn texts_are_texts_however_they_are_written() {
        let user = json!({"role": "user", "content": "hi"});
        let blocks = json!({"role": "user", "content": [{"type": "text", "text": "hi"}]});
        let plain = told(json!("be brief"), json!([user]));
        let expected = json!([{"role": "system", "content": "be brief"}, user]);
        assert_eq!(plain, Ok(expected.clone()));
        let system = json!([{"type": "text", "text": "be brief", "cache_control": null}]);
        assert_eq!(told(system, json!([blocks])), Ok(expected));
        assert_eq!(told(json!(""), json!([user])), Ok(json!([user])));
        let two = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
        let both = json!([{"role": "user", "content": two}]);
        assert_eq!(told(json!(null), both.clone()), Ok(both));
    }

    #[test]
    fn calls_results_and_thoughts_go_where_templates_look_for_them() {
        let messages = json!([
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [
                    {"type": "text", "text": "sun"},
                ]},
                {"type": "tool_result", "tool_use_id": "t2", "content": "no", "is_error": true},
                {"type": "tool_result", "tool_use_id": "t3"},
                {"type": "text", "text": "and now?"},
            ]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "t4", "name": "f", "input": {}},
            ]},
        ]);
        let call = |id: &str, name: &str, arguments: Value| {
            let function = json!({"name": name, "arguments": arguments});
            json!({"id": id, "type": "function", "function": function})
        };
        let expected = json!([
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": "Let me see.", "reasoning_content": "hm",
                "tool_calls": [call("t1", "f", json!({"a": 1})), call("t2", "g", json!({}))]},
            {"role": "tool", "content": "sun", "name": "f", "tool_call_id": "t1"},
            {"role": "tool", "content": "no", "name": "g", "tool_call_id": "t2", "is_error": true},
            {"role": "tool", "content": "", "tool_call_id": "t3"},
            {"role": "user", "content": "and now?"},
            {"role": "assistant", "content": null, "tool_calls": [call("t4", "f", json!({}))]},
        ]);
        assert_eq!(told(json!(null), messages), Ok(expected));
    }

    #[test]
    fn what_is_said_to_the_model_in_between_stays_where_it_is() {
        let messages = json!([
            {"role": "user", "content": [
                {"type": "text", "text": "a"},
                {"type": "mid_conv_system", "content": [{"type": "text", "text": "s"}]},
                {"type": "text", "text": "b"},
            ]},
            {"role": "system", "content": "t"},
            {"role": "user", "content": []},
        ]);
        let expected = json!([
            {"role": "user", "content": "a"}, {"role": "system", "content": "s"},
            {"role": "user", "content": "b"}, {"role": "system", "content": "t"},
            {"role": "user", "content": ""},
        ]);
        assert_eq!(told(json!(null), messages), Ok(expected));
    }

    #[test]
    fn documents_and_results_of_searches_are_texts() {
        let text = |text: &str| json!({"type": "text", "text": text});
        let messages = json!([{"role": "user", "content": [
            {"type": "document", "title": "t", "context": "c",
                "source": {"type": "text", "media_type": "text/plain", "data": "d"}},
            {"type": "document", "source": {"type": "content", "content": [text("e")]}},
            {"type": "search_result", "title": "r", "source": "s", "content": [text("f")]},
        ]}]);
        let texts: Vec<Value> = ["t", "c", "d", "e", "r", "s", "f"].map(text).to_vec();
        assert_eq!(told(json!(null), messages), Ok(json!([{"role": "user", "content": texts}])));
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        let check = |role: &str, block: Value, expected: &str| {
            let refusal = told(json!(null), json!([{"role": role, "content": [block]}]));
            let refusal = refusal.unwrap_err();
            assert!(refusal.message.contains(expected), "{refusal}");
        };
        let image = json!({"type": "image", "source": {"type": "base64", "data": "aGk="}});
        check("user", image.clone(), "pictures");
        let result = json!({"type": "tool_result", "tool_use_id": "t", "content": [image]});
        check("user", result.clone(), "pictures");
        check("assistant", result, "tool_result block cannot stand");
        check("user", json!({"type": "thinking", "thinking": "a"}), "thinking block cannot");
        let pdf = json!({"type": "base64", "media_type": "application/pdf", "data": ""});
        check("user", json!({"type": "document", "source": pdf}), "as text only");
        check("robot", json!({"type": "text", "text": "a"}), "found \"robot\"");
        assert!(told(json!(null), json!([])).is_err());
    }

    #[test]
    fn tools_are_functions_with_schemas() {
        let read = |json: Value| {
            let read: Vec<Tool> = serde_json::from_value(json).unwrap();
            let again = serde_json::to_value(&read).unwrap();
            assert_eq!(serde_json::from_value::<Vec<Tool>>(again).unwrap(), read);
            tools(read)
        };
        let given = json!([
            {"name": "f", "description": "d", "input_schema": {"type": "object"}},
            {"name": "g", "type": "custom", "input_schema": {}, "strict": true},
        ]);
        let function = |function: Value| json!({"type": "function", "function": function});
        let expected = vec![
            function(json!({"name": "f", "parameters": {"type": "object"}, "description": "d"})),
            function(json!({"name": "g", "parameters": {}})),
        ];
        assert_eq!(read(given.clone()), Ok(expected));
        let first = read(given).unwrap()[0].to_string();
        assert!(first.find("description") < first.find("parameters"), "{first}");
        let search = json!([{"name": "web_search", "type": "web_search_20250305"}]);
        assert!(read(search).unwrap_err().message.contains("'web_search' of type"));
        assert!(read(json!([{"name": "f"}])).is_err());
    }
}
