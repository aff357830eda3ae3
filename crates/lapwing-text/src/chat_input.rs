//! Conversations and tools as programs write them: the JSON of OpenAI's chat API.

use serde_json::{Map, Value};

use crate::chat_template::message::Message;

/// Who may speak.
const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// A conversation that is ready for a chat template.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatInput {
    /// Oldest first; at least one.
    pub messages: Vec<Message>,
    /// Functions that the model may call; `None` is not `[]`.
    pub tools: Option<Vec<Value>>,
}

/// JSON that is no conversation, or no list of tools.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ChatInputError {
    /// Neither form of a conversation.
    #[error("expected a list of messages, or an object with `messages`, found {found}")]
    NoMessages { found: String },
    /// A key that would change nothing.
    #[error("`{key}` is not understood: expected `messages` and `tools` only")]
    UnknownKey { key: String },
    /// A message that is none.
    #[error("message {number}: {problem}")]
    Message {
        /// From 1.
        number: usize,
        problem: String,
    },
    /// No list.
    #[error("expected a list of tools, found {found}")]
    NoTools { found: &'static str },
    /// A tool that is none.
    #[error("tool {number}: {problem}")]
    Tool {
        /// From 1.
        number: usize,
        problem: String,
    },
}

impl ChatInput {
    /// A list of messages, or an object with `messages` and, if it likes, `tools`.
    ///
    /// What a message holds beside role and content stays with it. A content of text parts becomes
    /// one text, a line a part, because templates for text expect one; arguments of tool calls that
    /// are JSON in a string, as the API has them, become what they spell, because templates write
    /// them out.
    ///
    /// # Errors
    ///
    /// When it is neither, when a role is unknown, when a message has no content or one that is no
    /// text, or as [`tools_from_json`].
    pub fn from_json(json: Value) -> Result<ChatInput, ChatInputError> {
        let (messages, tools) = match json {
            Value::Array(messages) => (messages, None),
            Value::Object(fields) => of_fields(fields)?,
            other => return Err(ChatInputError::NoMessages { found: kind(&other).to_owned() }),
        };
        if messages.is_empty() {
            return Err(ChatInputError::NoMessages { found: "an empty list".to_owned() });
        }
        let tools = tools.map(tools_from_json).transpose()?;
        let messages = messages.into_iter().enumerate().map(|(idx, message)| {
            let failed = |problem| ChatInputError::Message { number: idx + 1, problem };
            message_of(message).map_err(failed)
        });
        Ok(ChatInput { messages: messages.collect::<Result<_, _>>()?, tools })
    }
}

/// A list of tools: each `{"type": "function", "function": {"name": …, "parameters": {…}}}`.
///
/// # Errors
///
/// When it is no list, or a tool has another form, no name, or that of another one.
pub fn tools_from_json(json: Value) -> Result<Vec<Value>, ChatInputError> {
    let Value::Array(tools) = json else {
        return Err(ChatInputError::NoTools { found: kind(&json) });
    };
    let mut names: Vec<&str> = Vec::new();
    for (idx, tool) in tools.iter().enumerate() {
        let failed = |problem| ChatInputError::Tool { number: idx + 1, problem };
        let name = tool_name(tool).map_err(failed)?;
        if names.contains(&name) {
            return Err(failed(format!("the name `{name}` is taken by another one")));
        }
        names.push(name);
    }
    Ok(tools)
}

type Conversation = (Vec<Value>, Option<Value>);

fn of_fields(mut fields: Map<String, Value>) -> Result<Conversation, ChatInputError> {
    let messages = match fields.shift_remove("messages") {
        Some(Value::Array(messages)) => messages,
        Some(other) => {
            let found = format!("`messages` as {}", kind(&other));
            return Err(ChatInputError::NoMessages { found });
        }
        None => {
            let found = "an object without it".to_owned();
            return Err(ChatInputError::NoMessages { found });
        }
    };
    let tools = fields.shift_remove("tools").filter(|tools| !tools.is_null());
    match fields.into_iter().next() {
        Some((key, _)) => Err(ChatInputError::UnknownKey { key }),
        None => Ok((messages, tools)),
    }
}

