//! What requests are checked for, whatever protocol they come by: sampling, limits, stops and tools.

use lapwing_serving::message::{Form, Sampling};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::refusal::Refusal;

/// More stop strings than anybody means.
const N_STOPS_MAX: usize = 64;
/// Bytes of a stop string: all that is held back is compared with it at every token.
const N_STOP_BYTES_MAX: usize = 1024;
/// More tools than anybody means.
const N_TOOLS_MAX: usize = 512;

/// Demand that numbers are such as they can be.
pub(crate) fn sampling(sampling: Sampling) -> Result<Sampling, Refusal> {
    within("temperature", sampling.temperature, 0.0, 2.0)?;
    within("top_p", sampling.top_p, 0.0, 1.0)?;
    within("min_p", sampling.min_p, 0.0, 1.0)?;
    within("presence_penalty", sampling.presence_penalty, -2.0, 2.0)?;
    within("frequency_penalty", sampling.frequency_penalty, -2.0, 2.0)?;
    within("repeat_penalty", sampling.repeat_penalty, 0.01, 100.0)?;
    Ok(sampling)
}

/// Zero and less mean that there is no limit, in all protocols.
pub(crate) fn top_k(top_k: i64) -> usize {
    usize::try_from(top_k).unwrap_or(0)
}

/// Demand that a number of a request lies between two others.
pub(crate) fn within(
    param: &str,
    value: Option<f32>,
    least: f32,
    most: f32,
) -> Result<(), Refusal> {
    match value {
        Some(value) if !(least..=most).contains(&value) => {
            let message = format!("expected {param} from {least} to {most}, found {value}");
            Err(Refusal::field(param, message))
        }
        _ => Ok(()),
    }
}

/// A limit on tokens: negative ones mean none, as some clients write. With 0 the prompt is read, for
/// whoever sends it next, and nothing is answered.
pub(crate) fn limit(n: Option<i64>) -> Option<usize> {
    n.and_then(|n| usize::try_from(n).ok())
}

/// A string or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
#[schema(as = checks::Stop)]
pub(crate) enum Stop {
    One(String),
    Several(Vec<Option<String>>),
}

impl Stop {
    /// The stop strings; empty ones stop nothing.
    pub(crate) fn texts(stop: Option<Stop>) -> Result<Vec<String>, Refusal> {
        let texts = match stop {
            None => Vec::new(),
            Some(Stop::One(text)) => vec![text],
            Some(Stop::Several(texts)) => texts.into_iter().flatten().collect(),
        };
        if N_STOPS_MAX < texts.len() {
            let message = format!("expected at most {N_STOPS_MAX} stop strings");
            return Err(Refusal::field("stop", message));
        }
        if texts.iter().any(|text| N_STOP_BYTES_MAX < text.len()) {
            let message = format!("expected stop strings of at most {N_STOP_BYTES_MAX} bytes");
            return Err(Refusal::field("stop", message));
        }
        Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
    }
}

/// Whether the model may call functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// As it likes.
    Free,
    /// It is not told of them.
    Never,
    /// It must call one or more.
    Some,
    /// It must call this one.
    One(String),
}

/// The tools that are offered, in OpenAI's form, and whether one must be called.
pub(crate) fn tools(
    tools: Option<Vec<Value>>,
    choice: Choice,
) -> Result<(Option<Vec<Value>>, Option<Form>), Refusal> {
    let tools = tools.filter(|tools| !tools.is_empty());
    if tools.as_ref().is_some_and(|tools| N_TOOLS_MAX < tools.len()) {
        let message = format!("expected at most {N_TOOLS_MAX} tools");
        return Err(Refusal::field("tools", message));
    }
    let wrong = |message: &str| Err(Refusal::field("tool_choice", message));
    let is_offered = |name: &str| {
        let names = tools.iter().flatten().map(|tool| tool.pointer("/function/name"));
        names.flatten().any(|offered| offered.as_str() == Some(name))
    };
    let form = match choice {
        Choice::Free => None,
        Choice::Never => return Ok((None, None)),
        Choice::Some if tools.is_none() => {
            return wrong("a tool is required, and there are none");
        }
        Choice::Some => Some(Form::Call { name: None }),
        Choice::One(name) if is_offered(&name) => Some(Form::Call { name: Some(name) }),
        Choice::One(_) => return wrong("the function is not among the tools"),
    };
    Ok((tools, form))
}

