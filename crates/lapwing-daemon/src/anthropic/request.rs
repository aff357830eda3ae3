//! Requests of Anthropic's interface.

use lapwing_serving::message::{Chat, Form, Generate, Prompt, Sampling};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::content::Content;
use super::conversation::{Message, Tool, conversation, tools};
use crate::checks::{self, Choice, Stop};
use crate::models::KeepAlive;
use crate::refusal::Refusal;

/// A request. What is not understood is of no meaning here and left alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct MessagesRequest {
    pub(super) model: Option<String>,
    pub(super) max_tokens: Option<i64>,
    pub(super) stream: Option<bool>,
    pub(super) stop_sequences: Option<Stop>,
    pub(super) temperature: Option<f32>,
    pub(super) top_k: Option<i64>,
    pub(super) top_p: Option<f32>,
    /// Not Anthropic's: how long the model stays loaded.
    pub(super) keep_alive: Option<KeepAlive>,
    #[serde(flatten)]
    pub(super) asked: Asked,
}

/// What a prompt is made of: all of a request that counts tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct Asked {
    messages: Vec<Message>,
    system: Option<Content>,
    tools: Option<Vec<Tool>>,
    tool_choice: Option<ToolChoice>,
    thinking: Option<Thinking>,
    output_config: Option<OutputConfig>,
    output_format: Option<Format>,
}

/// A request that counts tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(super) struct CountRequest {
    pub(super) model: Option<String>,
    #[serde(flatten)]
    pub(super) asked: Asked,
}

