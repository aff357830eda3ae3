//! What a prompt is made of: what the user asks, from where he says, and what the chat template is
//! told beside it.

use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::Context as _;
use lapwing_host::conversation::{NoVariable, Reads, Told, unread_fields};
use lapwing_text::{ChatInput, ChatTemplate, Message, tools_from_json};
use serde_json::{Map, Value};

use crate::cli::{PromptArgs, TemplateArgs, TemplateVar, Thinking};
use crate::exit::UsageError;
use crate::printer::Printer;
use crate::prompt::{self, PromptError};

/// What the user asks.
pub enum Asked {
    /// One message.
    Text(String),
    /// A whole conversation.
    Conversation(ChatInput),
}

impl Asked {
    /// Read what is asked from where `args` say, stdin if nowhere; `text` is given already.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or there is nothing in it.
    pub fn read(args: &PromptArgs, text: Option<&str>, printer: &Printer) -> anyhow::Result<Asked> {
        let given = text.or(args.prompt.as_deref());
        let (asked, origin) = match (given, &args.prompt_file, &args.messages) {
            (Some(given), _, _) => {
                let origin = if text.is_some() { "was given" } else { "in --prompt" };
                (Asked::Text(given.to_owned()), origin.to_owned())
            }
            (None, Some(path), _) if !prompt::is_stdin(path) => {
                let origin = format!("in {}", path.display());
                (Asked::Text(prompt::from_file(path, "prompt")?), origin)
            }
            (None, None, Some(path)) => (Asked::Conversation(conversation(path)?), String::new()),
            (None, Some(_), _) | (None, None, None) => {
                if std::io::stdin().is_terminal() {
                    printer.note("reading the prompt from the terminal; end it with Ctrl-D");
                }
                let text = prompt::from_stdin("prompt")?;
                return Asked::Text(text).checked("came on stdin".to_owned());
            }
        };
        let files = [&args.messages, &args.template.tools];
        let takes_stdin = files.into_iter().flatten().any(|path| prompt::is_stdin(path));
        if !takes_stdin && prompt::is_stdin_waiting() {
            printer.note("stdin is not read: the prompt is what was given");
        }
        asked.checked(origin)
    }

    /// Unless it is a text with nothing in it; `place` says where that was looked for.
    fn checked(self, place: String) -> anyhow::Result<Asked> {
        match &self {
            Asked::Text(text) if text.trim().is_empty() => {
                let found = if text.is_empty() { "nothing" } else { "nothing but white space" };
                let origin = format!("{found} {place}");
                Err(PromptError::Empty { origin }).context("cannot answer")
            }
            _ => Ok(self),
        }
    }

    /// The messages, and what `template` is told beside them.
    ///
    /// # Errors
    ///
    /// When `args` ask for what the template has no say in, or their files cannot be used.
    pub fn messages(
        self,
        args: &PromptArgs,
        template: Option<&ChatTemplate>,
        printer: &Printer,
    ) -> anyhow::Result<(Vec<Message>, Told)> {
        let (messages, tools) = match self {
            Asked::Conversation(ChatInput { messages, tools }) => {
                let template = template.ok_or_else(|| no_template("--messages"))?;
                let told = told(tools, &args.template, Some(template), printer)?;
                require_read(&messages, &told, template, printer)?;
                return Ok((messages, told));
            }
            Asked::Text(text) => {
                if template.is_none() && args.system.is_some() {
                    printer.warning("--system has no effect: the model has no chat template");
                } else if template.is_none() && !args.raw {
                    printer.note("the model has no chat template: the prompt is sent as it is");
                }
                let system = args.system.iter().map(|system| Message::new("system", &**system));
                (system.chain([Message::new("user", text)]).collect(), None)
            }
        };
        Ok((messages, told(tools, &args.template, template, printer)?))
    }
}

