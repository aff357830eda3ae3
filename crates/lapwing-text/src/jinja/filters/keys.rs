//! What sorting, grouping and adding look at.

use std::cmp::Ordering;

use super::super::operators::order;
use super::super::value::budget::Budget;
use super::super::value::{SeqKind, Value};
use super::super::{Fail, access};
use super::texts::recased;

/// The part of an item that is looked at.
pub(super) struct Keys {
    /// Paths such as `a.b`; none for the item itself.
    pub(super) paths: Vec<String>,
    pub(super) is_single: bool,
    pub(super) default: Option<Value>,
    pub(super) ignores_case: bool,
}

impl Keys {
    pub(super) fn new(case_sensitive: Option<Value>, attribute: Option<Value>) -> Keys {
        let paths: Vec<String> = match attribute {
            None | Some(Value::None) => Vec::new(),
            Some(Value::Str(paths)) => paths.split(',').take(100).map(str::to_owned).collect(),
            Some(other) => other.as_int().map(|idx| idx.to_string()).into_iter().collect(),
        };
        let is_single = paths.len() < 2;
        let ignores_case = !case_sensitive.is_some_and(|flag| flag.is_true());
        Keys { paths, is_single, default: None, ignores_case }
    }

    pub(super) fn of(&self, item: &Value, budget: &Budget) -> Result<Value, Fail> {
        if self.paths.is_empty() {
            return self.folded(item.clone(), budget);
        }
        let mut keys = budget.items();
        for path in &self.paths {
            let key = attribute(item, path, self.default.as_ref(), budget)?;
            let key = self.folded(key, budget)?;
            if self.is_single {
                return Ok(key);
            }
            keys.push(key)?;
        }
        keys.into_value(SeqKind::List)
    }

    fn folded(&self, key: Value, budget: &Budget) -> Result<Value, Fail> {
        match &key {
            Value::Str(text) if self.ignores_case => recased(budget, &budget.plain(text)?, "lower"),
            _ => Ok(key),
        }
    }
}

/// `item.a.b`, with a default for what is not there.
pub(super) fn attribute(
    item: &Value,
    path: &str,
    default: Option<&Value>,
    budget: &Budget,
) -> Result<Value, Fail> {
    let mut value = item.clone();
    for name in path.split('.') {
        let index = match name.parse() {
            Ok(idx) => Value::Int(idx),
            Err(_) => budget.text(name)?,
        };
        value = access::item(&value, &index, budget)?;
        if let (Value::Undefined(_), Some(default)) = (&value, default) {
            value = default.clone();
        }
    }
    Ok(value)
}

/// `items` in the order of their keys.
pub(super) fn sorted(
    budget: &Budget,
    items: &[Value],
    reverse: bool,
    key: impl Fn(&Value) -> Result<Value, Fail>,
) -> Result<Vec<Value>, Fail> {
    let mut keys = budget.items();
    items.iter().try_for_each(|item| keys.push(key(item)?))?;
    let keys = keys.into_value(SeqKind::List)?.iterate(budget)?;
    budget.room(items.len(), size_of::<(Value, Value)>())?;
    let mut pairs: Vec<(&Value, &Value)> = keys.items.iter().zip(items).collect();
    let mut failed = None;
    pairs.sort_by(|(a, _), (b, _)| {
        if failed.is_some() {
            return Ordering::Equal;
        }
        let ordering = order(budget, a, b).unwrap_or_else(|fail| {
            failed = Some(fail);
            None
        });
        let ordering = ordering.unwrap_or(Ordering::Equal);
        if reverse { ordering.reverse() } else { ordering }
    });
    match failed {
        Some(fail) => Err(fail),
        None => Ok(pairs.into_iter().map(|(_, item)| item.clone()).collect()),
    }
}
