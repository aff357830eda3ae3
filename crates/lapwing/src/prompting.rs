//! What a prompt is made of: what the user asks, from where he says, and what the chat template is
//! told beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use lapwing_host::conversation::Told;
use lapwing_text::{ChatInput, ChatTemplate, LocalTime, Message, RenderInput, tools_from_json};
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

/// What every template is given without being asked.
const USUAL: [&str; 4] = ["messages", "tools", "documents", "add_generation_prompt"];

/// Variables by which templates let a model think or not.
const THINKING: [&str; 4] = ["enable_thinking", "thinking", "enable_reasoning", "reasoning"];
/// The same as a number of tokens: -1 is any number.
const THINKING_BUDGET: &str = "thinking_budget";

/// The variable by which templates tell a model how much to think.
const EFFORT: &str = "reasoning_effort";

impl Asked {
    /// Read what is asked from where `args` say, stdin if nowhere; `text` is given already.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or there is nothing in it.
    pub fn read(args: &PromptArgs, text: Option<&str>, printer: &Printer) -> anyhow::Result<Asked> {
        let given = text.or(args.prompt.as_deref());
        let (asked, origin) = match (given, &args.prompt_file, &args.messages) {
            (Some(text), _, _) => (Asked::Text(text.to_owned()), "in --prompt".to_owned()),
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
    let rendered = |messages: &[Message]| {
        let input = RenderInput {
            messages,
            tools: told.tools.as_deref(),
            documents: None,
            add_generation_prompt: true,
            now: LocalTime::from_unix(0, 0),
            extra: &told.variables,
        };
        template.render(&input).ok()
    };
    let says = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    // What belongs to a call is told by the order of the messages too.
    let is_label = |message: &Message, name: &str| {
        name == "tool_call_id" || (name == "name" && message.role == "tool")
    };
    let mut fields: BTreeMap<&str, usize> = BTreeMap::new();
    for (idx, message) in messages.iter().enumerate() {
        let said = message.extra.iter().filter(|(_, value)| says(value));
        for (name, _) in said.filter(|(name, _)| !is_label(message, name)) {
            fields.entry(name).or_insert(idx + 1);
        }
    }
    // A template that refuses the messages says so when the prompt is made.
    let Some(prompt) = (!fields.is_empty()).then(|| rendered(messages)).flatten() else {
        return Ok(());
    };
    for (name, number) in fields {
        let mut without = messages.to_vec();
        without.iter_mut().for_each(|message| drop(message.extra.shift_remove(name)));
        if rendered(&without).as_ref() != Some(&prompt) {
            continue;
        }
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
    let reads = template.reads(tools.is_some()).context("cannot make the prompt")?;
    let reads = Reads { names: reads, template };
    if tools.is_some() && !reads.has("tools") {
        let problem = "the chat template reads no tools: the model would not hear of them";
        let advice = "describe them in the system message, or leave them out";
        return Err(UsageError { problem: problem.into(), advice: Some(advice.into()) }.into());
    }
    Ok(Told { tools, variables: variables(args, &reads, printer)? })
}

/// The variables of the template that `args` ask for.
fn variables(
    args: &TemplateArgs,
    reads: &Reads<'_>,
    printer: &Printer,
) -> Result<Map<String, Value>, UsageError> {
    let mut variables = Map::new();
    if let Some(thinking) = args.thinking {
        let thinks = thinking == Thinking::On;
        let is_read = THINKING.into_iter().filter(|name| reads.has(name));
        variables.extend(is_read.map(|name| (name.to_owned(), thinks.into())));
        if reads.has(THINKING_BUDGET) {
            variables.insert(THINKING_BUDGET.to_owned(), if thinks { -1 } else { 0 }.into());
        }
        if variables.is_empty() {
            return Err(reads.nothing_for("--thinking"));
        }
    }
    if let Some(effort) = &args.reasoning_effort {
        if !reads.has(EFFORT) {
            return Err(reads.nothing_for("--reasoning-effort"));
        }
        variables.insert(EFFORT.to_owned(), effort.as_str().into());
    }
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

/// What a template reads.
struct Reads<'a> {
    names: BTreeSet<Arc<str>>,
    template: &'a ChatTemplate,
}

impl Reads<'_> {
    fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// What can be given to it, in words.
    fn told(&self) -> String {
        let is_special = |name: &str| self.template.special_tokens().get(name).is_some();
        let names = self.names.iter().map(|name| &**name);
        let names: Vec<&str> =
            names.filter(|name| !USUAL.contains(name) && !is_special(name)).collect();
        match names.is_empty() {
            true => "it reads nothing but the messages".to_owned(),
            false => format!("it reads `{}`", names.join("`, `")),
        }
    }

    fn nothing_for(&self, option: &str) -> UsageError {
        let problem = format!("{option} has no effect: the chat template has no variable for it");
        UsageError { problem, advice: Some(format!("leave it out; {}", self.told())) }
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
    fn thinking_is_told_by_the_variables_that_the_template_reads() {
        let check = |source: &str, thinking: Thinking, expected: Value| {
            let args = TemplateArgs { thinking: Some(thinking), ..TemplateArgs::default() };
            assert_eq!(Value::Object(told_to(source, &args).unwrap()), expected, "{source}");
        };
        let qwen = "{% if enable_thinking is defined and enable_thinking is false %}x{% endif %}";
        check(qwen, Thinking::Off, json!({"enable_thinking": false}));
        let deepseek = "{% if not thinking is defined %}{% set thinking = false %}{% endif %}";
        check(deepseek, Thinking::On, json!({"thinking": true}));
        check("{{ thinking_budget }}", Thinking::On, json!({"thinking_budget": -1}));
        check("{{ thinking_budget }}", Thinking::Off, json!({"thinking_budget": 0}));
        let both = "{{ thinking }}{{ enable_thinking }}";
        check(both, Thinking::On, json!({"enable_thinking": true, "thinking": true}));
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
    fn calls_that_a_template_does_not_render_are_refused() {
        let calls = json!([{"type": "function", "function": {"name": "f", "arguments": {}}}]);
        let with = |field: &str, value: &Value| {
            let mut answer = Message::new("assistant", "");
            answer.extra.insert(field.to_owned(), value.clone());
            let mut result = Message::new("tool", "4");
            result.extra.insert("tool_call_id".to_owned(), json!("1"));
            result.extra.insert("name".to_owned(), json!("f"));
            [Message::new("user", "hi"), answer, result]
        };
        let check = |source: &str, messages: &[Message]| {
            require_read(messages, &Told::default(), &template(source), &Printer::new(true))
                .map_err(|error| error.problem)
        };
        let plain = "{% for m in messages %}{{ m.content }}{% endfor %}";
        let error = check(plain, &with("tool_calls", &calls)).unwrap_err();
        assert!(error.contains("reads no tool calls") && error.contains("message 2"), "{error}");
        // Those that are mentioned but not rendered either.
        let counted = format!("{plain}{{% if messages[0].tool_calls %}}x{{% endif %}}");
        assert!(check(&counted, &with("tool_calls", &calls)).is_err());
        // Those that are read by any way, none at all, and other fields.
        for source in ["{{ messages | tojson }}", "{{ messages[1].tool_calls[0].function.name }}"] {
            assert_eq!(check(source, &with("tool_calls", &calls)), Ok(()), "{source}");
        }
        assert_eq!(check(plain, &with("tool_calls", &json!([]))), Ok(()));
        assert_eq!(check(plain, &with("reasoning_content", &json!("hm"))), Ok(()));
        assert_eq!(check("{{ raise_exception('no') }}", &with("tool_calls", &calls)), Ok(()));
    }

    #[test]
    fn a_variable_is_handed_on_whether_it_is_read_or_not() {
        let variables = ["a=1", "b=x", "a=2"].map(|variable| variable.parse().unwrap()).to_vec();
        let args = TemplateArgs { template_var: variables, ..TemplateArgs::default() };
        let told = told_to("{{ a }}", &args).unwrap();
        assert_eq!(Value::Object(told), json!({"a": 2, "b": "x"}));
    }

    #[test]
    fn what_can_be_given_is_told_without_the_usual() {
        let config = json!({"bos_token": "<s>"});
        let tokens = SpecialTokens::from_config(&config);
        let source = "{{ bos_token }}{{ messages }}{{ add_generation_prompt }}{{ date }}{{ a }}";
        let template = ChatTemplate::from_source(source, tokens, Path::new("made.jinja"));
        let reads = Reads { names: template.reads(false).unwrap(), template: &template };
        assert_eq!(reads.told(), "it reads `a`, `date`");
    }
}
