//! Walks a tree with variables and writes the text.

mod calls;
mod loops;

use std::sync::Arc;

use super::arguments::CallArgs;
use super::tree::{Arguments, Const, Expr, Node, Statement, Target};
use super::value::budget::{Budget, Out};
use super::value::{Dict, Macro, SeqKind, Value};
use super::{Fail, MORE, access, checks, filters, operators, python_text};
use crate::LocalTime;

/// How deep statements, expressions and calls may be nested while they run.
const DEPTH_MAX: usize = 300;

/// The most arguments of a call.
const ARGUMENTS_MAX: usize = 1000;

/// One rendering.
pub(super) struct Interpreter<'b> {
    pub(super) budget: &'b Budget,
    pub(super) now: LocalTime,
    frames: Vec<Frame>,
    line: usize,
    depth: usize,
    /// What the filters over bodies get, innermost last.
    bodies: Vec<Value>,
}

/// Variables of one scope.
struct Frame {
    variables: Vec<(Arc<str>, Value)>,
    /// The scope around it in the source; that of the first is itself.
    parent: usize,
}

/// How a body ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Break,
    Continue,
}

impl<'b> Interpreter<'b> {
    pub(super) fn new(
        variables: Vec<(Arc<str>, Value)>,
        now: LocalTime,
        budget: &'b Budget,
    ) -> Interpreter<'b> {
        let given = Frame { variables, parent: 0 };
        Interpreter { budget, now, frames: vec![given], line: 1, depth: 0, bodies: Vec::new() }
    }

    /// Where it is, from 1.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// Be at `line` again, after a call.
    pub(super) fn at_line(&mut self, line: usize) {
        self.line = line;
    }

    pub(super) fn render(&mut self, body: &[Node]) -> Result<String, Fail> {
        let mut out = self.budget.out();
        self.run(body, &mut out)?;
        Ok(out.into_text())
    }

    /// The scope of what runs now.
    pub(super) fn frame(&self) -> usize {
        self.frames.len() - 1
    }

    /// Run something in a scope of its own within `parent`.
    pub(super) fn scoped<T>(
        &mut self,
        parent: usize,
        run: impl FnOnce(&mut Self) -> Result<T, Fail>,
    ) -> Result<T, Fail> {
        let parent = parent.min(self.frame());
        self.frames.push(Frame { variables: Vec::new(), parent });
        let result = run(self);
        self.frames.pop();
        result
    }

    fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, Fail>) -> Result<T, Fail> {
        self.budget.work(1)?;
        if self.depth == DEPTH_MAX {
            return Err(Fail::bound("nested calls", DEPTH_MAX, MORE));
        }
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        result
    }

    pub(super) fn run(&mut self, body: &[Node], out: &mut Out) -> Result<Flow, Fail> {
        for node in body {
            self.line = node.line;
            let flow = self.deeper(|this| this.statement(&node.statement, out))?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    /// What a body writes.
    pub(super) fn captured(&mut self, body: &[Node]) -> Result<Value, Fail> {
        let mut out = self.budget.out();
        self.run(body, &mut out)?;
        out.into_value()
    }

    fn statement(&mut self, statement: &Statement, out: &mut Out) -> Result<Flow, Fail> {
        match statement {
            Statement::Text(text) => out.push(text)?,
            Statement::Print(printed) => {
                let value = self.eval(printed)?;
                python_text::write_str(&value, out)?;
            }
            Statement::For(looped) => return self.run_loop(looped, out),
            Statement::If { branches, otherwise } => {
                for (condition, body) in branches {
                    if self.eval(condition)?.is_true() {
                        return self.run(body, out);
                    }
                }
                return self.run(otherwise, out);
            }
            Statement::Set(target, value) => {
                let value = self.eval(value)?;
                self.assign(target, value)?;
            }
            Statement::SetBody(target, filters, body) => {
                let value = self.scoped_body(body)?;
                let value = self.filtered(filters, value)?;
                self.assign(target, value)?;
            }
            Statement::With(assignments, body) => return self.with(assignments, body, out),
            Statement::Macro(def) => {
                let made = Macro { def: def.clone(), frame: self.frame() };
                self.define(&def.name, Value::Macro(made.into()));
            }
            Statement::Call(def, call) => {
                let caller = Macro { def: def.clone(), frame: self.frame() };
                let value = self.call_with_caller(call, Value::Macro(caller.into()))?;
                python_text::write_str(&value, out)?;
            }
            Statement::Filter(filters, body) => {
                let value = self.scoped_body(body)?;
                let value = self.filtered(filters, value)?;
                python_text::write_str(&value, out)?;
            }
            Statement::Scope(body) => {
                let frame = self.frame();
                return self.scoped(frame, |this| this.run(body, out));
            }
            Statement::Break => return Ok(Flow::Break),
            Statement::Continue => return Ok(Flow::Continue),
            Statement::NoOther(tag) => {
                return Err(Fail::other(format!("'{tag}' needs another template: there is none")));
            }
        }
        Ok(Flow::Next)
    }

    fn scoped_body(&mut self, body: &[Node]) -> Result<Value, Fail> {
        let frame = self.frame();
        self.scoped(frame, |this| this.captured(body))
    }

    fn filtered(&mut self, filters: &Expr, body: Value) -> Result<Value, Fail> {
        self.bodies.push(body);
        let value = self.eval(filters);
        self.bodies.pop();
        value
    }

    fn with(
        &mut self,
        assignments: &[(Target, Expr)],
        body: &[Node],
        out: &mut Out,
    ) -> Result<Flow, Fail> {
        let values: Result<Vec<Value>, Fail> =
            assignments.iter().map(|(_, value)| self.eval(value)).collect();
        let values = values?;
        let frame = self.frame();
        self.scoped(frame, |this| {
            for ((target, _), value) in assignments.iter().zip(values) {
                this.assign(target, value)?;
            }
            this.run(body, out)
        })
    }

    /// Give a variable of the present scope a value.
    pub(super) fn define(&mut self, name: &Arc<str>, value: Value) {
        let frame = self.frames.len() - 1;
        let variables = &mut self.frames[frame].variables;
        match variables.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => variables.push((name.clone(), value)),
        }
    }

    pub(super) fn assign(&mut self, target: &Target, value: Value) -> Result<(), Fail> {
        match target {
            Target::Name(name) => self.define(name, value),
            Target::Tuple(targets) => {
                let values = value.iterate(self.budget)?;
                if values.items.len() != targets.len() {
                    let (n_values, n_targets) = (values.items.len(), targets.len());
                    let message = format!("cannot unpack {n_values} values into {n_targets}");
                    return Err(Fail::other(message));
                }
                for (target, value) in targets.iter().zip(&values.items) {
                    self.assign(target, value.clone())?;
                }
            }
            Target::Field(name, field) => match self.variable(name)? {
                Value::Namespace(namespace) => {
                    namespace.set(Value::from(field), value, self.budget)?;
                }
                _ => return Err(Fail::other("cannot assign attribute on non-namespace object")),
            },
        }
        Ok(())
    }

    fn variable(&self, name: &Arc<str>) -> Result<Value, Fail> {
        let mut frame = self.frame();
        loop {
            let Frame { variables, parent } = &self.frames[frame];
            self.budget.work(1 + variables.len() / 4)?;
            if let Some((_, value)) = variables.iter().find(|(known, _)| known == name) {
                return Ok(value.clone());
            }
            if frame == 0 {
                break;
            }
            frame = *parent;
        }
        Ok(access::native(name).unwrap_or_else(|| Value::Undefined(Some(name.clone()))))
    }

    pub(super) fn eval(&mut self, expr: &Expr) -> Result<Value, Fail> {
        self.deeper(|this| this.eval_inner(expr))
    }

    fn eval_inner(&mut self, expr: &Expr) -> Result<Value, Fail> {
        match expr {
            Expr::Const(Const::None) => Ok(Value::None),
            Expr::Const(Const::Bool(value)) => Ok(Value::Bool(*value)),
            Expr::Const(Const::Int(number)) => Ok(Value::Int(*number)),
            Expr::Const(Const::Float(number)) => Ok(Value::Float(*number)),
            Expr::Const(Const::Str(text)) => Ok(Value::from(text)),
            Expr::Name(name) => self.variable(name),
            Expr::List(items) => self.sequence(SeqKind::List, items),
            Expr::Tuple(items) => self.sequence(SeqKind::Tuple, items),
            Expr::Dict(entries) => self.dict(entries),
            Expr::Attribute(value, name) => {
                let value = self.eval(value)?;
                access::attribute(&value, name, self.budget)
            }
            Expr::Item(value, index) => {
                let value = self.eval(value)?;
                let index = self.eval(index)?;
                access::item(&value, &index, self.budget)
            }
            Expr::Slice(value, bounds) => self.slice(value, bounds),
            Expr::Call(function, arguments) => {
                let function = self.eval(function)?;
                let arguments = self.arguments(arguments)?;
                self.call(&function, arguments)
            }
            Expr::Filter(value, name, arguments) => {
                let value = self.eval(value)?;
                let arguments = self.arguments(arguments)?;
                filters::apply(self.budget, name, &value, arguments)
            }
            Expr::Test(value, name, arguments) => {
                let value = self.eval(value)?;
                let arguments = self.arguments(arguments)?;
                checks::check(self.budget, name, &value, arguments).map(Value::Bool)
            }
            Expr::Body => Ok(self.bodies.last().cloned().unwrap_or(Value::Undefined(None))),
            Expr::Not(value) => Ok(Value::Bool(!self.eval(value)?.is_true())),
            Expr::Negative(value) => operators::signed(&self.eval(value)?, true),
            Expr::Positive(value) => operators::signed(&self.eval(value)?, false),
            Expr::Binary(operator, left, right) => {
                let left = self.eval(left)?;
                let right = self.eval(right)?;
                operators::binary(self.budget, *operator, &left, &right)
            }
            Expr::And(left, right) => {
                let left = self.eval(left)?;
                if left.is_true() { self.eval(right) } else { Ok(left) }
            }
            Expr::Or(left, right) => {
                let left = self.eval(left)?;
                if left.is_true() { Ok(left) } else { self.eval(right) }
            }
            Expr::Compare(first, others) => {
                let mut left = self.eval(first)?;
                for (comparison, right) in others {
                    let right = self.eval(right)?;
                    if !operators::compare(self.budget, *comparison, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Ok(Value::Bool(true))
            }
            Expr::Concat(parts) => {
                let mut out = self.budget.out();
                for part in parts {
                    let value = self.eval(part)?;
                    python_text::write_str(&value, &mut out)?;
                }
                out.into_value()
            }
            Expr::If(value, condition, otherwise) => {
                if self.eval(condition)?.is_true() {
                    return self.eval(value);
                }
                match otherwise {
                    Some(otherwise) => self.eval(otherwise),
                    None => Ok(Value::Undefined(None)),
                }
            }
        }
    }

    fn sequence(&mut self, kind: SeqKind, items: &[Expr]) -> Result<Value, Fail> {
        let mut made = self.budget.items();
        for item in items {
            made.push(self.eval(item)?)?;
        }
        made.into_value(kind)
    }

    fn dict(&mut self, entries: &[(Expr, Expr)]) -> Result<Value, Fail> {
        let mut pairs = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            pairs.push((self.eval(key)?, self.eval(value)?));
        }
        Dict::made(self.budget, pairs)
    }

    fn slice(&mut self, value: &Expr, bounds: &[Option<Expr>; 3]) -> Result<Value, Fail> {
        let value = self.eval(value)?;
        let mut evaluated = [None, None, None];
        for (evaluated, bound) in evaluated.iter_mut().zip(bounds) {
            *evaluated = match bound {
                Some(bound) => {
                    Some(self.eval(bound)?).filter(|bound| !matches!(bound, Value::None))
                }
                None => None,
            };
        }
        access::slice(&value, &evaluated, self.budget)
    }

    pub(super) fn arguments(&mut self, arguments: &Arguments) -> Result<CallArgs, Fail> {
        let mut made = CallArgs::default();
        for argument in &arguments.positional {
            made.positional.push(self.eval(argument)?);
        }
        for (name, argument) in &arguments.named {
            made.named.push((name.clone(), self.eval(argument)?));
        }
        if let Some(more) = &arguments.more {
            let more = self.eval(more)?.iterate(self.budget)?;
            made.positional.extend(more.items.iter().take(ARGUMENTS_MAX).cloned());
        }
        if let Some(more) = &arguments.more_named {
            let Value::Dict(more) = self.eval(more)? else {
                return Err(Fail::other("argument after ** must be a mapping"));
            };
            for (name, value) in more.entries.iter().take(ARGUMENTS_MAX) {
                let name = name.as_str().ok_or_else(|| Fail::other("keywords must be strings"))?;
                made.named.push((name.into(), value.clone()));
            }
        }
        if made.positional.len().max(made.named.len()) >= ARGUMENTS_MAX {
            return Err(Fail::bound("arguments", ARGUMENTS_MAX - 1, MORE));
        }
        Ok(made)
    }
}
