//! Prompts of texts and tokens in turn, and bias on texts: what has to be looked up in a vocabulary is
//! asked of the model's worker.

use lapwing_serving::message::{Ask, Prompt, Said};
use serde_json::Value;

use crate::app::App;
use crate::checks::{self, no_images};
use crate::models::KeepAlive;
use crate::refusal::Refusal;

/// Stands for minus infinity, which JSON has not.
const NEVER: f32 = -1e9;
/// More bias than anybody means.
const N_BIASES_MAX: usize = 1024;
/// More parts of a prompt than anybody means.
const N_PARTS_MAX: usize = 1024;

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Ids(Vec<u32>),
}

/// The prompts of a request, each in parts, and whether they stand in a list.
pub(super) fn read(prompt: &Value) -> Result<(Vec<Vec<Part>>, bool), Refusal> {
    let is_token_or_text = |item: &Value| item.is_number() || item.is_string();
    match prompt {
        Value::Array(items)
            if !items.iter().any(Value::is_number) || !items.iter().all(is_token_or_text) =>
        {
            let prompts: Vec<Vec<Part>> = items.iter().map(one).collect::<Result<_, _>>()?;
            if prompts.is_empty() { Err(wrong()) } else { Ok((prompts, true)) }
        }
        prompt => Ok((vec![one(prompt)?], false)),
    }
}

fn wrong() -> Refusal {
    let message = "expected a text, ids of tokens, both in turn, or a list of such prompts";
    Refusal::field("prompt", message)
}

fn one(prompt: &Value) -> Result<Vec<Part>, Refusal> {
    match prompt {
        Value::String(text) => Ok(vec![Part::Text(text.clone())]),
        Value::Object(fields) => {
            let data = fields.get("multimodal_data");
            if data.is_some_and(|data| !matches!(data, Value::Null) && *data != Value::from([0; 0]))
            {
                return Err(no_images("prompt"));
            }
            let text = fields.get("prompt_string").and_then(Value::as_str).ok_or_else(wrong)?;
            Ok(vec![Part::Text(text.to_owned())])
        }
        Value::Array(items) if !items.is_empty() => {
            let mut parts = Vec::new();
            for item in items {
                let id = item.as_u64().and_then(|id| u32::try_from(id).ok());
                match (id, item.as_str(), parts.last_mut()) {
                    (Some(id), _, Some(Part::Ids(ids))) => ids.push(id),
                    (Some(id), _, _) => parts.push(Part::Ids(vec![id])),
                    (_, Some(text), _) => parts.push(Part::Text(text.to_owned())),
                    _ => return Err(wrong()),
                }
            }
            if N_PARTS_MAX < parts.len() { Err(wrong()) } else { Ok(parts) }
        }
        _ => Err(wrong()),
    }
}

/// Looks up words of a model.
pub(super) struct Words<'a> {
    pub(super) app: &'a App,
    /// The model, as the client calls it.
    pub(super) asked: Option<&'a str>,
}

impl Words<'_> {
    /// A prompt, and how it reads.
    pub(super) async fn prompt(&self, mut parts: Vec<Part>) -> Result<(Prompt, String), Refusal> {
        if let [Part::Text(text)] = &*parts {
            let prompt = Prompt::Text { text: text.clone(), add_special: true };
            return Ok((prompt, text.clone()));
        }
        let mut all = Vec::new();
        for (idx, part) in parts.drain(..).enumerate() {
            all.extend(match part {
                Part::Ids(ids) => ids,
                Part::Text(text) => self.ids(text, idx == 0).await?,
            });
        }
        match self.said(&Ask::Decode(all.clone())).await? {
            Said::Decoded(text) => Ok((Prompt::Ids(all), text)),
            _ => Err(Refusal::internal("the model's process told no text")),
        }
    }

    /// What is added to the logits of tokens: of ids or texts, in pairs or as an object; `false` means
    /// never.
    pub(super) async fn bias(&self, bias: Option<&Value>) -> Result<Vec<(u32, f32)>, Refusal> {
        let mut found = Vec::new();
        for (token, added) in entries(bias)? {
            match token {
                Token::Id(id) => found.push((id, added)),
                Token::Text(text) => {
                    let ids = self.ids(text, false).await?;
                    found.extend(ids.into_iter().map(|id| (id, added)));
                }
            }
        }
        Ok(found)
    }

    async fn ids(&self, text: String, add_special: bool) -> Result<Vec<u32>, Refusal> {
        match self.said(&Ask::Encode { text, add_special }).await? {
            Said::Encoded { ids, .. } => Ok(ids),
            _ => Err(Refusal::internal("the model's process told no tokens")),
        }
    }

    async fn said(&self, ask: &Ask) -> Result<Said, Refusal> {
        let listing = self.app.models.find(self.asked).await?;
        self.app.models.ask(&listing.name, ask, KeepAlive::Usual).await?.last().await
    }
}

