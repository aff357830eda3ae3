//! Chat templates: messages to the prompt that a model was trained on.
//!
//! Templates are Jinja, written against Python's jinja2 as the transformers library sets it up;
//! the rendering here follows that, down to how a dictionary prints. Three things differ: there
//! is no clock inside (see [`RenderInput::now`]), `generation` blocks are transparent, and work
//! and output are bounded, because a template comes from whoever made the model. The bounds count
//! loop and macro bodies, printed bytes and values put into variables; the engine's own limits
//! hold inside one expression, and what a single expression computes is not counted beyond them.

mod budget;
mod environment;
mod json;
pub(crate) mod local_time;
pub(crate) mod message;
mod methods;
mod source;
pub(crate) mod special_tokens;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minijinja::{Environment, Value};
use serde_json::Map;

use budget::Budget;
use local_time::LocalTime;
use message::{Message, value_of};
use special_tokens::SpecialTokens;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The longest template that is accepted; the longest in use have about 30 kB.
const SOURCE_BYTES_MAX: usize = 1 << 20;

const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";

/// A compiled chat template, with the special tokens that it may print.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    special_tokens: SpecialTokens,
    has_tool_use: bool,
}

/// What a template is rendered from.
#[derive(Clone, Copy, Debug)]
pub struct RenderInput<'a> {
    /// The conversation, oldest first.
    pub messages: &'a [Message],
    /// Descriptions of functions that the model may call, as JSON schemas; `None` is not `[]`.
    pub tools: Option<&'a [serde_json::Value]>,
    /// Documents for templates that answer from them.
    pub documents: Option<&'a [serde_json::Value]>,
    /// Whether the prompt ends where the assistant's answer begins.
    pub add_generation_prompt: bool,
    /// The time that `strftime_now` of the template formats; also when the template never asks.
    pub now: LocalTime,
    /// Further variables of the template (`enable_thinking`, …); they win over all others.
    pub extra: &'a Map<String, serde_json::Value>,
}

impl ChatTemplate {
    /// The chat template of a model folder, `None` when it has none.
    ///
    /// `chat_template.jinja` is taken before `chat_template` in `tokenizer_config.json`, which is
    /// a string or a list of named templates: `default`, and `tool_use` for prompts with tools.
    ///
    /// # Errors
    ///
    /// When one of the files cannot be read or parsed, or the template has a syntax error.
    pub fn open(folder: &Path) -> Result<Option<Self>, OpenTemplateError> {
        let config_path = folder.join("tokenizer_config.json");
        let config = match read_optional(&config_path)? {
            Some(text) => serde_json::from_str(&text)
                .map_err(|source| OpenTemplateError::Json { path: config_path.clone(), source })?,
            None => serde_json::Value::Null,
        };
        let special_tokens = SpecialTokens::from_config(&config);
        let template_path = folder.join("chat_template.jinja");
        if let Some(source) = read_optional(&template_path)? {
            return Self::from_source(&source, special_tokens, &template_path).map(Some);
        }
        Self::from_config(&config, &config_path)
    }

    /// The chat template in the JSON of a `tokenizer_config.json`; `path` names it in errors.
    ///
    /// # Errors
    ///
    /// When `chat_template` has an unknown shape or a syntax error.
    pub fn from_config(
        config: &serde_json::Value,
        path: &Path,
    ) -> Result<Option<Self>, OpenTemplateError> {
        let special_tokens = SpecialTokens::from_config(config);
        let list = match config.get("chat_template") {
            None | Some(serde_json::Value::Null) => return Ok(None),
            Some(serde_json::Value::String(source)) => {
                return Self::from_source(source, special_tokens, path).map(Some);
            }
            Some(serde_json::Value::Array(list)) => list,
            Some(_) => return Err(OpenTemplateError::Shape { path: path.to_owned() }),
        };
        let mut template = Self::empty(special_tokens);
        for entry in list {
            let field = |name| entry.get(name).and_then(serde_json::Value::as_str);
            let (Some(name), Some(source)) = (field("name"), field("template")) else {
                return Err(OpenTemplateError::Shape { path: path.to_owned() });
            };
            match name {
                DEFAULT => template.add(DEFAULT, source, path)?,
                TOOL_USE => template.add(TOOL_USE, source, path)?,
                _ => tracing::debug!(name, "chat template passed over"),
            }
        }
        match template.environment.get_template(DEFAULT) {
            Ok(_) => Ok(Some(template)),
            Err(_) => Err(OpenTemplateError::NoDefault { path: path.to_owned() }),
        }
    }

    /// A chat template from its source; `path` names it in errors.
    ///
    /// # Errors
    ///
    /// When the source is too long or has a syntax error.
    pub fn from_source(
        source: &str,
        special_tokens: SpecialTokens,
        path: &Path,
    ) -> Result<Self, OpenTemplateError> {
        let mut template = Self::empty(special_tokens);
        template.add(DEFAULT, source, path)?;
        Ok(template)
    }

