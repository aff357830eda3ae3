//! Operations that look at texts with marks: see [`super::value::marks`].

use super::Fail;
use super::arguments::CallArgs;
use super::value::budget::Budget;
use super::value::{SeqKind, Value};

impl Budget {
    /// Give what `operation` makes of a text and of texts among its arguments as they read.
    ///
    /// What it makes of marked ones has the marks where they belong, and is taken if it reads alike.
    pub(super) fn as_read(
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
