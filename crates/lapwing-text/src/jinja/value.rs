//! What variables and expressions of a template are: Python's values, as far as templates go.

pub(crate) mod budget;
mod dict;
pub(crate) mod loop_state;
pub(crate) mod marks;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::Fail;
use super::tree::MacroDef;
use budget::{Budget, Charge};
use loop_state::LoopState;

pub(crate) use dict::{Dict, Namespace};

/// How deep a value is nested; 0 is no container.
pub(crate) type Depth = u16;

/// A value. Clones share what they hold.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// What a name without a value gives; with the name, for errors.
    Undefined(Option<Arc<str>>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Str),
    Seq(Rc<Seq>),
    Dict(Rc<Dict>),
    Namespace(Rc<Namespace>),
    /// A method of a value, not called yet.
    Method(Rc<(Value, Arc<str>)>),
    Macro(Rc<Macro>),
    Loop(Rc<LoopState>),
    Native(Native),
}

/// A text.
#[derive(Clone, Debug)]
pub(crate) struct Str {
    text: Arc<str>,
    _charge: Option<Rc<Charge>>,
}

/// Things in a row.
#[derive(Debug)]
pub(crate) struct Seq {
    pub(crate) kind: SeqKind,
    pub(crate) items: Vec<Value>,
    pub(super) depth: Depth,
    pub(super) holds_namespace: bool,
    pub(super) _charge: Option<Charge>,
}

/// What Python would call a row of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeqKind {
    List,
    Tuple,
    /// `range(start, stop, step)`.
    Range(i128, i128, i128),
    /// `dict_keys`, `dict_values`, `dict_items`.
    View(&'static str),
    /// What lazy filters give: no length, no index, and always true.
    Generator,
}

/// A macro, and where it was defined.
#[derive(Debug)]
pub(crate) struct Macro {
    pub(crate) def: Arc<MacroDef>,
    /// The frame around the definition.
    pub(crate) frame: usize,
}

/// A function that the engine brings along.
#[derive(Clone, Debug)]
pub(crate) enum Native {
    Range,
    Dict,
    Namespace,
    Joiner,
    Cycler,
    RaiseException,
    StrftimeNow,
    /// What `joiner(…)` gives: the separator, and whether it was called.
    Join(Rc<(Value, Cell<bool>)>),
    /// What `cycler(…)` gives: the values, and which comes next.
    Cycle(Rc<(Rc<Seq>, Cell<usize>)>),
}

impl Str {
    pub(crate) fn new(text: Arc<str>, charge: Option<Rc<Charge>>) -> Str {
        Str { text, _charge: charge }
    }
}

impl std::ops::Deref for Str {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl From<&str> for Value {
    /// A text that is given, and not of the template's making.
    fn from(text: &str) -> Value {
        Value::Str(Str::new(text.into(), None))
    }
}

impl From<&Arc<str>> for Value {
    fn from(text: &Arc<str>) -> Value {
        Value::Str(Str::new(text.clone(), None))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Value {
        Value::Int(number as i128)
    }
}

impl Value {
    /// A list of what is given, and not of the template's making.
    pub(crate) fn given_list(items: impl IntoIterator<Item = Value>) -> Value {
        let items: Vec<Value> = items.into_iter().collect();
        let depth = 1 + items.iter().map(Value::depth).max().unwrap_or(0);
        let kind = SeqKind::List;
        Value::Seq(Rc::new(Seq { kind, items, depth, holds_namespace: false, _charge: None }))
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// A number that counts: Python's booleans do too.
    pub(crate) fn as_int(&self) -> Option<i128> {
        match self {
            Value::Int(number) => Some(*number),
            Value::Bool(is_true) => Some((*is_true).into()),
            _ => None,
        }
    }

    pub(crate) fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(number) => Some(*number),
            other => other.as_int().map(|number| number as f64),
        }
    }

    pub(crate) fn is_undefined(&self) -> bool {
        matches!(self, Value::Undefined(_))
    }

    pub(crate) fn is_true(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(is_true) => *is_true,
            Value::Int(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::Str(text) => !text.is_empty(),
            Value::Seq(seq) => seq.kind == SeqKind::Generator || !seq.items.is_empty(),
            Value::Dict(dict) => !dict.entries.is_empty(),
            _ => true,
        }
    }

    pub(crate) fn depth(&self) -> Depth {
        match self {
            Value::Seq(seq) => seq.depth,
            Value::Dict(dict) => dict.depth,
            Value::Namespace(namespace) => namespace.depth.get(),
            Value::Method(method) => method.0.depth(),
            Value::Loop(state) => state.depth(),
            Value::Native(Native::Join(join)) => join.0.depth(),
            Value::Native(Native::Cycle(cycle)) => cycle.0.depth,
            _ => 0,
        }
    }

