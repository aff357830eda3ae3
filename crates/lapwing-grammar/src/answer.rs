//! A form as a grammar.

use lapwing_text::ReplyFormat;
use serde_json::{Value, json};

use crate::calls;
use crate::error::FormError;
use crate::rules::{Rules, marker, schema};

/// An answer that is to keep to a form.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The form.
    pub form: Form<'a>,
    /// How the model marks thoughts and calls.
    pub reply: &'a ReplyFormat,
    /// The end of the prompt's text, special tokens spelled: it may open a thought.
    pub prompt_end: &'a str,
    /// Whether a thought may come before the form where the prompt opens none.
    pub may_think: bool,
}

/// A form.
#[derive(Debug, Clone, Copy)]
pub enum Form<'a> {
    /// A JSON object.
    Json,
    /// What a JSON schema describes.
    Schema(&'a Value),
    /// Calls of functions: at least one, or exactly one of `name`.
    Calls {
        /// The functions that may be called, in the form of OpenAI or bare.
        tools: &'a [Value],
        /// The one that must be.
        name: Option<&'a str>,
    },
}

/// The grammar of an answer.
pub(crate) fn grammar(answer: &Answer<'_>) -> Result<String, FormError> {
    let mut rules = Rules::default();
    let body = match answer.form {
        Form::Json => schema(&json!({"type": "object"}))?,
        Form::Schema(wanted) => schema(wanted)?,
        Form::Calls { tools, name } => calls::rules(answer.reply, tools, name, &mut rules)?,
    };
    rules.rule("form", &body);
    match before(answer, &mut rules) {
        Some(before) => rules.rule("start", &format!("{before} form")),
        None => rules.rule("start", "form"),
    }
    Ok(rules.into_text())
}

/// What comes before the form: a thought, or the header of a message.
fn before(answer: &Answer<'_>, rules: &mut Rules) -> Option<String> {
    if let Some(messages) = answer.reply.written_messages() {
        let (channel, message) = (marker(messages.channel), marker(messages.message));
        rules.rule("thought_text", r"/(?s:.+)/");
        rules.rule(
            "thought",
            &format!(
                r#"{channel} "analysis" {message} thought_text {end} {start} "assistant""#,
                end = marker(messages.end),
                start = marker(messages.start)
            ),
        );
        let header = match answer.form {
            Form::Calls { .. } => String::new(),
            _ => format!(r#"{channel} "final" {message}"#),
        };
        let thought = if answer.may_think { "thought?" } else { "" };
        return Some(format!("{thought} {header}"));
    }
    let thought = answer.reply.written_thought(answer.prompt_end)?;
    if thought.open.is_some() && !answer.may_think {
        return None;
    }
    match thought.close.token {
        Some(_) => {
            rules.rule("thought_text", r"/(?s:.+)/");
            rules.rule("thought_end", &format!("thought_text? {}", marker(thought.close)));
        }
        None => {
            let close = marker(thought.close);
            rules.rule(&format!("thought_end[suffix={close}]"), r"/(?s:.*)/");
        }
    }
    let behind = r"(/[ \n]{1,4}/)?";
    Some(match thought.open {
        Some(open) => format!("({} thought_end {behind})?", marker(open)),
        None => format!("thought_end {behind}"),
    })
}
