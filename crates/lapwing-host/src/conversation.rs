//! From messages to token ids.

use std::time::{SystemTime, UNIX_EPOCH};

use lapwing_model::TokenId;
use lapwing_text::{EncodeError, LocalTime, Message, RenderError, RenderInput};

use crate::engine::{Engine, NoTokenizer};

/// Why messages are no prompt.
#[derive(Debug, thiserror::Error)]
pub enum EncodePromptError {
    /// Nothing can read them.
    #[error("cannot read the prompt")]
    NoTokenizer(#[from] NoTokenizer),
    /// The tokenizer refuses.
    #[error("cannot read the prompt")]
    Encode(#[from] EncodeError),
    /// The template refuses.
    #[error("cannot make the prompt")]
    Render(#[from] RenderError),
}

/// A prompt does not fit.
#[derive(Debug, thiserror::Error)]
#[error("prompt of {n_tokens} tokens is too long: the context holds {n_positions_max}")]
pub struct PromptTooLong {
    /// Length of the prompt.
    pub n_tokens: usize,
    /// Positions there is room for: what was asked for, at most the model's own limit.
    pub n_positions_max: usize,
    /// The model's own limit.
    pub n_positions_model: usize,
}

/// A conversation as the model wants it: through the chat template, or the last text alone when
/// the folder has no template or `raw` wants none. Whether there is room for it is not looked at:
/// see [`check_length`].
///
/// # Errors
///
/// When there is no tokenizer, the template refuses, or the text cannot be encoded.
pub fn encode(
    engine: &Engine,
    messages: &[Message],
    raw: bool,
) -> Result<Vec<TokenId>, EncodePromptError> {
    let tokenizer = engine.tokenizer()?;
    let template = engine.template.as_ref().filter(|_| !raw);
    let Some(template) = template else {
        let last = messages.last().and_then(|message| message.content.as_ref());
        let text = last.and_then(|content| content.as_str()).unwrap_or_default();
        return Ok(tokenizer.encode(text, true)?);
    };
    let input = RenderInput {
        messages,
        tools: None,
        documents: None,
        add_generation_prompt: true,
        now: now(),
        extra: &serde_json::Map::new(),
    };
    let text = template.render(&input)?;
    tracing::debug!(n_bytes = text.len(), "prompt rendered");
    // The template writes the special tokens itself.
    Ok(tokenizer.encode(&text, false)?)
}

/// Refuse a prompt that the model has no room for.
///
/// # Errors
///
/// When that is so.
pub fn check_length(engine: &Engine, n_tokens: usize) -> Result<(), PromptTooLong> {
    let n_positions_max = engine.model.limits().n_positions_max;
    if n_tokens <= n_positions_max {
        return Ok(());
    }
    let n_positions_model = engine.folder.architecture.n_positions_max;
    Err(PromptTooLong { n_tokens, n_positions_max, n_positions_model })
}

/// The time for templates that ask for the date, in UTC.
fn now() -> LocalTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    LocalTime::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), 0)
}
