//! What `loop` is inside a loop.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::super::Fail;
use super::super::tree::For;
use super::budget::Budget;
use super::{Depth, Seq, Value};

/// A loop while it runs.
#[derive(Debug)]
pub(crate) struct LoopState {
    pub(crate) items: Rc<Seq>,
    pub(crate) idx: Cell<usize>,
    /// How many loops of a recursive one are around this one.
    pub(crate) level: usize,
    pub(crate) last_checked: RefCell<Option<Vec<Value>>>,
    pub(in crate::jinja) looped: Arc<For>,
    /// The scope around the loop.
    pub(crate) frame: usize,
}

impl LoopState {
    pub(crate) fn depth(&self) -> Depth {
        self.items.depth + 1
    }

    /// `loop.name`; `None` when there is no such thing.
    pub(crate) fn attribute(&self, name: &str) -> Option<Value> {
        let (idx, n_items) = (self.idx.get(), self.items.items.len());
        let item = |idx: Option<usize>| {
            let item = idx.and_then(|idx| self.items.items.get(idx));
            item.cloned().unwrap_or(Value::Undefined(None))
        };
        Some(match name {
            "index" => (idx + 1).into(),
            "index0" => idx.into(),
            "revindex" => (n_items - idx).into(),
            "revindex0" => (n_items - idx - 1).into(),
            "first" => Value::Bool(idx == 0),
            "last" => Value::Bool(idx + 1 == n_items),
            "length" => n_items.into(),
            "depth" => (self.level + 1).into(),
            "depth0" => self.level.into(),
            "previtem" => item(idx.checked_sub(1)),
            "nextitem" => item(Some(idx + 1)),
            _ => return None,
        })
    }

    /// `loop.cycle(…)` and `loop.changed(…)`.
    pub(crate) fn method(
        &self,
        name: &str,
        positional: Vec<Value>,
        budget: &Budget,
    ) -> Result<Value, Fail> {
        match name {
            "cycle" if positional.is_empty() => Err(Fail::other("no items for cycling given")),
            "cycle" => Ok(positional[self.idx.get() % positional.len()].clone()),
            _ => {
                let mut last = self.last_checked.borrow_mut();
                let mut is_same = last.as_ref().is_some_and(|last| last.len() == positional.len());
                for (a, b) in last.iter().flatten().zip(&positional) {
                    is_same = is_same && a.equals(b, budget)?;
                }
                *last = Some(positional);
                Ok(Value::Bool(!is_same))
            }
        }
    }
}
