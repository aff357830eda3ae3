//! The template engine, set up as the transformers library sets up jinja2.

use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};

use super::budget::Budget;
use super::{json, methods, source};

/// `raise_exception(message)` was called.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct TemplateRaised {
    pub(super) message: String,
}

/// Nested calls of macros cost 5 to 10 each; schemas are printed by recursive macros.
const RECURSION_MAX: usize = 300;

/// An engine without templates and without a budget.
pub(super) fn new() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the delimiters are the usual ones"));
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_debug(false);
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_unknown_method_callback(methods::call);
    environment.add_function("raise_exception", raise_exception);
    environment.add_filter("tojson", to_json);
    environment.add_test("sequence", is_sequence);
    environment.add_test("iterable", is_sequence);
    environment
}

/// Make the probes that [`source::prepare`] put into templates draw on `budget`.
pub(super) fn limit(environment: &mut Environment<'static>, budget: &Arc<Budget>) {
    let steps = budget.clone();
    environment
        .add_test(source::STEP_TEST, move |n_bytes: usize| steps.step(n_bytes).map(|()| false));
    let stored = budget.clone();
    environment
        .add_test(source::STORE_TEST, move |value: &Value| stored.store(value).map(|()| false));
    let printed = budget.clone();
    environment.set_formatter(move |out, _, value| {
        let text = match value.as_str() {
            Some(text) => text,
            None => &value.to_string(),
        };
        printed.print(text.len())?;
        out.write_str(text).map_err(Error::from)
    });
}

fn raise_exception(message: &Value) -> Result<Value, Error> {
    let raised = TemplateRaised { message: message.to_string() };
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(raised))
}

/// Python's `json.dumps`; arguments and defaults as in the transformers library.
fn to_json(value: &Value, ensure_ascii: Option<bool>, kwargs: Kwargs) -> Result<String, Error> {
    let ensure_ascii = ensure_ascii.or(kwargs.get("ensure_ascii")?).unwrap_or(false);
    let indent: Option<Value> = kwargs.get("indent")?;
    let indent = match indent.filter(|indent| !indent.is_none()) {
        None => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(indent)?.min(json::INDENT_MAX)),
        }),
    };
    let separators: Option<Value> = kwargs.get("separators")?;
    let separators = match separators.filter(|separators| !separators.is_none()) {
        None => None,
        Some(pair) => {
            let of = |idx| pair.get_item_by_index(idx).map(|separator| separator.to_string());
            Some((of(0)?, of(1)?))
        }
    };
    let sort_keys = kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    kwargs.assert_all_used()?;
    json::dumps(value, &json::Style::new(ensure_ascii, indent, separators, sort_keys))
}

/// What Python can iterate over or index: strings, dictionaries and jinja2's undefined too.
fn is_sequence(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::Seq
            | ValueKind::Map
            | ValueKind::String
            | ValueKind::Iterable
            | ValueKind::Undefined
    )
}
