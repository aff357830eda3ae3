//! `for`, and what it calls `loop`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::Fail;
use super::budget::{Budget, Out};
use super::calls::CallArgs;
use super::interpreter::{Flow, Interpreter};
use super::tree::For;
use super::value::{Depth, Seq, SeqKind, Value};

/// What `loop` is inside a loop.
#[derive(Debug)]
pub(crate) struct LoopState {
    items: Rc<Seq>,
    idx: Cell<usize>,
    /// How many loops of a recursive one are around this one.
    level: usize,
    last_checked: RefCell<Option<Vec<Value>>>,
    looped: Arc<For>,
    /// The scope around the loop.
    frame: usize,
}

impl LoopState {
    pub(super) fn depth(&self) -> Depth {
        self.items.depth + 1
    }

    /// `loop.name`; `None` when there is no such thing.
    pub(super) fn attribute(&self, name: &str) -> Option<Value> {
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
    pub(super) fn method(
        &self,
        name: &str,
        arguments: CallArgs,
        budget: &Budget,
    ) -> Result<Value, Fail> {
        let CallArgs { positional, .. } = arguments;
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

impl Interpreter<'_> {
    pub(super) fn run_loop(&mut self, looped: &Arc<For>, out: &mut Out) -> Result<Flow, Fail> {
        let iterable = self.eval(&looped.iterable)?;
        let frame = self.frame();
        self.iterate(looped, &iterable, frame, 0, out)?;
        Ok(Flow::Next)
    }

    /// `loop(iterable)` inside a recursive loop.
    pub(super) fn call_loop(
        &mut self,
        state: &LoopState,
        arguments: CallArgs,
    ) -> Result<Value, Fail> {
        if !state.looped.is_recursive {
            return Err(Fail::other("the loop is not recursive"));
        }
        let [iterable] = arguments.bind("loop", ["iterable"])?;
        let iterable = iterable.ok_or_else(|| Fail::other("loop needs an iterable"))?;
        let mut out = self.budget.out();
        self.iterate(&state.looped, &iterable, state.frame, state.level + 1, &mut out)?;
        out.into_value()
    }

    fn iterate(
        &mut self,
        looped: &Arc<For>,
        iterable: &Value,
        frame: usize,
        level: usize,
        out: &mut Out,
    ) -> Result<(), Fail> {
        let mut items = iterable.iterate(self.budget)?;
        if looped.condition.is_some() {
            items = self.those_wanted(looped, &items, frame)?;
        }
        if items.items.is_empty() {
            return self.scoped(frame, |this| this.run(&looped.otherwise, out)).map(|_| ());
        }
        let state = Rc::new(LoopState {
            items: items.clone(),
            idx: Cell::new(0),
            level,
            last_checked: RefCell::new(None),
            looped: looped.clone(),
            frame,
        });
        let name = Arc::from("loop");
        for (idx, item) in items.items.iter().enumerate() {
            state.idx.set(idx);
            let flow = self.scoped(frame, |this| {
                this.define(&name, Value::Loop(state.clone()));
                this.assign(&looped.target, item.clone())?;
                this.run(&looped.body, out)
            })?;
            if flow == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    fn those_wanted(&mut self, looped: &For, items: &Seq, frame: usize) -> Result<Rc<Seq>, Fail> {
        let mut wanted = self.budget.items();
        for item in &items.items {
            let is_wanted = self.scoped(frame, |this| {
                this.assign(&looped.target, item.clone())?;
                let condition = looped.condition.as_ref().map(|condition| this.eval(condition));
                Ok(condition.transpose()?.is_none_or(|condition| condition.is_true()))
            })?;
            if is_wanted {
                wanted.push(item.clone())?;
            }
        }
        wanted.into_value(SeqKind::List)?.iterate(self.budget)
    }
}
