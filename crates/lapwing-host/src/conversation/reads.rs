//! What a chat template reads, and so what can be told to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lapwing_text::{ChatTemplate, LocalTime, Message, OpenTemplateError, RenderInput};
use serde_json::{Map, Value};

use super::Told;

/// What every template is given without being asked.
const USUAL: [&str; 4] = ["messages", "tools", "documents", "add_generation_prompt"];

/// Variables by which templates let a model think or not.
const THINKING: [&str; 4] = ["enable_thinking", "thinking", "enable_reasoning", "reasoning"];
/// The same as a number of tokens: -1 is any number.
const THINKING_BUDGET: &str = "thinking_budget";

/// The variable by which templates tell a model how much to think.
const EFFORT: &str = "reasoning_effort";

/// What a template reads.
pub struct Reads<'a> {
    names: BTreeSet<Arc<str>>,
    template: &'a ChatTemplate,
}

/// What a template has no say in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoVariable {
    /// Whether the model thinks.
    #[error("the chat template has no variable for whether to think")]
    Thinking,
    /// How much it thinks.
    #[error("the chat template has no variable for how much to think")]
    Effort,
}

impl Reads<'_> {
    /// What `template` reads, where it is given tools or none.
    ///
    /// # Errors
    ///
    /// When it cannot be read itself.
    pub fn of(
        template: &ChatTemplate,
        with_tools: bool,
    ) -> Result<Reads<'_>, Arc<OpenTemplateError>> {
        Ok(Reads { names: template.reads(with_tools)?, template })
    }

    /// Whether it reads this variable.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The variables that let the model think before it answers, or not, and as much as `effort`
    /// says: a word that the template knows.
    ///
    /// # Errors
    ///
    /// When there are none.
    pub fn thinking(
        &self,
        thinks: Option<bool>,
        effort: Option<&str>,
    ) -> Result<Map<String, Value>, NoVariable> {
        let mut variables = Map::new();
        if let Some(thinks) = thinks {
            let is_read = THINKING.into_iter().filter(|name| self.has(name));
            variables.extend(is_read.map(|name| (name.to_owned(), thinks.into())));
            if self.has(THINKING_BUDGET) {
                variables.insert(THINKING_BUDGET.to_owned(), if thinks { -1 } else { 0 }.into());
            }
            if variables.is_empty() {
                return Err(NoVariable::Thinking);
            }
        }
        if let Some(effort) = effort {
            if !self.has(EFFORT) {
                return Err(NoVariable::Effort);
            }
            variables.insert(EFFORT.to_owned(), effort.into());
        }
        Ok(variables)
    }

    /// What can be given to it, in words.
    pub fn told(&self) -> String {
        let is_special = |name: &str| self.template.special_tokens().get(name).is_some();
        let names = self.names.iter().map(|name| &**name);
        let names: Vec<&str> =
            names.filter(|name| !USUAL.contains(name) && !is_special(name)).collect();
        match names.is_empty() {
            true => "it reads nothing but the messages".to_owned(),
            false => format!("it reads `{}`", names.join("`, `")),
        }
    }
}

/// What messages hold beside role and content and `template` renders the same without, by name: the
/// numbers of the first messages that have it, from 1 on.
pub fn unread_fields<'a>(
    messages: &'a [Message],
    told: &Told,
    template: &ChatTemplate,
) -> Vec<(&'a str, usize)> {
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
        return Vec::new();
    };
    let is_unread = |(name, _): &(&str, usize)| {
        let mut without = messages.to_vec();
        without.iter_mut().for_each(|message| drop(message.extra.shift_remove(*name)));
        rendered(&without).as_ref() == Some(&prompt)
    };
    fields.into_iter().filter(is_unread).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lapwing_text::SpecialTokens;
    use serde_json::json;

    use super::*;

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate::from_source(source, SpecialTokens::default(), Path::new("made.jinja"))
    }

    #[test]
    fn thinking_is_told_by_the_variables_that_the_template_reads() {
        let check = |source: &str, thinks: bool, expected: Value| {
            let template = template(source);
            let variables = Reads::of(&template, false).unwrap().thinking(Some(thinks), None);
            assert_eq!(Value::Object(variables.unwrap()), expected, "{source}");
        };
        let qwen = "{% if enable_thinking is defined and enable_thinking is false %}x{% endif %}";
        check(qwen, false, json!({"enable_thinking": false}));
        let deepseek = "{% if not thinking is defined %}{% set thinking = false %}{% endif %}";
        check(deepseek, true, json!({"thinking": true}));
        check("{{ thinking_budget }}", true, json!({"thinking_budget": -1}));
        check("{{ thinking_budget }}", false, json!({"thinking_budget": 0}));
        let both = "{{ thinking }}{{ enable_thinking }}";
        check(both, true, json!({"enable_thinking": true, "thinking": true}));
    }

    #[test]
    fn what_can_be_given_is_told_without_the_usual() {
        let config = json!({"bos_token": "<s>"});
        let tokens = SpecialTokens::from_config(&config);
        let source = "{{ bos_token }}{{ messages }}{{ add_generation_prompt }}{{ date }}{{ a }}";
        let template = ChatTemplate::from_source(source, tokens, Path::new("made.jinja"));
        assert_eq!(Reads::of(&template, false).unwrap().told(), "it reads `a`, `date`");
    }

    #[test]
    fn fields_that_a_template_does_not_render_are_found() {
        let calls = json!([{"type": "function", "function": {"name": "f", "arguments": {}}}]);
        let with = |field: &str, value: &Value| {
            let mut answer = Message::new("assistant", "");
            answer.extra.insert(field.to_owned(), value.clone());
            let mut result = Message::new("tool", "4");
            result.extra.insert("tool_call_id".to_owned(), json!("1"));
            result.extra.insert("name".to_owned(), json!("f"));
            [Message::new("user", "hi"), answer, result]
        };
        let check = |source: &str, messages: &[Message], expected: &[(&str, usize)]| {
            let found = unread_fields(messages, &Told::default(), &template(source));
            assert_eq!(found, expected, "{source}");
        };
        let plain = "{% for m in messages %}{{ m.content }}{% endfor %}";
        check(plain, &with("tool_calls", &calls), &[("tool_calls", 2)]);
        // Those that are mentioned but not rendered either.
        let counted = format!("{plain}{{% if messages[0].tool_calls %}}x{{% endif %}}");
        check(&counted, &with("tool_calls", &calls), &[("tool_calls", 2)]);
        // Those that are read by any way, none at all, and other fields.
        for source in ["{{ messages | tojson }}", "{{ messages[1].tool_calls[0].function.name }}"] {
            check(source, &with("tool_calls", &calls), &[]);
        }
        check(plain, &with("tool_calls", &json!([])), &[]);
        check(plain, &with("reasoning_content", &json!("hm")), &[("reasoning_content", 2)]);
        check("{{ raise_exception('no') }}", &with("tool_calls", &calls), &[]);
    }
}
