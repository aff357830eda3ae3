//! Texts or tokens, one or several: what completions go on from and embeddings are made of.

use lapwing_serving::message::{EmbedInput, Prompt};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::refusal::Refusal;

/// Most inputs of one request: OpenAI's number.
const N_INPUTS_MAX: usize = 2048;

/// A text, its tokens, or several of either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a text, ids of tokens, or a list of either")]
pub(crate) enum Prompts {
    /// A text.
    Text(String),
    /// Several texts; nothing at all looks so, too.
    Texts(Vec<String>),
    /// The tokens of one.
    Ids(Vec<u32>),
    /// The tokens of several.
    IdLists(Vec<Vec<u32>>),
}

/// A text or its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    Text(String),
    Ids(Vec<u32>),
}

impl Prompts {
    /// One by one; there is at least one, and none is empty.
    pub(crate) fn inputs(self, param: &str) -> Result<Vec<Input>, Refusal> {
        let inputs: Vec<Input> = match self {
            Prompts::Text(text) => vec![Input::Text(text)],
            Prompts::Texts(texts) => texts.into_iter().map(Input::Text).collect(),
            Prompts::Ids(ids) => vec![Input::Ids(ids)],
            Prompts::IdLists(lists) => lists.into_iter().map(Input::Ids).collect(),
        };
        let is_empty = |input: &Input| match input {
            Input::Text(text) => text.is_empty(),
            Input::Ids(ids) => ids.is_empty(),
        };
        if inputs.is_empty() || inputs.iter().any(is_empty) {
            return Err(Refusal::field(param, "expected a text or tokens, found nothing"));
        }
        if N_INPUTS_MAX < inputs.len() {
            let message = format!("expected at most {N_INPUTS_MAX} texts, found {}", inputs.len());
            return Err(Refusal::field(param, message));
        }
        Ok(inputs)
    }
}

impl Input {
    pub(crate) fn prompt(self) -> Prompt {
        match self {
            Input::Text(text) => Prompt::Text { text, add_special: true },
            Input::Ids(ids) => Prompt::Ids(ids),
        }
    }

    pub(crate) fn embed(self) -> EmbedInput {
        match self {
            Input::Text(text) => EmbedInput::Text(text),
            Input::Ids(ids) => EmbedInput::Ids(ids),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn inputs_come_one_by_one() {
        let check = |json: Value, expected: &[Input]| {
            let prompts: Prompts = serde_json::from_value(json.clone()).unwrap();
            assert_eq!(serde_json::to_value(&prompts).unwrap(), json);
            assert_eq!(prompts.inputs("input").unwrap(), expected);
        };
        let text = |text: &str| Input::Text(text.to_owned());
        check(json!("a"), &[text("a")]);
        check(json!(["a", "b"]), &[text("a"), text("b")]);
        check(json!([1, 2]), &[Input::Ids(vec![1, 2])]);
        check(json!([[1], [2, 3]]), &[Input::Ids(vec![1]), Input::Ids(vec![2, 3])]);
    }

    #[test]
    fn nothing_is_refused() {
        for json in [json!(""), json!([]), json!(["a", ""]), json!([[]]), json!([[1], []])] {
            let prompts: Prompts = serde_json::from_value(json).unwrap();
            assert_eq!(prompts.inputs("input").unwrap_err().param.as_deref(), Some("input"));
        }
        for json in [json!(7), json!([1, "a"]), json!([-1]), json!({"a": 1}), json!(null)] {
            let read: Result<Prompts, _> = serde_json::from_value(json);
            assert!(read.unwrap_err().to_string().contains("expected a text, ids"));
        }
    }
}
