//! Forms of the same messages: templates were written for one or the other.

use std::borrow::Cow;

use lapwing_text::{ChatTemplate, Message};
use serde_json::Value;

use super::TOOL_CALLS;

/// The forms in which a template may take messages, the likeliest first.
///
/// Clients write null where an answer has calls and no text. Templates that ask for it tell calls by
/// it; others print it as `None`, or fail over it.
pub(super) fn of<'a>(
    messages: &'a [Message],
    template: &ChatTemplate,
    with_tools: bool,
) -> Vec<Cow<'a, [Message]>> {
    // Fields are written with a dot or in brackets.
    let source = template.source_text_for(with_tools).replace(['\'', '"', ']'], "");
    let asks_for_none =
        source.contains("content is none") || source.contains("content is not none");
    let mut forms: Vec<Cow<'a, [Message]>> = match with_texts(messages) {
        Some(with_texts) if asks_for_none => vec![messages.into(), with_texts.into()],
        Some(with_texts) => vec![with_texts.into()],
        None => vec![messages.into()],
    };
    let with_text: Vec<_> =
        forms.iter().filter_map(|messages| with_arguments_as_text(messages)).collect();
    forms.extend(with_text.into_iter().map(Cow::from));
    forms
}

/// The messages with an empty text where an answer has null; `None` where that changes nothing.
fn with_texts(messages: &[Message]) -> Option<Vec<Message>> {
    let is_empty = |message: &Message| {
        message.role == "assistant" && message.content.as_ref().is_some_and(Value::is_null)
    };
    messages.iter().any(is_empty).then(|| {
        let mut messages = messages.to_vec();
        for message in messages.iter_mut().filter(|message| is_empty(message)) {
            message.content = Some("".into());
        }
        messages
    })
}

/// The messages with the arguments of their calls as JSON in a string, which templates that join them
/// with text want; `None` where that changes nothing.
fn with_arguments_as_text(messages: &[Message]) -> Option<Vec<Message>> {
    let mut messages = messages.to_vec();
    let calls = messages.iter_mut().filter_map(|message| message.extra.get_mut(TOOL_CALLS));
    let calls = calls.filter_map(Value::as_array_mut).flatten();
    let mut has_changed = false;
    for arguments in calls.filter_map(|call| call.pointer_mut("/function/arguments")) {
        if !arguments.is_string() {
            *arguments = arguments.to_string().into();
            has_changed = true;
        }
    }
    has_changed.then_some(messages)
}

/// Whether the last message is an answer that can go on: what calls functions is over.
pub(super) fn is_begun_answer(messages: &[Message]) -> bool {
    messages.last().is_some_and(|last| {
        let calls = last.extra.get(TOOL_CALLS).and_then(Value::as_array);
        last.role == "assistant" && calls.is_none_or(Vec::is_empty)
    })
}