    pub(crate) fn holds_namespace(&self) -> bool {
        match self {
            Value::Namespace(_) => true,
            Value::Seq(seq) => seq.holds_namespace,
            Value::Dict(dict) => dict.holds_namespace,
            // What these hold is not looked at: templates do not keep them.
            Value::Method(_) | Value::Loop(_) | Value::Native(Native::Join(_)) => true,
            Value::Native(Native::Cycle(_)) => true,
            _ => false,
        }
    }

    /// The name of its type in Python.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "Undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::Seq(seq) => match seq.kind {
                SeqKind::List => "list",
                SeqKind::Tuple => "tuple",
                SeqKind::Range(..) => "range",
                SeqKind::View(name) => name,
                SeqKind::Generator => "generator",
            },
            Value::Dict(_) => "dict",
            Value::Namespace(_) => "Namespace",
            Value::Method(_) => "builtin_function_or_method",
            Value::Macro(_) => "Macro",
            Value::Loop(_) => "LoopContext",
            Value::Native(Native::Join(_)) => "Joiner",
            Value::Native(Native::Cycle(_)) => "Cycler",
            Value::Native(_) => "function",
        }
    }

    /// How many things it holds, where Python's `len` knows.
    pub(crate) fn len(&self, budget: &Budget) -> Result<usize, Fail> {
        match self {
            Value::Undefined(_) => Ok(0),
            Value::Str(text) => {
                budget.read(text.len())?;
                Ok(text.chars().count())
            }
            Value::Seq(seq) if seq.kind != SeqKind::Generator => Ok(seq.items.len()),
            Value::Dict(dict) => Ok(dict.entries.len()),
            other => {
                Err(Fail::other(format!("object of type '{}' has no len()", other.type_name())))
            }
        }
    }

    /// Its elements as a sequence: the characters of a text, the keys of a dictionary.
    pub(crate) fn iterate(&self, budget: &Budget) -> Result<Rc<Seq>, Fail> {
        let made = match self {
            Value::Seq(seq) => return Ok(seq.clone()),
            Value::Undefined(_) => budget.items(),
            Value::Str(text) => {
                let mut items = budget.items();
                for symbol in text.chars() {
                    items.push(budget.text(symbol.encode_utf8(&mut [0; 4]))?)?;
                }
                items
            }
            Value::Dict(dict) => {
                let mut items = budget.items();
                dict.entries.iter().try_for_each(|(key, _)| items.push(key.clone()))?;
                items
            }
            other => {
                let type_name = other.type_name();
                return Err(Fail::other(format!("'{type_name}' object is not iterable")));
            }
        };
        match made.into_value(SeqKind::Generator)? {
            Value::Seq(seq) => Ok(seq),
            _ => Err(Fail::other("no sequence")),
        }
    }

    /// Python's `==`.
    pub(crate) fn equals(&self, other: &Value, budget: &Budget) -> Result<bool, Fail> {
        budget.work(1)?;
        Ok(match (self, other) {
            (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
            (Value::Str(a), Value::Str(b)) => {
                let may_be = a.len() == b.len() || !budget.marks().is_empty();
                budget.read(if may_be { a.len() } else { 0 })?;
                budget.reads_alike(a, b)
            }
            (Value::Seq(a), Value::Seq(b)) => {
                if !a.kind.compares_with(b.kind) || a.items.len() != b.items.len() {
                    return Ok(Rc::ptr_eq(a, b));
                }
                for (a, b) in a.items.iter().zip(&b.items) {
                    if !a.equals(b, budget)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Dict(a), Value::Dict(b)) => {
                if a.entries.len() != b.entries.len() {
                    return Ok(false);
                }
                for (key, value) in &a.entries {
                    match b.get(key, budget)? {
                        Some(other) if value.equals(other, budget)? => {}
                        _ => return Ok(false),
                    }
                }
                true
            }
            (Value::Namespace(a), Value::Namespace(b)) => Rc::ptr_eq(a, b),
            (Value::Macro(a), Value::Macro(b)) => Rc::ptr_eq(a, b),
            (Value::Loop(a), Value::Loop(b)) => Rc::ptr_eq(a, b),
            _ => match (self.as_int(), other.as_int()) {
                (Some(a), Some(b)) => a == b,
                _ => match (self.as_float(), other.as_float()) {
                    (Some(a), Some(b)) => a == b,
                    _ => false,
                },
            },
        })
    }
}

impl SeqKind {
    fn compares_with(self, other: SeqKind) -> bool {
        match (self, other) {
            (SeqKind::List, SeqKind::List) | (SeqKind::Tuple, SeqKind::Tuple) => true,
            (SeqKind::Range(..), SeqKind::Range(..)) => true,
            (SeqKind::View(a), SeqKind::View(b)) => a == b,
            _ => false,
        }
    }
}