/// See to it that what messages hold beside role and content comes into the prompt.
///
/// # Errors
///
/// When that are tool calls, and the template renders the same without them: the assistant's turn
/// would be an empty one. Of other fields the user is told.
fn require_read(
    messages: &[Message],
    told: &Told,
    template: &ChatTemplate,
    printer: &Printer,
) -> Result<(), UsageError> {
    for (name, number) in unread_fields(messages, told, template) {
        if name == "tool_calls" {
            let problem = format!(
                "the chat template reads no tool calls: the model would not hear of those of \
                 message {number}"
            );
            let advice = "write them into the `content` of the message, or leave them out";
            return Err(UsageError { problem, advice: Some(advice.into()) });
        }
        printer.warning(format!(
            "`{name}` of message {number} has no effect: the chat template does not read it"
        ));
    }
    Ok(())
}

/// What `args` tell the template, and the `tools` of a conversation from a file.
///
/// # Errors
///
/// When the template has no say in what is asked for, or a file cannot be used.
pub fn told(
    tools: Option<Vec<Value>>,
    args: &TemplateArgs,
    template: Option<&ChatTemplate>,
    printer: &Printer,
) -> anyhow::Result<Told> {
    let tools = match (&args.tools, tools) {
        (Some(_), Some(_)) => {
            let problem = "tools come twice: with --tools and in the file of --messages".to_owned();
            return Err(UsageError { problem, advice: Some("leave out one of them".into()) }.into());
        }
        (Some(path), None) => {
            let tools = tools_from_json(json(path, "tools")?);
            Some(tools.with_context(|| format!("cannot use {}", prompt::named(path).display()))?)
        }
        (None, tools) => tools,
    };
    let asked = [
        ("--template-var", !args.template_var.is_empty()),
        ("--thinking", args.thinking.is_some()),
        ("--reasoning-effort", args.reasoning_effort.is_some()),
        ("--tools", tools.is_some()),
    ];
    let Some((first, _)) = asked.into_iter().find(|(_, is_asked)| *is_asked) else {
        return Ok(Told::default());
    };
    let template = template.ok_or_else(|| no_template(first))?;
    let reads = Reads::of(template, tools.is_some()).context("cannot make the prompt")?;
    if tools.is_some() && !reads.has("tools") {
        let problem = "the chat template reads no tools: the model would not hear of them";
        let advice = "describe them in the system message, or leave them out";
        return Err(UsageError { problem: problem.into(), advice: Some(advice.into()) }.into());
    }
    Ok(Told { tools, variables: variables(args, &reads, printer)?, ..Told::default() })
}

/// The variables of the template that `args` ask for.
fn variables(
    args: &TemplateArgs,
    reads: &Reads<'_>,
    printer: &Printer,
) -> Result<Map<String, Value>, UsageError> {
    let thinks = args.thinking.map(|thinking| thinking == Thinking::On);
    let mut variables =
        reads.thinking(thinks, args.reasoning_effort.as_deref()).map_err(|error| {
            let option = match error {
                NoVariable::Thinking => "--thinking",
                NoVariable::Effort => "--reasoning-effort",
            };
            let problem =
                format!("{option} has no effect: the chat template has no variable for it");
            UsageError { problem, advice: Some(format!("leave it out; {}", reads.told())) }
        })?;
    let n_named = variables.len();
    for TemplateVar { key, value } in &args.template_var {
        if variables.keys().take(n_named).any(|named| named == key) {
            let problem =
                format!("`{key}` is given twice: with --template-var and by its own option");
            return Err(UsageError { problem, advice: Some("leave out one of them".into()) });
        }
        if !reads.has(key) {
            printer.warning(format!(
                "--template-var {key} has no effect: the chat template does not read it; {}",
                reads.told()
            ));
        }
        variables.insert(key.clone(), value.clone());
    }
    Ok(variables)
}

/// Tell of a template that no prompt can be made with, where the prompt at hand needs none.
pub fn warn_of_mistake(template: Option<&ChatTemplate>, printer: &Printer) {
    if let Some(Err(mistake)) = template.map(ChatTemplate::check) {
        let mistake = anyhow::Error::new(mistake);
        printer.warning(format!("{mistake:#}; only --raw and token ids do without it"));
    }
}