    /// The special tokens that the template may print.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.special_tokens
    }

    /// The prompt for `input`. It holds its special tokens: encode it without adding any.
    ///
    /// # Errors
    ///
    /// When the template refuses the messages ([`RenderError::Raised`]), fails, or exceeds the
    /// bounds on work and output.
    pub fn render(&self, input: &RenderInput<'_>) -> Result<String, RenderError> {
        let budget = Arc::new(Budget::new());
        let mut environment = self.environment.clone();
        environment::limit(&mut environment, &budget);
        let has_tools = input.tools.is_some();
        let name = if has_tools && self.has_tool_use { TOOL_USE } else { DEFAULT };
        let rendered = environment
            .get_template(name)
            .and_then(|template| template.render(self.variables(input)))
            .map_err(RenderError::from_engine)?;
        tracing::debug!(name, n_messages = input.messages.len(), n_bytes = rendered.len());
        Ok(rendered)
    }

    fn empty(special_tokens: SpecialTokens) -> Self {
        Self { environment: environment::new(), special_tokens, has_tool_use: false }
    }

    fn add(
        &mut self,
        name: &'static str,
        source: &str,
        path: &Path,
    ) -> Result<(), OpenTemplateError> {
        if source.len() > SOURCE_BYTES_MAX {
            return Err(OpenTemplateError::TooLong {
                path: path.to_owned(),
                n_bytes: source.len(),
                n_bytes_max: SOURCE_BYTES_MAX,
            });
        }
        let mistake =
            |line, source| OpenTemplateError::Syntax { path: path.to_owned(), line, source };
        let source = source::prepare(source).map_err(|error| mistake(error.line, error.into()))?;
        self.environment
            .add_template_owned(name, source)
            .map_err(|error| mistake(error.line().unwrap_or(1), error.into()))?;
        self.has_tool_use |= name == TOOL_USE;
        Ok(())
    }

    fn variables(&self, input: &RenderInput<'_>) -> Value {
        let list = |values: Option<&[serde_json::Value]>| match values {
            Some(values) => values.iter().map(value_of).collect(),
            None => Value::from(()),
        };
        let now = input.now;
        let mut variables: Vec<(&str, Value)> = self.special_tokens.named().collect();
        variables.extend([
            ("messages", input.messages.iter().map(Message::to_value).collect()),
            ("tools", list(input.tools)),
            ("documents", list(input.documents)),
            ("add_generation_prompt", input.add_generation_prompt.into()),
            ("strftime_now", Value::from_function(move |format: &str| now.format(format))),
        ]);
        variables.extend(input.extra.iter().map(|(name, value)| (&**name, value_of(value))));
        Value::from_pairs(variables)
    }
}

/// A chat template that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum OpenTemplateError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// `tokenizer_config.json` is no JSON.
    #[error("{} is no JSON", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    /// `chat_template` is neither a string nor a list of named templates.
    #[error(
        "`chat_template` in {} is neither a string nor a list of `name` and `template`",
        path.display()
    )]
    Shape { path: PathBuf },
    /// A list of templates without `default`.
    #[error("the chat templates in {} have no `default`", path.display())]
    NoDefault { path: PathBuf },
    /// A template of absurd length.
    #[error(
        "the chat template in {} has {n_bytes} bytes, at most {n_bytes_max} are accepted",
        path.display()
    )]
    TooLong { path: PathBuf, n_bytes: usize, n_bytes_max: usize },
    /// A syntax error.
    #[error("the chat template in {} has a mistake in line {line}", path.display())]
    Syntax {
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        source: Cause,
    },
}

/// A prompt that a chat template did not make.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum RenderError {
    /// The template called `raise_exception`: it does not accept these messages.
    #[error("the chat template refuses the messages: {message}")]
    Raised { message: String },
    /// The template loops or prints more than any prompt needs.
    #[error("the chat template exceeds its bound on {bound}")]
    Unbounded { bound: &'static str },
    /// The template failed, often because a message lacks what it expects.
    #[error("the chat template failed in line {line}")]
    Failed {
        /// The line, from 1.
        line: usize,
        source: Cause,
    },
}

impl RenderError {
    fn from_engine(error: minijinja::Error) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(error) = cause {
            if let Some(environment::TemplateRaised { message }) = error.downcast_ref() {
                return Self::Raised { message: message.clone() };
            }
            if let Some(budget::Exhausted { bound }) = error.downcast_ref() {
                return Self::Unbounded { bound };
            }
            cause = error.source();
        }
        Self::Failed { line: error.line().unwrap_or(1), source: error.into() }
    }
}

fn read_optional(path: &Path) -> Result<Option<String>, OpenTemplateError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OpenTemplateError::Read { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests;