/// The form of a schema that stands by itself, as llama.cpp's server takes it.
pub(crate) fn schema(param: &str, schema: Option<&Value>) -> Result<Option<Form>, Refusal> {
    match schema {
        None | Some(Value::Null) => Ok(None),
        Some(schema @ (Value::Object(_) | Value::Bool(_))) => {
            Ok(Some(Form::Schema(schema.clone())))
        }
        Some(_) => Err(Refusal::field(param, "expected a JSON schema")),
    }
}

/// Demand that there is no grammar: an answer that does not keep to it is of no use.
pub(crate) fn no_grammar(grammar: Option<&str>) -> Result<(), Refusal> {
    match grammar {
        None | Some("") => Ok(()),
        Some(_) => {
            let message = "grammars are not understood: send a JSON schema";
            Err(Refusal::field("grammar", message))
        }
    }
}

/// What is said to pictures.
pub(crate) fn no_images(param: &str) -> Refusal {
    let message = "pictures are not understood: only text can be read; the vision part of a model \
                   that has one is not used";
    Refusal::field(param, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_beyond_their_bounds_are_refused_by_name() {
        let check = |sampling_of: Sampling, param: &str| {
            let refusal = sampling(sampling_of).unwrap_err();
            assert_eq!(refusal.param.as_deref(), Some(param));
            assert!(refusal.message.contains(param), "{refusal}");
        };
        let none = Sampling::default;
        check(Sampling { temperature: Some(2.1), ..none() }, "temperature");
        check(Sampling { temperature: Some(f32::NAN), ..none() }, "temperature");
        check(Sampling { top_p: Some(-0.1), ..none() }, "top_p");
        check(Sampling { min_p: Some(1.5), ..none() }, "min_p");
        check(Sampling { presence_penalty: Some(3.0), ..none() }, "presence_penalty");
        check(Sampling { frequency_penalty: Some(-3.0), ..none() }, "frequency_penalty");
        check(Sampling { repeat_penalty: Some(0.0), ..none() }, "repeat_penalty");
        assert_eq!(sampling(none()), Ok(none()));
        assert_eq!((top_k(-1), top_k(0), top_k(40)), (0, 0, 40));
        assert_eq!([None, Some(-1), Some(0), Some(7)].map(limit), [None, None, Some(0), Some(7)]);
    }

    #[test]
    fn tools_are_offered_and_demanded() {
        let offered = || Some(vec![json!({"type": "function", "function": {"name": "f"}})]);
        assert_eq!(tools(Some(Vec::new()), Choice::Free), Ok((None, None)));
        assert_eq!(tools(offered(), Choice::Free), Ok((offered(), None)));
        assert_eq!(tools(offered(), Choice::Never), Ok((None, None)));
        let any = Some(Form::Call { name: None });
        assert_eq!(tools(offered(), Choice::Some), Ok((offered(), any)));
        let one = Some(Form::Call { name: Some("f".to_owned()) });
        assert_eq!(tools(offered(), Choice::One("f".to_owned())), Ok((offered(), one)));
        assert!(tools(offered(), Choice::One("g".to_owned())).is_err());
        assert!(tools(None, Choice::Some).is_err());
    }

    #[test]
    fn stops_are_a_string_or_several() {
        let check = |json: Value, expected: &[&str]| {
            let stop: Option<Stop> = serde_json::from_value(json.clone()).unwrap();
            assert_eq!(serde_json::to_value(&stop).unwrap(), json);
            assert_eq!(Stop::texts(stop).unwrap(), expected);
        };
        check(json!(null), &[]);
        check(json!("a"), &["a"]);
        check(json!(["a", "", null, "b"]), &["a", "b"]);
        let many = Stop::Several(vec![Some("a".to_owned()); N_STOPS_MAX + 1]);
        assert!(Stop::texts(Some(many)).is_err());
        let long = Stop::One("a".repeat(N_STOP_BYTES_MAX + 1));
        assert!(Stop::texts(Some(long)).is_err());
    }
}
