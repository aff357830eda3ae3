//! Chat templates: messages to the prompt that a model was trained on.
//!
//! Templates are Jinja, written against Python's jinja2 as the transformers library sets it up;
//! the rendering here follows that, down to how a dictionary prints. Three things differ: the date
//! comes from outside (see [`RenderInput::now`]), `generation` blocks are transparent, and memory,
//! work and time are bounded (see [`crate::jinja`]), because a template comes from whoever made the
//! model. A template is parsed when a prompt first needs it: who brings token ids needs none.

mod control;
mod error;
mod files;
pub(crate) mod local_time;
pub(crate) mod message;
pub(crate) mod rendered;
pub(crate) mod special_tokens;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use lapwing_model::TOOL_TEMPLATE_FILE;
use serde_json::Map;

use crate::Tokenizer;
use crate::guard;
use crate::jinja::value::Value;
use crate::jinja::value::budget::Budget;
use crate::jinja::value::marks::Marks;
use crate::jinja::{Fail, Template};
use crate::tables::longer_first;
pub use error::{OpenTemplateError, RenderError};
use files::{read_json, read_optional};
use local_time::LocalTime;
use message::{Message, value_of};
use rendered::{Rendered, Typed};
use special_tokens::SpecialTokens;

/// The longest template that is accepted; the longest in use have about 30 kB.
const SOURCE_BYTES_MAX: usize = 256 << 10;

const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";

/// A chat template, with the special tokens that it may print. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    default: Arc<Source>,
    /// For prompts with tools.
    tool_use: Option<Arc<Source>>,
    special_tokens: SpecialTokens,
}

/// How what messages spell like tokens is told apart from what a template writes.
struct Marked<'t> {
    typed: Typed<'t>,
    /// What answers show, and so is a token also in them.
    markers: Vec<&'t str>,
}

/// A template, parsed once it is needed.
#[derive(Debug)]
struct Source {
    text: String,
    path: PathBuf,
    parsed: OnceLock<Result<Template, Arc<OpenTemplateError>>>,
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
    /// `chat_template.jinja`, with [`TOOL_TEMPLATE_FILE`] for prompts with tools, is taken before
    /// `chat_template` in `tokenizer_config.json`, which is a string or a list of named templates:
    /// `default`, and `tool_use` for prompts with tools.
    ///
    /// # Errors
    ///
    /// When one of the files cannot be read or is no JSON. A mistake in the template is told by
    /// [`ChatTemplate::check`] and by the first rendering.
    pub fn open(folder: &Path) -> Result<Option<Self>, OpenTemplateError> {
        let config_path = folder.join("tokenizer_config.json");
        let config = read_json(&config_path)?;
        let special_tokens = SpecialTokens::open(folder)?;
        let template_path = folder.join("chat_template.jinja");
        if let Some(source) = read_optional(&template_path)? {
            let mut template = Self::from_source(&source, special_tokens, &template_path);
            let tool_path = folder.join(TOOL_TEMPLATE_FILE);
            if let Some(source) = read_optional(&tool_path)? {
                template = template.with_tool_use(&source, &tool_path);
            }
            return Ok(Some(template));
        }
        Ok(Self::from_config(&config, special_tokens, &config_path))
    }

    /// The chat template in the JSON of a `tokenizer_config.json`; `path` names it in errors.
    pub fn from_config(
        config: &serde_json::Value,
        special_tokens: SpecialTokens,
        path: &Path,
    ) -> Option<Self> {
        let shape = || Some(OpenTemplateError::Shape { path: path.to_owned() });
        let mut default = Source::without(shape());
        let mut tool_use = None;
        match config.get("chat_template") {
            None | Some(serde_json::Value::Null) => return None,
            Some(serde_json::Value::String(source)) => default = Source::new(source, path),
            Some(serde_json::Value::Array(list)) => {
                let named = |name: &str| {
                    let of_name = list.iter().find(|entry| entry["name"].as_str() == Some(name))?;
                    Some(match of_name["template"].as_str() {
                        Some(source) => Source::new(source, path),
                        None => Source::without(shape()),
                    })
                };
                tool_use = named(TOOL_USE).map(Arc::new);
                let has_names = list.iter().all(|entry| entry["name"].is_string());
                let none = OpenTemplateError::NoDefault { path: path.to_owned() };
                default = match named(DEFAULT) {
                    Some(default) => default,
                    None if has_names => Source::without(Some(none)),
                    None => default,
                };
            }
            Some(_) => {}
        }
        Some(Self { default: Arc::new(default), tool_use, special_tokens })
    }