fn message_of(json: Value) -> Result<Message, String> {
    let mut message = Message::from_json(json).map_err(|error| error.to_string())?;
    if !ROLES.contains(&&*message.role) {
        let (role, roles) = (&message.role, ROLES.join("`, `"));
        return Err(format!("the role `{role}` is unknown: expected `{roles}`"));
    }
    // Clients write every field that there is.
    if message.extra.get("tool_calls").is_some_and(Value::is_null) {
        message.extra.shift_remove("tool_calls");
    }
    if let Some(calls) = message.extra.get_mut("tool_calls") {
        spell_out_arguments(calls)?;
    }
    message.content = match message.content.take() {
        Some(Value::Array(parts)) => Some(Value::String(text_of(&parts)?)),
        Some(Value::String(text)) => Some(Value::String(text)),
        none @ (None | Some(Value::Null)) if message.extra.contains_key("tool_calls") => none,
        None | Some(Value::Null) => return Err("it has no `content`".to_owned()),
        Some(other) => {
            return Err(format!("its `content` is {}: expected text", kind(&other)));
        }
    };
    Ok(message)
}

/// The text of content parts.
fn text_of(parts: &[Value]) -> Result<String, String> {
    let texts = parts.iter().map(|part| {
        let name = part["type"].as_str().ok_or("a part of its `content` has no `type`")?;
        match (name, part["text"].as_str()) {
            ("text" | "input_text" | "output_text", Some(text)) => Ok(text),
            ("text" | "input_text" | "output_text", None) => {
                Err(format!("a part `{name}` of its `content` has no text"))
            }
            _ => {
                let sees = ["image", "video"].into_iter().find(|part| name.contains(part));
                let unused = match (sees, name.contains("audio")) {
                    (Some(_), _) => "; the vision part of a model that has one is not used",
                    (None, true) => "; the audio part of a model that has one is not used",
                    (None, false) => "",
                };
                Err(format!("its `content` holds `{name}`: only text can be read{unused}"))
            }
        }
    });
    Ok(texts.collect::<Result<Vec<_>, String>>()?.join("\n"))
}

fn spell_out_arguments(calls: &mut Value) -> Result<(), String> {
    let Value::Array(calls) = calls else {
        return Err(format!("its `tool_calls` are {}: expected a list", kind(calls)));
    };
    for call in calls {
        let function = call.get_mut("function").and_then(Value::as_object_mut);
        let function = function.ok_or("a tool call has no `function`")?;
        if !function.get("name").is_some_and(Value::is_string) {
            return Err("the function of a tool call has no `name`".to_owned());
        }
        if let Some(arguments) = function.get_mut("arguments")
            && let Some(Ok(spelled)) = arguments.as_str().map(serde_json::from_str::<Value>)
            && spelled.is_object()
        {
            *arguments = spelled;
        }
    }
    Ok(())
}

fn tool_name(tool: &Value) -> Result<&str, String> {
    if tool["type"].as_str() != Some("function") {
        return Err("expected an object with `type` \"function\" and a `function`".to_owned());
    }
    let function = tool["function"].as_object().ok_or("it has no `function` that is an object")?;
    let name = function.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = name.ok_or("its function has no `name`")?;
    match function.get("parameters") {
        None | Some(Value::Object(_)) => Ok(name),
        Some(other) => {
            Err(format!("the `parameters` of `{name}` are {}: expected an object", kind(other)))
        }
    }
}

