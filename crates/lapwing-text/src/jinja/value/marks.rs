//! Characters that stand for others, so that text of users and text of the template stay apart.
//!
//! Where a control token could begin or end in a text that somebody typed, another character stands
//! for the one that it has there. A template never sees the difference: what copies characters takes
//! the marks along, and what looks at them (comparisons, `repr`, methods, …) looks at what they
//! stand for. An operation that gives something else for marked texts than for plain ones gives
//! what it makes of plain ones, and all of that counts as typed.

use std::borrow::Cow;
use std::rc::Rc;

use super::super::Fail;
use super::super::arguments::CallArgs;
use super::budget::Budget;
use super::{SeqKind, Value};

/// What stands for what. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks(Rc<[(char, char)]>);

impl Marks {
    /// Marks from pairs of a character and what stands for it.
    pub(crate) fn new(pairs: Vec<(char, char)>) -> Marks {
        Marks(pairs.into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a character stands for; itself if it is no mark.
    pub(crate) fn original(&self, symbol: char) -> char {
        let pair = self.0.iter().find(|(_, mark)| *mark == symbol);
        pair.map_or(symbol, |(original, _)| *original)
    }

    /// What stands for a character, `None` where nothing does.
    pub(crate) fn mark_of(&self, symbol: char) -> Option<char> {
        let pair = self.0.iter().find(|(original, _)| *original == symbol);
        pair.map(|(_, mark)| *mark)
    }

    fn is_in(&self, text: &str) -> bool {
        !self.is_empty() && text.contains(|symbol| self.original(symbol) != symbol)
    }

    /// A text as it reads.
    pub(crate) fn plain<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.is_in(text) {
            true => text.chars().map(|symbol| self.original(symbol)).collect::<String>().into(),
            false => Cow::Borrowed(text),
        }
    }
}

impl Budget {
    /// A text as it reads, where it has to be looked at as a whole.
    pub(crate) fn plain<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, Fail> {
        if !self.marks().is_empty() {
            self.room(2, text.len())?;
        }
        Ok(self.marks().plain(text))
    }

    /// Whether two texts read alike.
    pub(crate) fn reads_alike(&self, a: &str, b: &str) -> bool {
        let original = |symbol| self.marks().original(symbol);
        a == b || !self.marks().is_empty() && a.chars().map(original).eq(b.chars().map(original))
    }

    /// Give what `operation` makes of a text and of texts among its arguments as they read.
    ///
    /// What it makes of marked ones has the marks where they belong, and is taken if it reads alike.
    pub(in crate::jinja) fn as_read(
        &self,
        text: &str,
        arguments: CallArgs,
        operation: &dyn Fn(&str, CallArgs) -> Result<Value, Fail>,
    ) -> Result<Value, Fail> {
        let marks = self.marks();
        if marks.is_empty() {
            return operation(text, arguments);
        }
        self.room(2, text.len())?;
        let mut is_marked = marks.is_in(text);
        let mut plain = CallArgs::default();
        for value in &arguments.positional {
            plain.positional.push(self.plain_argument(value, &mut is_marked)?);
        }
        for (name, value) in &arguments.named {
            plain.named.push((name.clone(), self.plain_argument(value, &mut is_marked)?));
        }
        if !is_marked {
            return operation(text, arguments);
        }
        let read = operation(&marks.plain(text), plain)?;
        match operation(text, arguments) {
            Ok(marked) if marked.equals(&read, self)? => Ok(marked),
            Err(bound @ Fail::Bound(_)) => Err(bound),
            _ => self.typed(read),
        }
    }

    /// An argument that is a text, or a tuple of texts, as it reads.
    fn plain_argument(&self, value: &Value, is_marked: &mut bool) -> Result<Value, Fail> {
        match value {
            Value::Str(text) if self.marks().is_in(text) => {
                *is_marked = true;
                self.text(&self.plain(text)?)
            }
            Value::Seq(seq) if seq.kind == SeqKind::Tuple => {
                let mut items = self.items();
                for item in &seq.items {
                    items.push(match item {
                        Value::Str(_) => self.plain_argument(item, is_marked)?,
                        other => other.clone(),
                    })?;
                }
                items.into_value(SeqKind::Tuple)
            }
            other => Ok(other.clone()),
        }
    }

    /// A value whose texts count as typed.
    fn typed(&self, value: Value) -> Result<Value, Fail> {
        match &value {
            Value::Str(text) => {
                let mut out = self.out();
                for symbol in text.chars() {
                    out.push_char(self.marks().mark_of(symbol).unwrap_or(symbol))?;
                }
                out.into_value()
            }
            Value::Seq(seq) if matches!(seq.kind, SeqKind::List | SeqKind::Tuple) => {
                let mut items = self.items();
                seq.items.iter().try_for_each(|item| items.push(self.typed(item.clone())?))?;
                items.into_value(seq.kind)
            }
            _ => Ok(value),
        }
    }
}
