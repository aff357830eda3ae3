//! Calls: of macros, of the engine's functions, of methods.

use std::cell::Cell;
use std::rc::Rc;

use super::super::arguments::CallArgs;
use super::super::tree::Expr;
use super::super::value::budget::Budget;
use super::super::value::{Dict, Macro, Namespace, Native, SeqKind, Value};
use super::super::{Fail, MORE, methods, python_text};
use super::Interpreter;

/// The longest range, as jinja2's sandbox has it.
const RANGE_LEN_MAX: i128 = 100_000;

impl Interpreter<'_> {
    pub(super) fn call(&mut self, function: &Value, arguments: CallArgs) -> Result<Value, Fail> {
        match function {
            Value::Macro(called) => self.call_macro(called, arguments),
            Value::Method(method) => match &method.0 {
                Value::Loop(state) => state.method(&method.1, arguments.positional, self.budget),
                value => methods::call(self.budget, value, &method.1, arguments),
            },
            Value::Loop(state) => self.call_loop(state, arguments),
            Value::Native(native) => self.call_native(native, arguments),
            Value::Undefined(Some(name)) => Err(Fail::other(format!("'{name}' is undefined"))),
            other => Err(Fail::other(format!("'{}' object is not callable", other.type_name()))),
        }
    }

    /// The call of a `call` block.
    pub(super) fn call_with_caller(&mut self, call: &Expr, caller: Value) -> Result<Value, Fail> {
        let Expr::Call(function, arguments) = call else {
            return Err(Fail::other("expected a call"));
        };
        let function = self.eval(function)?;
        let mut arguments = self.arguments(arguments)?;
        arguments.named.push(("caller".into(), caller));
        self.call(&function, arguments)
    }

    fn call_macro(&mut self, called: &Macro, arguments: CallArgs) -> Result<Value, Fail> {
        let def = called.def.clone();
        let line = self.line();
        let value = self.scoped(called.frame, |this| {
            let CallArgs { mut positional, mut named } = arguments;
            let rest = positional.split_off(positional.len().min(def.parameters.len()));
            let mut positional = positional.into_iter();
            for (name, default) in &def.parameters {
                let given = positional.next().or_else(|| {
                    let idx = named.iter().position(|(given, _)| given == name)?;
                    Some(named.swap_remove(idx).1)
                });
                let value = match (given, default) {
                    (Some(value), _) => value,
                    (None, Some(default)) => this.eval(default)?,
                    (None, None) => Value::Undefined(Some(name.clone())),
                };
                this.define(name, value);
            }
            if let Some(idx) = named.iter().position(|(name, _)| &**name == "caller") {
                let (name, caller) = named.swap_remove(idx);
                this.define(&name, caller);
            }
            if def.takes_varargs {
                let varargs = this.budget.collect(SeqKind::Tuple, rest)?;
                this.define(&"varargs".into(), varargs);
            } else if !rest.is_empty() {
                let n = def.parameters.len();
                let message = format!("macro '{}' takes not more than {n} argument(s)", def.name);
                return Err(Fail::other(message));
            }
            if def.takes_kwargs {
                let kwargs = named.iter().map(|(name, value)| (Value::from(name), value.clone()));
                let kwargs = Dict::made(this.budget, kwargs.collect())?;
                this.define(&"kwargs".into(), kwargs);
            } else if let Some((name, _)) = named.first() {
                let message = format!("macro '{}' takes no keyword argument '{name}'", def.name);
                return Err(Fail::other(message));
            }
            this.captured(&def.body)
        })?;
        self.at_line(line);
        Ok(value)
    }

    fn call_native(&mut self, native: &Native, arguments: CallArgs) -> Result<Value, Fail> {
        let budget = self.budget;
        match native {
            Native::Range => range(budget, arguments),
            Native::Dict => Dict::made(budget, pairs(budget, arguments)?),
            Native::Namespace => Namespace::made(budget, pairs(budget, arguments)?),
            Native::Joiner => {
                let [separator] = arguments.bind("joiner", ["sep"])?;
                let separator = separator.unwrap_or_else(|| Value::from(", "));
                Ok(Value::Native(Native::Join(Rc::new((separator, Cell::new(false))))))
            }
            Native::Cycler if arguments.positional.is_empty() => {
                Err(Fail::other("at least one item has to be provided"))
            }
            Native::Cycler => {
                let values = budget.collect(SeqKind::Tuple, arguments.positional)?;
                let values = values.iterate(budget)?;
                Ok(Value::Native(Native::Cycle(Rc::new((values, Cell::new(0))))))
            }
            Native::RaiseException => {
                let [message] = arguments.bind("raise_exception", ["message"])?;
                let message = message.unwrap_or(Value::None);
                let message = python_text::text_of(&message, budget)?;
                Err(Fail::Raised(message.as_str().unwrap_or_default().to_owned()))
            }
            Native::StrftimeNow => {
                let [format] = arguments.bind("strftime_now", ["format"])?;
                match format.as_ref().and_then(Value::as_str) {
                    Some(format) if format.len() <= FORMAT_BYTES_MAX => {
                        budget.text(&self.now.format(format))
                    }
                    Some(format) => {
                        let limit = format_args!("{FORMAT_BYTES_MAX} bytes");
                        Err(Fail::bound("the length of a date's format", limit, format.len()))
                    }
                    None => Err(Fail::other("strftime_now() needs a format")),
                }
            }
            Native::Join(join) => {
                let [] = arguments.bind("joiner", [])?;
                Ok(if join.1.replace(true) { join.0.clone() } else { Value::from("") })
            }
            Native::Cycle(_) => Err(Fail::other("'Cycler' object is not callable")),
        }
    }
}