fn no_template(option: &str) -> UsageError {
    let problem = format!("{option} needs a chat template, and the model has none");
    UsageError { problem, advice: Some("leave it out; --raw sends a prompt as it is".into()) }
}

fn conversation(path: &Path) -> anyhow::Result<ChatInput> {
    let input = ChatInput::from_json(json(path, "messages")?);
    input.with_context(|| format!("cannot use {}", prompt::named(path).display()))
}

fn json(path: &Path, what: &'static str) -> anyhow::Result<Value> {
    let text = prompt::from_file(path, what)?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is no JSON", prompt::named(path).display()))
}

#[cfg(test)]
mod tests {
    use lapwing_text::SpecialTokens;
    use serde_json::json;

    use super::*;

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate::from_source(source, SpecialTokens::default(), Path::new("made.jinja"))
    }

    fn told_to(source: &str, args: &TemplateArgs) -> Result<Map<String, Value>, String> {
        let told = told(None, args, Some(&template(source)), &Printer::new(true));
        told.map(|told| told.variables).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn what_a_template_has_no_say_in_is_an_error() {
        let check = |source: &str, args: TemplateArgs, expected: &str| {
            let error = told_to(source, &args).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        let thinking = TemplateArgs { thinking: Some(Thinking::On), ..TemplateArgs::default() };
        check("{% set thinking = 1 %}{{ thinking }}", thinking, "--thinking has no effect");
        let effort = Some("low".to_owned());
        let effort = TemplateArgs { reasoning_effort: effort, ..TemplateArgs::default() };
        check("{{ enable_thinking }}", effort.clone(), "--reasoning-effort has no effect");
        let variables = told_to("{{ reasoning_effort }}", &effort).unwrap();
        assert_eq!(Value::Object(variables), json!({"reasoning_effort": "low"}));
        let variable = "enable_thinking=false".parse().unwrap();
        let twice = TemplateArgs {
            template_var: vec![variable],
            thinking: Some(Thinking::On),
            ..TemplateArgs::default()
        };
        check("{{ enable_thinking }}", twice, "`enable_thinking` is given twice");
        let none = told(None, &effort, None, &Printer::new(true));
        assert!(none.unwrap_err().to_string().contains("--reasoning-effort needs a chat template"));
    }

    #[test]
    fn tools_need_a_template_that_reads_them() {
        let with_tools = |source: &str| {
            let args = TemplateArgs::default();
            told(Some(Vec::new()), &args, Some(&template(source)), &Printer::new(true))
        };
        assert!(with_tools("{% if tools %}{{ tools | tojson }}{% endif %}").is_ok());
        let error = with_tools("{% for m in messages %}{{ m.content }}{% endfor %}").unwrap_err();
        assert!(error.to_string().contains("reads no tools"), "{error}");
    }

    #[test]
    fn calls_that_a_template_does_not_render_are_refused_and_other_fields_are_told() {
        let check = |field: &str| {
            let mut answer = Message::new("assistant", "");
            answer.extra.insert(field.to_owned(), json!([{"function": {"name": "f"}}]));
            let template = template("{% for m in messages %}{{ m.content }}{% endfor %}");
            let messages = [Message::new("user", "hi"), answer];
            require_read(&messages, &Told::default(), &template, &Printer::new(true))
                .map_err(|error| error.problem)
        };
        let error = check("tool_calls").unwrap_err();
        assert!(error.contains("reads no tool calls") && error.contains("message 2"), "{error}");
        assert_eq!(check("reasoning_content"), Ok(()));
    }

    #[test]
    fn a_variable_is_handed_on_whether_it_is_read_or_not() {
        let variables = ["a=1", "b=x", "a=2"].map(|variable| variable.parse().unwrap()).to_vec();
        let args = TemplateArgs { template_var: variables, ..TemplateArgs::default() };
        let told = told_to("{{ a }}", &args).unwrap();
        assert_eq!(Value::Object(told), json!({"a": 2, "b": "x"}));
    }
}