/// Whether functions may or must be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
struct ToolChoice {
    /// `auto`, `any`, `tool`, `none`.
    r#type: String,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

/// Whether to think.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = anthropic::request::Thinking)]
struct Thinking {
    /// `enabled`, `adaptive`, `disabled`.
    r#type: String,
    budget_tokens: Option<u64>,
}

/// How to answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
struct OutputConfig {
    /// `low`, `medium`, `high`, `xhigh`, `max`.
    effort: Option<String>,
    format: Option<Format>,
}

/// What an answer must look like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = anthropic::request::Format)]
struct Format {
    /// `json_schema`.
    r#type: String,
    schema: Option<Map<String, Value>>,
}

impl Asked {
    /// Whether the client wants to see what the model thinks.
    pub(super) fn shows_thoughts(&self) -> bool {
        self.thinking.as_ref().is_some_and(|thinking| thinking.r#type != "disabled")
    }

    /// Whether the answer ends behind its first call.
    pub(super) fn has_one_call(&self) -> bool {
        let choice = self.tool_choice.as_ref();
        choice.is_some_and(|choice| choice.disable_parallel_tool_use == Some(true))
    }

    /// The conversation, and what the answer must look like.
    pub(super) fn told(self) -> Result<(Chat, Option<Form>), Refusal> {
        let choice = self.tool_choice.map_or(Ok(Choice::Free), ToolChoice::told)?;
        let offered = self.tools.map(tools).transpose()?;
        let (tools, call) = checks::tools(offered, choice)?;
        let config = self.output_config.unwrap_or(OutputConfig { effort: None, format: None });
        let format = config.format.or(self.output_format).map(Format::told).transpose()?;
        let thinks = self.thinking.map_or(Ok(Some(false)), Thinking::told)?;
        let effort = config.effort.map(|effort| match &*effort {
            // No template has a word for more.
            "xhigh" | "max" => "high".to_owned(),
            _ => effort,
        });
        let messages = conversation(self.system, self.messages)?;
        let chat = Chat { messages, tools, thinks, effort, ..Chat::default() };
        Ok((chat, call.or(format)))
    }
}

impl ToolChoice {
    fn told(self) -> Result<Choice, Refusal> {
        match (&*self.r#type, self.name) {
            ("auto", _) => Ok(Choice::Free),
            ("none", _) => Ok(Choice::Never),
            ("any", _) => Ok(Choice::Some),
            ("tool", Some(name)) => Ok(Choice::One(name)),
            _ => {
                let message = "expected type auto, any, tool (with a name) or none";
                Err(Refusal::field("tool_choice", message))
            }
        }
    }
}

impl Thinking {
    /// `None` leaves it to the model.
    fn told(self) -> Result<Option<bool>, Refusal> {
        match &*self.r#type {
            "enabled" => Ok(Some(true)),
            "disabled" => Ok(Some(false)),
            "adaptive" => Ok(None),
            _ => Err(Refusal::field("thinking", "expected type enabled, adaptive or disabled")),
        }
    }
}

impl Format {
    fn told(self) -> Result<Form, Refusal> {
        match (&*self.r#type, self.schema) {
            ("json_schema", Some(schema)) => Ok(Form::Schema(Value::Object(schema))),
            _ => {
                let message = "expected type json_schema, with a schema";
                Err(Refusal::field("output_config.format", message))
            }
        }
    }
}

/// Most tokens of the answer, which a request must name. No more are made than fit the context; with
/// 0 the prompt is read, for whoever sends it next, and nothing is answered.
pub(super) fn n_tokens_max(request: &MessagesRequest) -> Result<usize, Refusal> {
    let n = request.max_tokens.and_then(|n| usize::try_from(n).ok());
    n.ok_or_else(|| Refusal::field("max_tokens", "expected max_tokens of 0 or more"))
}

/// What the worker is asked for.
pub(super) fn generate(request: MessagesRequest) -> Result<Generate, Refusal> {
    let n_tokens_max = n_tokens_max(&request)?;
    let sampling = checks::sampling(Sampling {
        temperature: request.temperature,
        top_k: request.top_k.map(checks::top_k),
        top_p: request.top_p,
        ..Sampling::default()
    })?;
    let (chat, form) = request.asked.told()?;
    Ok(Generate {
        sampling,
        n_tokens_max: Some(n_tokens_max),
        stop_texts: Stop::texts(request.stop_sequences)?,
        form,
        ..Generate::new(Prompt::Chat(Box::new(chat)))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(mut json: Value) -> MessagesRequest {
        let fields = json.as_object_mut().unwrap();
        fields.entry("max_tokens").or_insert(json!(9));
        fields.entry("messages").or_insert(json!([{"role": "user", "content": "hi"}]));
        let request: MessagesRequest = serde_json::from_value(json).unwrap();
        let again = serde_json::to_value(&request).unwrap();
        assert_eq!(serde_json::from_value::<MessagesRequest>(again).unwrap(), request);
        request
    }

    fn asked(json: Value) -> Result<(Generate, Chat), Refusal> {
        generate(read(json)).map(|generate| match generate.prompt.clone() {
            Prompt::Chat(chat) => (generate, *chat),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_request_becomes_what_a_worker_is_asked() {
        let (generate, chat) = asked(json!({
            "model": "m", "max_tokens": 32_000, "stop_sequences": ["a", "b"], "temperature": 1.0,
            "top_k": 5, "top_p": 0.5, "metadata": {"user_id": "u"}, "service_tier": "auto",
            "context_management": {}, "system": "be brief", "stream": true,
        }))
        .unwrap();
        assert_eq!((generate.n_tokens_max, generate.form), (Some(32_000), None));
        assert_eq!(generate.stop_texts, ["a", "b"]);
        let Sampling { temperature, top_k, top_p, .. } = generate.sampling;
        assert_eq!((temperature, top_k, top_p), (Some(1.0), Some(5), Some(0.5)));
        assert_eq!(chat.messages.len(), 2);
        assert_eq!((chat.tools, chat.thinks, chat.effort), (None, Some(false), None));
    }

    #[test]
    fn nulls_are_as_good_as_nothing() {
        let nulls = json!({"model": null, "stop_sequences": null, "temperature": null,
            "top_k": null, "top_p": null, "system": null, "tools": null, "tool_choice": null,
            "thinking": null, "output_config": null, "output_format": null, "stream": null,
            "keep_alive": null});
        assert_eq!(asked(nulls), asked(json!({})));
    }

    #[test]
    fn max_tokens_is_required() {
        assert_eq!(asked(json!({"max_tokens": 0})).unwrap().0.n_tokens_max, Some(0));
        for wrong in [json!(null), json!(-1)] {
            let refusal = asked(json!({"max_tokens": wrong})).unwrap_err();
            assert_eq!(refusal.param.as_deref(), Some("max_tokens"), "{wrong}");
        }
    }

    #[test]
    fn choices_of_tools() {
        let with = |choice: Value| {
            let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
            asked(json!({"tools": tools, "tool_choice": choice}))
                .map(|(generate, chat)| (generate.form, chat.tools.is_some()))
        };
        let call = |name: Option<&str>| Some(Form::Call { name: name.map(str::to_owned) });
        assert_eq!(with(json!(null)), Ok((None, true)));
        assert_eq!(with(json!({"type": "auto"})), Ok((None, true)));
        assert_eq!(with(json!({"type": "none"})), Ok((None, false)));
        assert_eq!(with(json!({"type": "any"})), Ok((call(None), true)));
        assert_eq!(with(json!({"type": "tool", "name": "f"})), Ok((call(Some("f")), true)));
        for wrong in
            [json!({"type": "tool"}), json!({"type": "tool", "name": "g"}), json!({"type": "x"})]
        {
            assert_eq!(with(wrong).unwrap_err().param.as_deref(), Some("tool_choice"));
        }
        let one = |disabled: bool| {
            let choice = json!({"type": "auto", "disable_parallel_tool_use": disabled});
            read(json!({"tool_choice": choice})).asked.has_one_call()
        };
        assert_eq!((one(true), one(false)), (true, false));
    }

    #[test]
    fn thoughts_are_had_by_who_asks_for_them() {
        let check = |thinking: Value, thinks: Option<bool>, shows: bool| {
            let request = json!({"thinking": thinking});
            let shown = read(request.clone()).asked.shows_thoughts();
            assert_eq!((asked(request).unwrap().1.thinks, shown), (thinks, shows), "{thinking}");
        };
        check(json!(null), Some(false), false);
        check(json!({"type": "disabled"}), Some(false), false);
        check(json!({"type": "enabled", "budget_tokens": 1024}), Some(true), true);
        check(json!({"type": "adaptive", "display": "summarized"}), None, true);
        assert!(asked(json!({"thinking": {"type": "x"}})).is_err());
    }

    #[test]
    fn schemas_and_efforts() {
        let format = json!({"type": "json_schema", "schema": {"type": "object"}});
        let expected = Some(Form::Schema(json!({"type": "object"})));
        let (new, chat) =
            asked(json!({"output_config": {"effort": "max", "format": format}})).unwrap();
        assert_eq!((new.form, chat.effort.as_deref()), (expected.clone(), Some("high")));
        let (old, _) = asked(json!({"output_format": format})).unwrap();
        assert_eq!(old.form, expected);
        for wrong in [json!({"type": "json_schema"}), json!({"type": "text", "schema": {}})] {
            assert!(asked(json!({"output_format": wrong})).is_err());
        }
    }

    #[test]
    fn what_counts_tokens_reads_the_same() {
        let json = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}],
            "system": "be brief"});
        let request: CountRequest = serde_json::from_value(json.clone()).unwrap();
        let again = serde_json::to_value(&request).unwrap();
        assert_eq!(serde_json::from_value::<CountRequest>(again).unwrap(), request);
        assert_eq!(request.asked.told().unwrap().0, asked(json).unwrap().1);
    }
}