/// Whose logit something is added to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Id(u32),
    /// Each token of a text.
    Text(String),
}

/// What is added to what, out of pairs or an object.
fn entries(bias: Option<&Value>) -> Result<Vec<(Token, f32)>, Refusal> {
    let pairs: Vec<(Value, &Value)> = match bias {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Object(fields)) => {
            // Here ids are spelled.
            let token =
                |text: &String| text.parse::<u32>().map_or(text.as_str().into(), Value::from);
            fields.iter().map(|(text, added)| (token(text), added)).collect()
        }
        Some(Value::Array(items)) => {
            let pair = |item| match <&[Value; 2]>::try_from(Value::as_array(item)?.as_slice()) {
                Ok([token, added]) => Some((token.clone(), added)),
                Err(_) => None,
            };
            items.iter().map(|item| pair(item).ok_or_else(no_bias)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(no_bias()),
    };
    if N_BIASES_MAX < pairs.len() {
        let message = format!("expected at most {N_BIASES_MAX} entries");
        return Err(Refusal::field("logit_bias", message));
    }
    pairs.into_iter().map(|(token, added)| entry(token, added)).collect()
}

fn entry(token: Value, added: &Value) -> Result<(Token, f32), Refusal> {
    let token = match token {
        Value::String(text) => Token::Text(text),
        id => {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            Token::Id(id.ok_or_else(no_bias)?)
        }
    };
    let added = match added {
        Value::Bool(false) => return Ok((token, NEVER)),
        added => added.as_f64().ok_or_else(no_bias)? as f32,
    };
    checks::within("logit_bias", Some(added), -100.0, 100.0)?;
    Ok((token, added))
}

fn no_bias() -> Refusal {
    let message = "expected pairs of a token or a text and a number or false";
    Refusal::field("logit_bias", message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prompts_are_texts_and_tokens_alone_or_in_a_list() {
        let check = |json: Value, expected: &[&[Part]], is_list: bool| {
            let found = read(&json).unwrap();
            let expected = expected.iter().map(|parts| parts.to_vec()).collect();
            assert_eq!(found, (expected, is_list), "{json}");
        };
        let text = |text: &str| Part::Text(text.to_owned());
        let ids = |ids: &[u32]| Part::Ids(ids.to_vec());
        check(json!("a"), &[&[text("a")]], false);
        check(json!({"prompt_string": "a", "multimodal_data": []}), &[&[text("a")]], false);
        check(json!([1, 2]), &[&[ids(&[1, 2])]], false);
        let mixed = [ids(&[1, 2]), text("a"), ids(&[3])];
        check(json!([1, 2, "a", 3]), &[&mixed], false);
        check(json!(["a", "b"]), &[&[text("a")], &[text("b")]], true);
        let several = [&[ids(&[1])][..], &mixed, &[text("b")]];
        check(json!([[1], [1, 2, "a", 3], {"prompt_string": "b"}]), &several, true);
    }

    #[test]
    fn what_is_no_prompt_is_refused() {
        for json in [
            json!(null),
            json!(1),
            json!([]),
            json!([[]]),
            json!([1, null]),
            json!([-1]),
            json!({"prompt_string": "a", "multimodal_data": ["aGk="]}),
            json!([1.5]),
            json!({}),
        ] {
            assert_eq!(read(&json).unwrap_err().param.as_deref(), Some("prompt"), "{json}");
        }
    }

    #[test]
    fn bias_comes_in_pairs_or_as_an_object() {
        let check = |json: Value, expected: &[(Token, f32)]| {
            assert_eq!(entries(Some(&json)).unwrap(), expected, "{json}");
        };
        let (id, text) = (Token::Id(7), Token::Text("a".to_owned()));
        check(json!([[7, -100], ["a", false]]), &[(id.clone(), -100.0), (text.clone(), NEVER)]);
        check(json!({"7": 1, "a": 2.5}), &[(id, 1.0), (text, 2.5)]);
        check(json!([["7", 1]]), &[(Token::Text("7".to_owned()), 1.0)]);
        check(json!(null), &[]);
        for json in [
            json!(7),
            json!([7]),
            json!([[7]]),
            json!([[7, true]]),
            json!([[-1, 1]]),
            json!([[1.5, 1]]),
            json!([[7, 101]]),
            json!({"a": null}),
        ] {
            let refusal = entries(Some(&json)).unwrap_err();
            assert_eq!(refusal.param.as_deref(), Some("logit_bias"), "{json}");
        }
    }
}
