//! Keys and values: dictionaries and namespaces.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::super::Fail;
use super::budget::{Budget, Charge};
use super::{Depth, SeqKind, Value};

/// Keys and values, in the order of their insertion. Looked up one by one: dictionaries of chat
/// templates are small, and the work is counted.
#[derive(Debug, Default)]
pub(crate) struct Dict {
    pub(crate) entries: Vec<(Value, Value)>,
    pub(super) depth: Depth,
    pub(super) holds_namespace: bool,
    pub(super) _charge: Option<Charge>,
}

/// `namespace(…)`: the one value that can change. None is ever put into one, so that there are no
/// circles.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) fields: RefCell<Vec<(Value, Value)>>,
    pub(super) depth: Cell<Depth>,
    pub(super) charge: RefCell<Charge>,
}

impl Dict {
    /// A dictionary of what is given, and not of the template's making.
    pub(crate) fn given(entries: impl IntoIterator<Item = (Value, Value)>) -> Value {
        let entries: Vec<(Value, Value)> = entries.into_iter().collect();
        let depth = 1 + entries.iter().map(|(_, value)| value.depth()).max().unwrap_or(0);
        Value::Dict(Rc::new(Dict { entries, depth, ..Dict::default() }))
    }

    /// A dictionary of the template's making; later values of a key win.
    pub(crate) fn made(budget: &Budget, pairs: Vec<(Value, Value)>) -> Result<Value, Fail> {
        let mut charge = budget.charge(size_of::<Dict>())?;
        let mut nesting = budget.items();
        let mut entries: Vec<(Value, Value)> = Vec::new();
        for (key, value) in pairs {
            if matches!(key, Value::Dict(_) | Value::Namespace(_))
                || matches!(&key, Value::Seq(seq) if seq.kind == SeqKind::List)
            {
                return Err(Fail::other(format!("unhashable type: '{}'", key.type_name())));
            }
            nesting.note(&value)?;
            nesting.note(&key)?;
            match position(&entries, &key, budget)? {
                Some(idx) => entries[idx].1 = value,
                None => {
                    charge.grow(4 * size_of::<Value>())?;
                    entries.push((key, value));
                }
            }
        }
        let holds_namespace = entries.iter().any(|(_, value)| value.holds_namespace());
        let depth = 1 + entries.iter().map(|(_, value)| value.depth()).max().unwrap_or(0);
        let dict = Dict { entries, depth, holds_namespace, _charge: Some(charge) };
        Ok(Value::Dict(Rc::new(dict)))
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &Value, budget: &Budget) -> Result<Option<&Value>, Fail> {
        let found = position(&self.entries, key, budget)?;
        Ok(found.map(|idx| &self.entries[idx].1))
    }

    /// The value of a key that is a text.
    pub(crate) fn get_str(&self, key: &str, budget: &Budget) -> Result<Option<&Value>, Fail> {
        budget.work(1 + self.entries.len() / 4)?;
        let is_key = |(name, _): &&(Value, Value)| {
            name.as_str().is_some_and(|name| budget.reads_alike(name, key))
        };
        Ok(self.entries.iter().find(is_key).map(|(_, value)| value))
    }
}

/// Where `key` is.
fn position(
    entries: &[(Value, Value)],
    key: &Value,
    budget: &Budget,
) -> Result<Option<usize>, Fail> {
    budget.work(1 + entries.len() / 4)?;
    for (idx, (name, _)) in entries.iter().enumerate() {
        if name.equals(key, budget)? {
            return Ok(Some(idx));
        }
    }
    Ok(None)
}

impl Namespace {
    /// A namespace with `fields`.
    pub(crate) fn made(budget: &Budget, fields: Vec<(Value, Value)>) -> Result<Value, Fail> {
        let charge = RefCell::new(budget.charge(size_of::<Namespace>())?);
        let namespace = Namespace { fields: RefCell::default(), depth: Cell::new(1), charge };
        for (name, value) in fields {
            namespace.set(name, value, budget)?;
        }
        Ok(Value::Namespace(Rc::new(namespace)))
    }

    /// Give a field a value.
    pub(crate) fn set(&self, name: Value, value: Value, budget: &Budget) -> Result<(), Fail> {
        if value.holds_namespace() {
            return Err(Fail::bound("namespaces within each other", 1, 2));
        }
        // Its depth is that of the deepest value it ever had.
        self.depth.set(self.depth.get().max(value.depth() + 1));
        let mut fields = self.fields.borrow_mut();
        match position(&fields, &name, budget)? {
            Some(idx) => fields[idx].1 = value,
            None => {
                self.charge.borrow_mut().grow(4 * size_of::<Value>())?;
                fields.push((name, value));
            }
        }
        Ok(())
    }

    pub(crate) fn get(&self, name: &str) -> Option<Value> {
        let fields = self.fields.borrow();
        let field = fields.iter().find(|(key, _)| key.as_str() == Some(name));
        field.map(|(_, value)| value.clone())
    }
}
