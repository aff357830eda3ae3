//! From what the user gave to token ids.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use lapwing_model::TokenId;
use lapwing_text::{LocalTime, Message, RenderInput};

use crate::engine::Engine;

/// Prompts are text that a person or a program wrote; a file beyond this is a mistake.
const PROMPT_BYTES_MAX: u64 = 64 << 20;

/// Why a prompt cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// There is nothing in it.
    #[error("the prompt is empty: {origin}")]
    Empty {
        /// Where it came from.
        origin: &'static str,
    },
    /// It cannot be read.
    #[error("cannot read the prompt from {}", path.display())]
    Read {
        /// The file, or `stdin`.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file that is no prompt.
    #[error("the prompt in {} is longer than {PROMPT_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file, or `stdin`.
        path: PathBuf,
    },
    /// It does not fit.
    #[error("prompt of {n_tokens} tokens is too long: the context holds {n_positions_max}")]
    TooLong {
        /// Length of the prompt.
        n_tokens: usize,
        /// Positions there is room for: what the user asked for, at most the model's own limit.
        n_positions_max: usize,
        /// The model's own limit.
        n_positions_model: usize,
    },
}

/// Read a prompt from a file.
///
/// # Errors
///
/// When it cannot be read, is no UTF-8, or is too large.
pub fn from_file(path: &Path) -> Result<String, PromptError> {
    let failed = |source| PromptError::Read { path: path.to_owned(), source };
    read(std::fs::File::open(path).map_err(failed)?, path)
}

/// Read a prompt from stdin, to its end.
///
/// # Errors
///
/// As [`from_file`].
pub fn from_stdin() -> Result<String, PromptError> {
    read(std::io::stdin().lock(), Path::new("stdin"))
}

fn read(source: impl std::io::Read, path: &Path) -> Result<String, PromptError> {
    let mut text = String::new();
    let mut bounded = source.take(PROMPT_BYTES_MAX + 1);
    let n_bytes = bounded
        .read_to_string(&mut text)
        .map_err(|source| PromptError::Read { path: path.to_owned(), source })?;
    if PROMPT_BYTES_MAX < n_bytes as u64 {
        return Err(PromptError::TooLarge { path: path.to_owned() });
    }
    // The newline that ends a file or `echo`'s output is not part of the question.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// A conversation as the model wants it: through the chat template, or the last text alone when
/// the folder has no template or the user wants none.
///
/// # Errors
///
/// When there is no tokenizer, the template refuses, the text cannot be encoded, or the model has no
/// room for it.
pub fn encode(engine: &Engine, messages: &[Message], raw: bool) -> anyhow::Result<Vec<TokenId>> {
    let prompt = encode_any_length(engine, messages, raw)?;
    check_length(engine, prompt.len())?;
    Ok(prompt)
}

/// Refuse a prompt that the model has no room for.
///
/// # Errors
///
/// When that is so.
pub fn check_length(engine: &Engine, n_tokens: usize) -> anyhow::Result<()> {
    let n_positions_max = engine.model.limits().n_positions_max;
    if n_tokens <= n_positions_max {
        return Ok(());
    }
    let n_positions_model = engine.folder.architecture.n_positions_max;
    Err(PromptError::TooLong { n_tokens, n_positions_max, n_positions_model })
        .context("cannot answer")
}

/// As [`encode`], whether there is room or not.
///
/// # Errors
///
/// When there is no tokenizer, the template refuses, or the text cannot be encoded.
pub fn encode_any_length(
    engine: &Engine,
    messages: &[Message],
    raw: bool,
) -> anyhow::Result<Vec<TokenId>> {
    let tokenizer = engine.tokenizer().context("cannot read the prompt")?;
    let template = engine.template.as_ref().filter(|_| !raw);
    let Some(template) = template else {
        let last = messages.last().and_then(|message| message.content.as_ref());
        let text = last.and_then(|content| content.as_str()).unwrap_or_default();
        return tokenizer.encode(text, true).context("cannot read the prompt");
    };
    let input = RenderInput {
        messages,
        tools: None,
        documents: None,
        add_generation_prompt: true,
        now: now(),
        extra: &serde_json::Map::new(),
    };
    let text = template.render(&input).context("cannot make the prompt")?;
    tracing::debug!(n_bytes = text.len(), "prompt rendered");
    // The template writes the special tokens itself.
    tokenizer.encode(&text, false).context("cannot read the prompt")
}

/// The time for templates that ask for the date, in UTC.
fn now() -> LocalTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    LocalTime::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), 0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::read;

    #[test]
    fn one_final_newline_is_not_part_of_the_prompt() {
        let check = |bytes: &[u8], expected: &str| {
            assert_eq!(read(bytes, Path::new("stdin")).unwrap(), expected);
        };
        check(b"hello\n", "hello");
        check(b"hello\r\n", "hello");
        check(b"hello\n\n", "hello\n");
        check(b"hello", "hello");
        check(b"", "");
    }
}
