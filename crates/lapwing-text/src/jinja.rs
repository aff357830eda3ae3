//! A template engine for chat templates: Jinja as Python's jinja2 reads it, within bounds.
//!
//! ```text
//! source ─► lexer ─► parser ─► tree        once, at the first prompt that needs the template
//! tree + variables ─► interpreter ─► text  for each prompt, within a Budget
//! ```
//!
//! A template comes from whoever made the model, so that it is hostile until shown otherwise. Every
//! value that it makes is charged to a [`Budget`] while it lives, every step of the interpreter and
//! every byte that a filter looks at is work, and there is a deadline. That holds within
//! expressions, because nothing here makes a text, a list or a dictionary but through the budget.
//! Nesting is bounded everywhere (source, values, calls), so that no recursion overflows a stack.
//!
//! To add a filter, see [`filters`]; a test, [`checks`]; a method, [`methods`]. Each gets a line in
//! `testdata/snippets.txt`, whose expected text `testdata/expected.py` records from jinja2.

mod access;
mod arguments;
mod as_read;
mod checks;
mod filters;
mod format;
mod interpreter;
mod json;
mod lexer;
mod methods;
mod names;
mod operators;
mod parser;
mod python_text;

mod tree;
pub(crate) mod value;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;

use crate::LocalTime;
use interpreter::Interpreter;
use value::Value;
use value::budget::{BYTES_MAX, Budget};

/// A parsed template. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    body: Arc<[tree::Node]>,
    /// Texts that the template compares others with or looks for in them.
    probes: Arc<[Arc<str>]>,
}

/// A source that is no template.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Mistake {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// Why a rendering ended early.
#[derive(Debug)]
pub(crate) enum Fail {
    /// The template called `raise_exception`.
    Raised(String),
    /// It needs more of something than a prompt does.
    Bound(Box<Exceeded>),
    /// What jinja2 would call an error.
    Other(String),
}

/// A bound that a rendering would not keep to.
#[derive(Debug)]
pub(crate) struct Exceeded {
    /// What is bounded.
    pub(crate) bound: &'static str,
    /// The most of it that there may be, with its unit.
    pub(crate) limit: String,
    /// How much it would be.
    pub(crate) found: String,
}

/// What is found where nobody counts on.
const MORE: &str = "more";

impl Fail {
    pub(crate) fn bound(bound: &'static str, limit: impl Display, found: impl Display) -> Fail {
        let (limit, found) = (limit.to_string(), found.to_string());
        Fail::Bound(Box::new(Exceeded { bound, limit, found }))
    }

    /// The same for memory, where so much of something would never have room.
    pub(crate) fn memory(found: impl Display) -> Fail {
        Fail::bound("memory", format_args!("{BYTES_MAX} bytes"), found)
    }

    pub(crate) fn other(message: impl Into<String>) -> Fail {
        Fail::Other(message.into())
    }
}

impl Template {
    /// Read a template.
    ///
    /// # Errors
    ///
    /// When it has a mistake, or is nested deeper than any template needs to be.
    pub(crate) fn parse(source: &str) -> Result<Template, Mistake> {
        let parsed = parser::parse(lexer::tokens(source)?)?;
        Ok(Template { body: parsed.body.into(), probes: parsed.probes.into() })
    }

    /// Whether the template itself looks for `text` in what it is given.
    pub(crate) fn looks_for(&self, text: &str) -> bool {
        self.probes.iter().any(|probe| probe.contains(text))
    }

    /// The variables that the template reads and does not define itself.
    pub(crate) fn reads(&self) -> BTreeSet<Arc<str>> {
        names::read(&self.body)
    }

    /// The text for `variables`; an error comes with the line where it arose.
    pub(crate) fn render(
        &self,
        variables: Vec<(Arc<str>, Value)>,
        now: LocalTime,
        budget: &Budget,
    ) -> Result<String, (usize, Fail)> {
        let mut interpreter = Interpreter::new(variables, now, budget);
        interpreter.render(&self.body).map_err(|fail| (interpreter.line(), fail))
    }
}

#[cfg(test)]
mod tests;
