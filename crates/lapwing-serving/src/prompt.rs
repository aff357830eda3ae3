//! From what is asked to the tokens of a prompt.

use lapwing_host::conversation::{EncodePromptError, Reads, Told, prompt};
use lapwing_host::text::{ChatInput, ChatInputError, ChatTemplate, EncodeError, Tokenizer};
use lapwing_model::TokenId;
use serde_json::{Map, Value, json};

use crate::message::{Chat, Prompt};

/// A line that Claude Code puts at the front of its system prompt, whatever interface it is brought
/// through. It differs from request to request, so that no prompt would begin as the one before it.
const CHANGING_LINE: &str = "x-anthropic-billing-header:";

/// Why a prompt cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PromptError {
    #[error("cannot read the prompt: the model has no tokenizer")]
    NoTokenizer,
    #[error("cannot make the prompt: the model has no chat template")]
    NoTemplate,
    #[error("cannot read the messages")]
    Messages(#[from] ChatInputError),
    #[error("cannot offer tools: the chat template of the model reads none")]
    NoTools,
    #[error(transparent)]
    Encode(#[from] EncodePromptError),
    #[error("cannot read the prompt")]
    Text(#[from] EncodeError),
    #[error("token {token} at position {position} is not in the vocabulary of {n_vocab}")]
    NoSuchToken { token: TokenId, position: usize, n_vocab: usize },
    #[error("cannot answer an empty prompt")]
    Empty,
    #[error(
        "a prompt of {n_bytes} bytes exceeds the available context size: this model's maximum \
         context length is {n_positions_max} tokens"
    )]
    TooLong { n_bytes: usize, n_positions_max: usize },
}

/// No vocabulary has tokens of more bytes: the longest are runs of blanks.
const N_TOKEN_BYTES_MAX: usize = 256;

/// A prompt that was made.
pub(crate) struct Made {
    pub(crate) text: String,
    pub(crate) ids: Vec<TokenId>,
    /// What it offers.
    pub(crate) tools: Option<Vec<Value>>,
}

/// What a model knows of text.
#[derive(Clone, Copy)]
pub(crate) struct TextOf<'a> {
    pub(crate) tokenizer: Option<&'a Tokenizer>,
    pub(crate) template: Option<&'a ChatTemplate>,
    /// Tokens that the model takes; not known of one that is not open.
    pub(crate) n_vocab: Option<usize>,
    /// Most positions of a sequence; not known of one that is not open.
    pub(crate) n_positions_max: Option<usize>,
}

/// Make a prompt.
pub(crate) fn make(of: TextOf<'_>, asked: Prompt) -> Result<Made, PromptError> {
    let tokenizer = || of.tokenizer.ok_or(PromptError::NoTokenizer);
    fits(of.n_positions_max, &asked)?;
    let made = match asked {
        Prompt::Chat(asked) => chat(tokenizer()?, of.template, *asked)?,
        Prompt::Text { text, add_special } => {
            let ids = tokenizer()?.encode(&text, add_special)?;
            Made { text, ids, tools: None }
        }
        Prompt::Ids(ids) => Made { text: String::new(), ids, tools: None },
    };
    let n_vocab = of.n_vocab.unwrap_or(usize::MAX);
    match made.ids.iter().position(|&token| n_vocab <= token as usize) {
        Some(position) => {
            Err(PromptError::NoSuchToken { token: made.ids[position], position, n_vocab })
        }
        None if made.ids.is_empty() => Err(PromptError::Empty),
        None => Ok(made),
    }
}

/// Demand that it could fit the context, before anything is done with it: splitting a text takes
/// longer than its length, and others wait for it.
fn fits(n_positions_max: Option<usize>, asked: &Prompt) -> Result<(), PromptError> {
    let Some(n_positions_max) = n_positions_max else { return Ok(()) };
    let n_bytes = match asked {
        Prompt::Text { text, .. } => text.len(),
        Prompt::Chat(chat) => chat.messages.iter().map(n_text_bytes).sum(),
        Prompt::Ids(_) => 0,
    };
    match n_positions_max.saturating_mul(N_TOKEN_BYTES_MAX) < n_bytes {
        true => Err(PromptError::TooLong { n_bytes, n_positions_max }),
        false => Ok(()),
    }
}

