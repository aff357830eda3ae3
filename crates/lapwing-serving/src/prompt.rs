//! From what is asked to the tokens of a prompt.

use lapwing_host::conversation::{EncodePromptError, Reads, Told, prompt};
use lapwing_host::text::{ChatInput, ChatInputError, ChatTemplate, EncodeError, Tokenizer};
use lapwing_model::TokenId;
use serde_json::{Map, Value, json};

use crate::message::{Chat, Prompt};
use crate::served::Served;

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
}

/// A prompt that was made.
pub(crate) struct Made {
    pub(crate) text: String,
    pub(crate) ids: Vec<TokenId>,
    /// What it offers.
    pub(crate) tools: Option<Vec<Value>>,
}

/// Make a prompt.
pub(crate) fn make(served: &Served, asked: Prompt) -> Result<Made, PromptError> {
    let tokenizer = || served.tokenizer.as_ref().ok_or(PromptError::NoTokenizer);
    let made = match asked {
        Prompt::Chat(asked) => chat(tokenizer()?, served.template.as_ref(), *asked)?,
        Prompt::Text { text, add_special } => {
            let ids = tokenizer()?.encode(&text, add_special)?;
            Made { text, ids, tools: None }
        }
        Prompt::Ids(ids) => Made { text: String::new(), ids, tools: None },
    };
    let n_vocab = served.model.n_vocab();
    match made.ids.iter().position(|&token| n_vocab <= token as usize) {
        Some(position) => {
            Err(PromptError::NoSuchToken { token: made.ids[position], position, n_vocab })
        }
        None if made.ids.is_empty() => Err(PromptError::Empty),
        None => Ok(made),
    }
}

fn chat(
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
    asked: Chat,
) -> Result<Made, PromptError> {
    let template = template.ok_or(PromptError::NoTemplate)?;
    let input = json!({"messages": asked.messages, "tools": asked.tools});
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