/// The longest format of a date.
const FORMAT_BYTES_MAX: usize = 1000;

/// The entries of `dict(…)` and `namespace(…)`.
fn pairs(budget: &Budget, arguments: CallArgs) -> Result<Vec<(Value, Value)>, Fail> {
    let mut made = Vec::new();
    for argument in &arguments.positional {
        if let Value::Dict(dict) = argument {
            budget.room(dict.entries.len(), 2 * size_of::<Value>())?;
            made.extend(dict.entries.iter().cloned());
            continue;
        }
        for pair in &argument.iterate(budget)?.items {
            let pair = pair.iterate(budget)?;
            let [key, value] = &pair.items[..] else {
                return Err(Fail::other("an entry of a dictionary is a key and a value"));
            };
            budget.work(1)?;
            made.push((key.clone(), value.clone()));
        }
    }
    made.extend(arguments.named.iter().map(|(name, value)| (Value::from(name), value.clone())));
    Ok(made)
}

fn range(budget: &Budget, arguments: CallArgs) -> Result<Value, Fail> {
    let bounds: Option<Vec<i128>> = arguments.positional.iter().map(Value::as_int).collect();
    let (start, stop, step) = match bounds.as_deref() {
        Some(&[stop]) => (0, stop, 1),
        Some(&[start, stop]) => (start, stop, 1),
        Some(&[start, stop, step]) if step != 0 => (start, stop, step),
        _ => return Err(Fail::other("range() takes one to three integers, the last not zero")),
    };
    let span = if step > 0 { stop.checked_sub(start) } else { start.checked_sub(stop) };
    let steps = span.zip(step.checked_abs());
    let n_items =
        steps.and_then(|(span, step)| span.max(0).checked_add(step - 1)?.checked_div(step));
    match n_items {
        Some(n_items) if n_items <= RANGE_LEN_MAX => {
            let numbers = (0..n_items).map(|idx| Value::Int(start + idx * step));
            budget.collect(SeqKind::Range(start, stop, step), numbers)
        }
        n_items => {
            let found = n_items.map_or_else(|| MORE.to_owned(), |n_items| n_items.to_string());
            Err(Fail::bound("the length of a range", RANGE_LEN_MAX, found))
        }
    }
}