    /// A chat template from its source; `path` names it in errors.
    pub fn from_source(source: &str, special_tokens: SpecialTokens, path: &Path) -> Self {
        let default = Arc::new(Source::new(source, path));
        Self { default, tool_use: None, special_tokens }
    }

    /// This template with another one for prompts with tools; `path` names that in errors.
    #[must_use]
    pub fn with_tool_use(mut self, source: &str, path: &Path) -> Self {
        self.tool_use = Some(Arc::new(Source::new(source, path)));
        self
    }

    /// The template of prompts without tools, as its author wrote it.
    #[must_use]
    pub fn source_text(&self) -> &str {
        &self.default.text
    }

    /// The template of such prompts, as its author wrote it.
    #[must_use]
    pub fn source_text_for(&self, with_tools: bool) -> &str {
        &self.source(with_tools).text
    }

    /// The special tokens that the template may print.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.special_tokens
    }

    /// Whether the template's source holds `text`: a marker, say.
    #[must_use]
    pub fn mentions(&self, text: &str) -> bool {
        let mut templates = std::iter::once(&self.default).chain(&self.tool_use);
        templates.any(|source| source.text.contains(text))
    }

    /// Whether the template's source has `name` as an attribute, or in quotes as the name of an
    /// item; within a longer text (`<|tool_calls|>`) it is no field.
    #[must_use]
    pub fn reads_field(&self, name: &str) -> bool {
        let mut templates = std::iter::once(&self.default).chain(&self.tool_use);
        templates.any(|source| {
            source.text.match_indices(name).any(|(start, _)| {
                let (before, after) = (&source.text[..start], &source.text[start + name.len()..]);
                let after = after.chars().next();
                match before.chars().next_back() {
                    Some('.') => !after.is_some_and(|c| c == '_' || c.is_alphanumeric()),
                    quote @ Some('\'' | '"') => after == quote,
                    _ => false,
                }
            })
        })
    }

    /// Parse what was not parsed yet.
    ///
    /// # Errors
    ///
    /// When a template is too long or has a mistake, or its list has no `default`.
    pub fn check(&self) -> Result<(), Arc<OpenTemplateError>> {
        let mut templates = std::iter::once(&self.default).chain(&self.tool_use);
        templates.try_for_each(|source| source.parsed().map(drop))
    }

    /// The variables that the template reads and does not define itself, `messages` among them;
    /// `with_tools` asks for the template of prompts with tools.
    ///
    /// # Errors
    ///
    /// When the template has a mistake.
    pub fn reads(&self, with_tools: bool) -> Result<BTreeSet<Arc<str>>, Arc<OpenTemplateError>> {
        Ok(self.source(with_tools).parsed()?.reads())
    }

    /// The prompt for `input`. It holds its special tokens: encode it without adding any.
    ///
    /// # Errors
    ///
    /// When the template has a mistake, refuses the messages ([`RenderError::Raised`]), fails, or
    /// exceeds the bounds on memory, work and time.
    pub fn render(&self, input: &RenderInput<'_>) -> Result<String, RenderError> {
        let marks = Marks::default();
        self.text(input, marks, &mut |value| value_of(value), &mut Message::to_value)
    }

    /// The prompt for `input`, in which text of the messages stays text: what is spelled like a
    /// special token of `tokenizer`, or like a marker that it has a token for (`<think>`), is that
    /// token only if both its ends are the template's own. In the assistant's turns, what the
    /// template itself looks for (`</think>`, …) and the markers that answers show are let through.
    ///
    /// # Errors
    ///
    /// As [`ChatTemplate::render`].
    pub fn render_for(
        &self,
        input: &RenderInput<'_>,
        tokenizer: &Tokenizer,
    ) -> Result<Rendered, RenderError> {
        let marked = self.marked(input, tokenizer)?;
        let text = self.marked_text(input, &marked)?;
        Ok(marked.typed.restored(&text))
    }

    /// The same of a conversation whose last message goes on: the prompt ends where its text ends.
    /// `None` where it has no text, or the template does not show it.
    ///
    /// # Errors
    ///
    /// As [`ChatTemplate::render`].
    pub fn render_open(
        &self,
        input: &RenderInput<'_>,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Rendered>, RenderError> {
        let marked = self.marked(input, tokenizer)?;
        let Some((messages, mark)) = marked.typed.with_open_end(input.messages) else {
            return Ok(None);
        };
        let input = RenderInput { messages: &messages, add_generation_prompt: false, ..*input };
        let text = self.marked_text(&input, &marked)?;
        Ok(text.rfind(mark).map(|end| marked.typed.restored(&text[..end])))
    }

    /// What of messages is told apart from the template's own.
    fn marked<'t>(
        &self,
        input: &RenderInput<'_>,
        tokenizer: &'t Tokenizer,
    ) -> Result<Marked<'t>, RenderError> {
        let source = self.source(input.tools.is_some());
        let added = tokenizer.added_spellings().iter().map(String::as_str);
        let markers: Vec<&str> = added
            .filter(|marker| control::is_marker(marker, source.text.contains(marker)))
            .collect();
        let special = tokenizer.special_spellings().iter().map(String::as_str);
        let mut spellings: Vec<&str> = special.chain(markers.iter().copied()).collect();
        longer_first(&mut spellings);
        Ok(Marked { typed: Typed::new(spellings, input, &source.text), markers })
    }

    /// The prompt with its marks.
    fn marked_text(
        &self,
        input: &RenderInput<'_>,
        marked: &Marked<'_>,
    ) -> Result<String, RenderError> {
        let parsed = self.source(input.tools.is_some()).parsed().map_err(RenderError::Unusable)?;
        let Marked { typed, markers } = marked;
        let marks = typed.marks().clone();
        self.text(input, marks, &mut |value| typed.value_of(value), &mut |message| {
            let is_kept = |spelling: &str| {
                let is_own = || markers.contains(&spelling) || parsed.looks_for(spelling);
                message.role == "assistant" && is_own()
            };
            typed.message(message, &is_kept)
        })
    }

    fn source(&self, with_tools: bool) -> &Source {
        match &self.tool_use {
            Some(tool_use) if with_tools => tool_use,
            _ => &self.default,
        }
    }

    fn text(
        &self,
        input: &RenderInput<'_>,
        marks: Marks,
        value: &mut dyn FnMut(&serde_json::Value) -> Value,
        message: &mut dyn FnMut(&Message) -> Value,
    ) -> Result<String, RenderError> {
        let template =
            self.source(input.tools.is_some()).parsed().map_err(RenderError::Unusable)?;
        let mut list = |values: Option<&[serde_json::Value]>| match values {
            Some(values) => Value::given_list(values.iter().map(&mut *value)),
            None => Value::None,
        };
        let (tools, documents) = (list(input.tools), list(input.documents));
        let mut variables = self.special_tokens.variables();
        let mut define = |name: &str, value| {
            variables.retain(|(known, _): &(Arc<str>, Value)| **known != *name);
            variables.push((name.into(), value));
        };
        define("messages", Value::given_list(input.messages.iter().map(message)));
        define("tools", tools);
        define("documents", documents);
        define("add_generation_prompt", Value::Bool(input.add_generation_prompt));
        for (name, extra) in input.extra {
            define(name, value(extra));
        }
        let budget = Budget::new(marks.clone());
        let rendered = guard::caught(|| template.render(variables, input.now, &budget));
        let rendered = rendered.unwrap_or_else(|panic| Err((1, Fail::Other(panic))));
        let text = rendered.map_err(|(line, fail)| RenderError::new(line, fail, &marks))?;
        tracing::debug!(n_messages = input.messages.len(), n_bytes = text.len());
        Ok(text)
    }
}