fn kind(json: &Value) -> &'static str {
    match json {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_alone_and_with_tools() {
        let messages = json!([
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}},
            ]},
            {"role": "tool", "tool_call_id": "1", "content": "2"},
        ]);
        let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
        let alone = ChatInput::from_json(messages.clone()).unwrap();
        assert_eq!(alone.tools, None);
        assert_eq!(alone.messages[0], Message::new("system", "be brief"));
        assert_eq!(alone.messages[1], Message::new("user", "a\nb"));
        assert_eq!(alone.messages[2].content, Some(Value::Null));
        let call = &alone.messages[2].extra["tool_calls"][0];
        assert_eq!(call["function"]["arguments"], json!({"x": 1}));
        assert_eq!(alone.messages[3].extra["tool_call_id"], "1");
        let both = json!({"messages": messages, "tools": tools.clone()});
        let both = ChatInput::from_json(both).unwrap();
        assert_eq!((both.messages, both.tools), (alone.messages, tools.as_array().cloned()));
    }

    #[test]
    fn calls_that_are_null_are_none() {
        let message = json!({"role": "assistant", "content": "hi", "tool_calls": null});
        let input = ChatInput::from_json(json!([message])).unwrap();
        assert_eq!(input.messages, [Message::new("assistant", "hi")]);
        let empty = json!([{"role": "assistant", "content": null, "tool_calls": null}]);
        let error = ChatInput::from_json(empty).unwrap_err().to_string();
        assert!(error.contains("it has no `content`"), "{error}");
    }

    #[test]
    fn what_is_no_conversation_is_refused_by_name() {
        let check = |json: Value, expected: &str| {
            let error = ChatInput::from_json(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(json!("hi"), "found a text");
        check(json!([]), "found an empty list");
        check(json!({"tools": []}), "found an object without it");
        check(json!({"messages": "hi"}), "found `messages` as a text");
        let user = json!({"role": "user", "content": "hi"});
        check(json!({"messages": [user], "temperature": 1}), "`temperature` is not understood");
        check(json!([user, "hi"]), "message 2: a message is a JSON object");
        check(json!([{"content": "hi"}]), "message 1: a message is a JSON object with a `role`");
        check(
            json!([{"role": "human", "content": "hi"}]),
            "message 1: the role `human` is unknown",
        );
        check(json!([{"role": "user"}]), "message 1: it has no `content`");
        check(json!([{"role": "user", "content": null}]), "it has no `content`");
        check(json!([{"role": "user", "content": 5}]), "its `content` is a number");
        let image = json!([{"type": "image_url", "image_url": {"url": "data:"}}]);
        let expected = "holds `image_url`: only text can be read; the vision part of a model";
        check(json!([{"role": "user", "content": image}]), expected);
        let audio = json!([{"type": "input_audio", "input_audio": {"data": ""}}]);
        check(json!([{"role": "user", "content": audio}]), "read; the audio part of a model");
        check(json!([{"role": "user", "content": [{"type": "text"}]}]), "`text` of its `content`");
        check(json!([{"role": "user", "content": ["hi"]}]), "has no `type`");
        check(json!([{"role": "assistant", "tool_calls": {}}]), "`tool_calls` are an object");
        check(json!([{"role": "assistant", "tool_calls": [{}]}]), "has no `function`");
        check(
            json!({"messages": [user], "tools": {}}),
            "expected a list of tools, found an object",
        );
    }

    #[test]
    fn what_is_no_tool_is_refused_by_name() {
        let check = |json: Value, expected: &str| {
            let error = tools_from_json(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let tool = |function: Value| json!({"type": "function", "function": function});
        check(json!([{"name": "f"}]), "tool 1: expected an object with `type`");
        check(json!([{"type": "function"}]), "has no `function`");
        check(json!([tool(json!({"name": ""}))]), "has no `name`");
        check(
            json!([tool(json!({"name": "f", "parameters": []}))]),
            "`parameters` of `f` are a list",
        );
        let one = tool(json!({"name": "f"}));
        check(json!([one, one]), "tool 2: the name `f` is taken");
        assert_eq!(tools_from_json(json!([one])).unwrap().len(), 1);
    }
}
