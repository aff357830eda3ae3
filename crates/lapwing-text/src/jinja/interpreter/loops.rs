//! `for`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::super::Fail;
use super::super::arguments::CallArgs;
use super::super::tree::For;
use super::super::value::budget::Out;
use super::super::value::loop_state::LoopState;
use super::super::value::{Seq, SeqKind, Value};
use super::{Flow, Interpreter};

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