impl Source {
    fn new(text: &str, path: &Path) -> Source {
        Source { text: text.to_owned(), path: path.to_owned(), parsed: OnceLock::new() }
    }

    /// What stands for a template that is not there.
    fn without(error: Option<OpenTemplateError>) -> Source {
        let parsed = OnceLock::new();
        if let Some(error) = error {
            let _ = parsed.set(Err(Arc::new(error)));
        }
        Source { text: String::new(), path: PathBuf::new(), parsed }
    }

    fn parsed(&self) -> Result<&Template, Arc<OpenTemplateError>> {
        let parsed = self.parsed.get_or_init(|| self.parse().map_err(Arc::new));
        parsed.as_ref().map_err(Arc::clone)
    }

    fn parse(&self) -> Result<Template, OpenTemplateError> {
        let path = || self.path.clone();
        if self.text.len() > SOURCE_BYTES_MAX {
            let n_bytes = self.text.len();
            let n_bytes_max = SOURCE_BYTES_MAX;
            return Err(OpenTemplateError::TooLong { path: path(), n_bytes, n_bytes_max });
        }
        if self.text.trim().is_empty() {
            return Err(OpenTemplateError::Empty { path: path() });
        }
        match guard::caught(|| Template::parse(&self.text)) {
            Ok(Ok(template)) => Ok(template),
            Ok(Err(mistake)) => {
                let line = mistake.line;
                Err(OpenTemplateError::Syntax { path: path(), line, source: mistake.into() })
            }
            Err(panic) => {
                Err(OpenTemplateError::Syntax { path: path(), line: 1, source: panic.into() })
            }
        }
    }
}

#[cfg(test)]
mod tests;
