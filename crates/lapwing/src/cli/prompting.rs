//! Arguments about what is asked: of the commands that make a prompt.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use lapwing_host::ParseChoiceError;
use serde_json::Value;

use crate::exit::UsageError;

/// The words of a command that makes a prompt, and what is beside them: `MODEL TEXT`, or
/// `--model MODEL TEXT`.
pub(super) struct Words<'a> {
    pub(super) first: &'a Option<String>,
    pub(super) second: &'a Option<String>,
    pub(super) model: &'a Option<String>,
    /// Whether an option says what is asked.
    pub(super) has_source: bool,
    /// How the command is written.
    pub(super) usage: &'static str,
}

impl<'a> Words<'a> {
    /// The model, and the text if it was given as a word.
    pub(super) fn model_and_text(self) -> Result<(&'a str, Option<&'a str>), UsageError> {
        let [first, second, model] =
            [self.first, self.second, self.model].map(|word| word.as_deref());
        let problem = match (model, first, second) {
            (None, Some(model), text) => return Ok((model, text)),
            (Some(model), None, None) => return Ok((model, None)),
            (Some(model), text, None) if !self.has_source => return Ok((model, text)),
            (Some(_), _, None) => "the prompt is given twice: as a word and by an option",
            (Some(_), _, Some(_)) => "the model is given twice: as a word and with --model",
            (None, None, _) => "no model is given",
        };
        Err(UsageError { problem: problem.to_owned(), advice: Some(self.usage.to_owned()) })
    }
}

/// What a prompt is made of.
#[derive(Debug, Clone, Default, Args)]
pub struct PromptArgs {
    /// The prompt; without one it is read from stdin
    #[arg(short, long, value_name = "TEXT", group = "prompt_source")]
    pub prompt: Option<String>,
    /// Read the prompt from a file; `-` is stdin
    #[arg(long, value_name = "FILE", group = "prompt_source")]
    pub prompt_file: Option<PathBuf>,
    /// Read a conversation from a file: a JSON list of messages, or an object with `messages` and
    /// `tools`; `-` is stdin
    #[arg(long, value_name = "FILE", group = "prompt_source")]
    #[arg(conflicts_with_all = ["raw", "system"])]
    pub messages: Option<PathBuf>,
    /// Send the prompt as it is, without the chat template
    #[arg(long)]
    #[arg(conflicts_with_all = ["template_var", "thinking", "reasoning_effort", "tools"])]
    pub raw: bool,
    /// The system message
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    pub system: Option<String>,
    #[command(flatten)]
    pub template: TemplateArgs,
}

impl PromptArgs {
    /// Whether they say what is asked.
    pub(super) fn has_source(&self) -> bool {
        let PromptArgs { prompt, prompt_file, messages, .. } = self;
        prompt.is_some() || prompt_file.is_some() || messages.is_some()
    }
}

/// What the chat template is told beside the messages.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Chat template")]
pub struct TemplateArgs {
    /// A variable of the template: VALUE is JSON, True, False or None, or else a text; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub template_var: Vec<TemplateVar>,
    /// Let the model think before it answers, or not, where its template has a say in that
    #[arg(long, value_enum, value_name = "ON|OFF")]
    pub thinking: Option<Thinking>,
    /// How much the model thinks, where its template has a say in that
    #[arg(long, value_name = "LEVEL", value_parser = ["low", "medium", "high"])]
    pub reasoning_effort: Option<String>,
    /// Functions that the model may call: a JSON list as OpenAI's API takes it; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub tools: Option<PathBuf>,
}

/// `--thinking`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Thinking {
    On,
    Off,
}

/// `--template-var KEY=VALUE`.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateVar {
    /// The variable.
    pub key: String,
    /// What it is.
    pub value: Value,
}

impl FromStr for TemplateVar {
    type Err = ParseChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let failed = |expected| ParseChoiceError { expected, found: text.to_owned() };
        let is_name = |key: &str| {
            key.starts_with(|first: char| first.is_alphabetic() || first == '_')
                && key.chars().all(|symbol| symbol.is_alphanumeric() || symbol == '_')
        };
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| is_name(key))
            .ok_or_else(|| failed("KEY=VALUE such as enable_thinking=false"))?;
        if matches!(key, "messages" | "tools") {
            return Err(failed("another key: --messages and --tools give these"));
        }
        Ok(TemplateVar { key: key.to_owned(), value: value_of(value) })
    }
}

/// JSON, a word as Python writes it (templates are read with it in mind), or else a text.
fn value_of(text: &str) -> Value {
    match text.trim() {
        "True" => Value::Bool(true),
        "False" => Value::Bool(false),
        "None" => Value::Null,
        _ => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_json_or_else_a_text() {
        let check = |text: &str, key: &str, value: Value| {
            let expected = TemplateVar { key: key.to_owned(), value };
            assert_eq!(text.parse::<TemplateVar>().unwrap(), expected, "{text}");
        };
        check("enable_thinking=false", "enable_thinking", json!(false));
        check("enable_thinking=False", "enable_thinking", json!(false));
        check("enable_thinking= True ", "enable_thinking", json!(true));
        check("date=None", "date", Value::Null);
        check("text=\"False\"", "text", json!("False"));
        check("text=Falsehood", "text", json!("Falsehood"));
        check("n=12", "n", json!(12));
        check("date=26 Jul 2024", "date", json!("26 Jul 2024"));
        check("quoted=\"12\"", "quoted", json!("12"));
        check("list=[1, {\"a\": null}]", "list", json!([1, {"a": null}]));
        check("empty=", "empty", json!(""));
        check("_x=a=b", "_x", json!("a=b"));
        for wrong in ["enable_thinking", "=1", "a b=1", "1a=2", "messages=[]", "tools=[]"] {
            assert!(wrong.parse::<TemplateVar>().is_err(), "{wrong}");
        }
    }
}
