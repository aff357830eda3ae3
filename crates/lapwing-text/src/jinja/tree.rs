//! What a template is once it was read.

use std::sync::Arc;

/// A statement, and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    /// From 1.
    pub(super) line: usize,
    pub(super) statement: Statement,
}

pub(super) type Body = Vec<Node>;

#[derive(Debug)]
pub(super) enum Statement {
    /// Text outside of tags.
    Text(Arc<str>),
    /// `{{ … }}`.
    Print(Expr),
    For(Arc<For>),
    If {
        branches: Vec<(Expr, Body)>,
        otherwise: Body,
    },
    Set(Target, Expr),
    /// `{% set x | filter %}…{% endset %}`; the filters are over [`Expr::Body`].
    SetBody(Target, Expr, Body),
    With(Vec<(Target, Expr)>, Body),
    Macro(Arc<MacroDef>),
    /// `{% call(…) m(…) %}…{% endcall %}`.
    Call(Arc<MacroDef>, Expr),
    /// `{% filter … %}…{% endfilter %}`.
    Filter(Expr, Body),
    /// A body with variables of its own that is rendered where it stands.
    Scope(Body),
    Break,
    Continue,
    /// A tag that needs other templates, of which there are none.
    NoOther(Arc<str>),
}

#[derive(Debug)]
pub(super) struct For {
    pub(super) target: Target,
    pub(super) iterable: Expr,
    pub(super) condition: Option<Expr>,
    pub(super) is_recursive: bool,
    pub(super) body: Body,
    pub(super) otherwise: Body,
}

#[derive(Debug)]
pub(crate) struct MacroDef {
    pub(super) name: Arc<str>,
    pub(super) parameters: Vec<(Arc<str>, Option<Expr>)>,
    pub(super) body: Body,
    /// Whether the body takes more arguments than are declared.
    pub(super) takes_varargs: bool,
    pub(super) takes_kwargs: bool,
}

/// What a value is assigned to.
#[derive(Debug)]
pub(super) enum Target {
    Name(Arc<str>),
    Tuple(Vec<Target>),
    /// A field of a namespace.
    Field(Arc<str>, Arc<str>),
}

#[derive(Debug)]
pub(super) enum Expr {
    Const(Const),
    Name(Arc<str>),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Attribute(Box<Expr>, Arc<str>),
    Item(Box<Expr>, Box<Expr>),
    /// From, to, step.
    Slice(Box<Expr>, Box<[Option<Expr>; 3]>),
    Call(Box<Expr>, Box<Arguments>),
    Filter(Box<Expr>, Arc<str>, Box<Arguments>),
    Test(Box<Expr>, Arc<str>, Box<Arguments>),
    /// What a filter over a body gets.
    Body,
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    Concat(Vec<Expr>),
    /// Value, condition, otherwise.
    If(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
}

#[derive(Clone, Debug)]
pub(super) enum Const {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
}

#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) positional: Vec<Expr>,
    pub(super) named: Vec<(Arc<str>, Expr)>,
    /// `*args`.
    pub(super) more: Option<Expr>,
    /// `**kwargs`.
    pub(super) more_named: Option<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}