/// Bytes of all texts in a value.
fn n_text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(n_text_bytes).sum(),
        Value::Object(fields) => fields.values().map(n_text_bytes).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn chat(
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
    asked: Chat,
) -> Result<Made, PromptError> {
    let template = template.ok_or(PromptError::NoTemplate)?;
    let messages = without_changing_line(asked.messages);
    let input = json!({"messages": messages, "tools": asked.tools});
    let ChatInput { messages, tools } = ChatInput::from_json(input)?;
    let tools = tools.filter(|tools| !tools.is_empty());
    let variables = match Reads::of(template, tools.is_some()) {
        Ok(reads) if tools.is_some() && !reads.has("tools") => return Err(PromptError::NoTools),
        Ok(reads) => variables(&reads, asked.variables, asked.thinks, asked.effort.as_deref()),
        // A template that cannot be parsed says so when it is rendered.
        Err(_) => asked.variables,
    };
    let told = Told { tools: tools.clone(), variables, goes_on: !asked.begins_anew };
    let made = prompt(tokenizer, Some(template), &messages, &told)?;
    Ok(Made { text: made.text, ids: made.ids, tools })
}

/// What the template is told beside the messages. What it has no variable for is left out: clients say
/// it to every model.
fn variables(
    reads: &Reads<'_>,
    mut variables: Map<String, Value>,
    thinks: Option<bool>,
    effort: Option<&str>,
) -> Map<String, Value> {
    variables.extend(reads.thinking(thinks, None).unwrap_or_default());
    variables.extend(reads.thinking(None, effort).unwrap_or_default());
    variables
}

/// Leave out the line that changes with every request; a system message of nothing else goes with it.
fn without_changing_line(mut messages: Vec<Value>) -> Vec<Value> {
    let first = messages.first_mut().filter(|first| {
        matches!(first.get("role").and_then(Value::as_str), Some("system" | "developer"))
    });
    let Some(content) = first.and_then(|first| first.get_mut("content")) else { return messages };
    let text = match &mut *content {
        Value::Array(parts) => parts.first_mut().and_then(|part| part.get_mut("text")),
        text => Some(text),
    };
    let Some(Value::String(text)) = text else { return messages };
    if !text.starts_with(CHANGING_LINE) {
        return messages;
    }
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest).trim_start_matches('\n');
    *text = rest.to_owned();
    if !text.is_empty() {
        return messages;
    }
    let is_over = match content {
        Value::Array(parts) => {
            parts.remove(0);
            parts.is_empty()
        }
        _ => true,
    };
    if is_over {
        messages.remove(0);
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_changes_with_every_request_is_left_out() {
        let user = json!({"role": "user", "content": "x-anthropic-billing-header: mine"});
        let check = |role: &str, content: Value, expected: Value| {
            let messages = vec![json!({"role": role, "content": content}), user.clone()];
            let told = without_changing_line(messages);
            let first = told.first().filter(|first| first["role"] == role);
            let content = first.map_or(Value::Null, |first| first["content"].clone());
            assert_eq!(content, expected);
            assert_eq!(told.last(), Some(&user));
        };
        let line = "x-anthropic-billing-header: cc_version=2.1; cch=8f3a;";
        for role in ["system", "developer"] {
            check(role, json!(format!("{line}\nYou are")), json!("You are"));
            let twice = format!("{line}\n\nYou are\n{line}");
            check(role, json!(twice), json!(format!("You are\n{line}")));
            check(role, json!(line), json!(null));
            let text = |text: &str| json!({"type": "text", "text": text});
            check(role, json!([text(line), text("You are")]), json!([text("You are")]));
            check(role, json!([text("You are"), text(line)]), json!([text("You are"), text(line)]));
            check(role, json!([text(line)]), json!(null));
        }
        check("assistant", json!(line), json!(line));
        check("system", json!(7), json!(7));
        assert_eq!(without_changing_line(Vec::new()), Vec::<Value>::new());
        assert_eq!(without_changing_line(vec![user.clone()]), [user]);
    }
}
