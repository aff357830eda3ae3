//! What the requests of OpenAI's interface have in common: sampling, stops, forms and tools.

use std::collections::BTreeMap;

use lapwing_serving::message::{Form, Generate, Sampling};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::checks::{self, Choice};
pub(crate) use crate::checks::{Stop, limit};
use crate::refusal::Refusal;

/// More answers to one prompt than anybody means.
const N_ANSWERS_MAX: u32 = 16;

/// How tokens are chosen. What is left out, or null, is as the model's authors say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct Choosing {
    pub(crate) temperature: Option<f32>,
    pub(crate) top_p: Option<f32>,
    pub(crate) top_k: Option<i64>,
    pub(crate) min_p: Option<f32>,
    pub(crate) presence_penalty: Option<f32>,
    pub(crate) frequency_penalty: Option<f32>,
    pub(crate) repeat_penalty: Option<f32>,
    pub(crate) logit_bias: Option<BTreeMap<String, f32>>,
    pub(crate) seed: Option<i64>,
    pub(crate) n: Option<u32>,
    /// `flex` is what may wait; anything else is as good as nothing.
    pub(crate) service_tier: Option<Value>,
}

impl Choosing {
    /// Whether nobody waits for the answer.
    pub(crate) fn is_background(&self) -> bool {
        self.service_tier.as_ref().and_then(Value::as_str) == Some("flex")
    }

    /// Checked, as the worker takes it.
    pub(crate) fn sampling(&self) -> Result<Sampling, Refusal> {
        checks::sampling(Sampling {
            temperature: self.temperature,
            top_k: self.top_k.map(checks::top_k),
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            repeat_window: None,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            logit_bias: self.bias()?,
            seed: self.seed.map(i64::cast_unsigned),
        })
    }

    fn bias(&self) -> Result<Vec<(u32, f32)>, Refusal> {
        let entries = self.logit_bias.iter().flatten();
        let entry = |(token, bias): (&String, &f32)| {
            let id = token.parse::<u32>();
            let id = id.map_err(|_| {
                Refusal::field("logit_bias", format!("expected ids of tokens, found {token:?}"))
            })?;
            checks::within("logit_bias", Some(*bias), -100.0, 100.0)?;
            Ok((id, *bias))
        };
        entries.map(entry).collect()
    }

    /// How many answers are wanted.
    pub(crate) fn n_answers(&self) -> Result<u32, Refusal> {
        match self.n.unwrap_or(1) {
            n @ 1..=N_ANSWERS_MAX => Ok(n),
            n => {
                let message = format!("expected 1 to {N_ANSWERS_MAX} answers, found {n}");
                Err(Refusal::field("n", message))
            }
        }
    }

    /// What is asked for each of `n` answers to one prompt: with a seed each has its own.
    pub(crate) fn each(generate: &Generate, n: u32) -> Vec<Generate> {
        let one = |idx: u32| {
            let mut generate = generate.clone();
            let seed = &mut generate.sampling.seed;
            *seed = seed.map(|seed| seed.wrapping_add(idx.into()));
            generate
        };
        (0..n).map(one).collect()
    }
}

/// What is told of a stream beside the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: Option<bool>,
}

/// `response_format`.
pub(crate) fn form_of(format: Option<&Value>) -> Result<Option<Form>, Refusal> {
    let param = "response_format";
    let wrong = |message: String| Err(Refusal::field(param, message));
    let Some(format) = format.filter(|format| !format.is_null()) else { return Ok(None) };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        // llama.cpp's server takes a schema here, too.
        Some("json_object") => {
            Ok(checks::schema(param, format.get("schema"))?.or(Some(Form::Json)))
        }
        Some("json_schema") => match format.pointer("/json_schema/schema") {
            Some(schema @ (Value::Object(_) | Value::Bool(_))) => {
                Ok(Some(Form::Schema(schema.clone())))
            }
            _ => wrong("expected json_schema.schema to be a JSON schema".to_owned()),
        },
        _ => wrong("expected type text, json_object or json_schema".to_owned()),
    }
}

/// The tools that are offered, and whether one must be called.
pub(crate) fn tools_of(
    tools: Option<Vec<Value>>,
    choice: Option<&Value>,
) -> Result<(Option<Vec<Value>>, Option<Form>), Refusal> {
    let wrong = || Refusal::field("tool_choice", "expected none, auto, required or a function");
    let choice = match choice {
        None | Some(Value::Null) => Choice::Free,
        Some(Value::String(choice)) => match &**choice {
            "auto" => Choice::Free,
            "none" => Choice::Never,
            "required" => Choice::Some,
            _ => return Err(wrong()),
        },
        Some(choice) => {
            let name = choice.pointer("/function/name").or_else(|| choice.get("name"));
            Choice::One(name.and_then(Value::as_str).ok_or_else(wrong)?.to_owned())
        }
    };
    checks::tools(tools, choice)
}

/// What a client says about thoughts: OpenAI's words, and what llama-server's clients send to the
/// template.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = openai::request::Thinking)]
pub(crate) struct Thinking {
    pub(crate) reasoning_effort: Option<String>,
    pub(crate) chat_template_kwargs: Option<Map<String, Value>>,
}

impl Thinking {
    /// Whether to think, how much, and what else the template is told.
    pub(crate) fn told(self) -> (Option<bool>, Option<String>, Map<String, Value>) {
        let effort = self.reasoning_effort.filter(|effort| !effort.is_empty());
        let thinks = effort.as_deref().map(|effort| effort != "none");
        let variables = self.chat_template_kwargs.unwrap_or_default();
        (thinks, effort.filter(|effort| effort != "none"), variables)
    }
}
